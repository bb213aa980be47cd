//! What the server tells of itself and its models, for both protocols.

use std::collections::BTreeMap;
use std::sync::Arc;

use eyot_core::Result;
use eyot_nn::{DataType, TensorSpec};
use serde::Serialize;
use serde_json::{Value, json};

use crate::serving::endpoint::{DeploymentEntry, ServingRevision};
use crate::serving::state::GatewayState;
use crate::serving::stats::DurationTotal;

/// The extensions of the protocol that are spoken.
pub(crate) const EXTENSIONS: [&str; 7] = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "statistics",
];

/// The versions of a model: the one that is named, else all.
pub(crate) fn versions(endpoint: &DeploymentEntry, version: Option<&str>) -> Vec<String> {
    let named = |live: &&Arc<ServingRevision>| {
        version.is_none_or(|version| version.is_empty() || version == live.version)
    };
    endpoint.all().filter(named).map(|live| live.version.clone()).collect()
}

/// What a revision is made of, and what it runs on.
pub(crate) fn properties(live: &ServingRevision) -> BTreeMap<String, String> {
    let revision = &live.revision;
    let component = revision.component.iter().map(|digest| ("component".to_owned(), digest.to_string()));
    let models = revision.models.iter().map(|(name, digest)| (format!("model.{name}"), digest.to_string()));
    let ran_on = live.ran_on().into_iter();
    let ran_on = ran_on.map(|(name, ran_on)| (format!("ran_on.{name}"), ran_on.to_string()));
    component.chain(models).chain(ran_on).collect()
}

pub(crate) fn metadata(endpoint: &DeploymentEntry, version: Option<&str>) -> Result<Value> {
    let live = endpoint.shown(version)?;
    let signature = live.predictor()?.signature();
    Ok(json!({
        "name": endpoint.name,
        "versions": versions(endpoint, version),
        "platform": live.revision.platform,
        "inputs": signature.all_inputs().collect::<Vec<_>>(),
        "outputs": signature.outputs,
        "properties": properties(&live),
    }))
}

/// A datatype as model configurations call it.
pub(crate) fn type_name(dtype: DataType) -> &'static str {
    match dtype {
        DataType::Bool => "TYPE_BOOL",
        DataType::U8 => "TYPE_UINT8",
        DataType::U16 => "TYPE_UINT16",
        DataType::U32 => "TYPE_UINT32",
        DataType::U64 => "TYPE_UINT64",
        DataType::I8 => "TYPE_INT8",
        DataType::I16 => "TYPE_INT16",
        DataType::I32 => "TYPE_INT32",
        DataType::I64 => "TYPE_INT64",
        DataType::F16 => "TYPE_FP16",
        DataType::BF16 => "TYPE_BF16",
        DataType::F32 => "TYPE_FP32",
        DataType::F64 => "TYPE_FP64",
        DataType::Bytes => "TYPE_STRING",
    }
}

/// A model's configuration, as far as there is one: batches have no limit of their own here, so
/// shapes hold all dimensions.
pub(crate) fn configuration(endpoint: &DeploymentEntry, version: Option<&str>) -> Result<Value> {
    let live = endpoint.shown(version)?;
    let signature = live.predictor()?.signature();
    let tensor =
        |it: &TensorSpec| json!({ "name": it.name, "data_type": type_name(it.dtype), "dims": it.shape });
    let input = |it: &TensorSpec| {
        let mut input = tensor(it);
        if it.is_optional() {
            input["optional"] = json!(true);
        }
        input
    };
    let versions: Vec<u64> = endpoint.all().map(|live| live.revision.revision).collect();
    Ok(json!({
        "name": endpoint.name,
        "platform": live.revision.platform,
        "backend": live.backends(),
        "version_policy": { "specific": { "versions": versions } },
        "max_batch_size": 0,
        "input": signature.all_inputs().map(input).collect::<Vec<_>>(),
        "output": signature.outputs.iter().map(tensor).collect::<Vec<_>>(),
    }))
}

/// How many, and how long together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct DurationSum {
    pub(crate) count: u64,
    pub(crate) ns: u64,
}

impl From<DurationTotal> for DurationSum {
    fn from(total: DurationTotal) -> Self {
        Self { count: total.count, ns: total.nanoseconds }
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct InferenceSums {
    pub(crate) success: DurationSum,
    pub(crate) fail: DurationSum,
    pub(crate) queue: DurationSum,
    pub(crate) compute_input: DurationSum,
    pub(crate) compute_infer: DurationSum,
    pub(crate) compute_output: DurationSum,
    pub(crate) cache_hit: DurationSum,
    pub(crate) cache_miss: DurationSum,
}

/// The statistics of one revision, under the names of the protocol's extension.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct RevisionStatistics {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) last_inference: u64,
    pub(crate) inference_count: u64,
    pub(crate) execution_count: u64,
    pub(crate) inference_stats: InferenceSums,
    response_stats: BTreeMap<String, Value>,
    batch_stats: Vec<Value>,
    memory_usage: Vec<Value>,
}

impl RevisionStatistics {
    fn of(endpoint: &DeploymentEntry, live: &ServingRevision) -> Self {
        let stats = &live.stats;
        let success = stats.success.total();
        Self {
            name: endpoint.name.to_string(),
            version: live.version.clone(),
            last_inference: stats.last(),
            inference_count: success.count,
            execution_count: stats.prediction.total().count,
            inference_stats: InferenceSums {
                success: success.into(),
                fail: stats.fail.total().into(),
                queue: stats.queue.total().into(),
                compute_input: stats.decode.total().into(),
                compute_infer: stats.prediction.total().into(),
                compute_output: stats.encode.total().into(),
                ..InferenceSums::default()
            },
            ..Self::default()
        }
    }
}

/// The statistics of a version, of all of a model's, or of all models'.
pub(crate) fn project_statistics(gateway: &GatewayState, project: &str) -> Vec<RevisionStatistics> {
    let all = gateway.revisions.all_in(project);
    let of = |endpoint: &Arc<DeploymentEntry>| {
        endpoint.all().map(|live| RevisionStatistics::of(endpoint, live)).collect::<Vec<_>>()
    };
    all.iter().flat_map(of).collect()
}

/// What became of requests to one deployment, or one revision of it.
pub(crate) fn model_statistics(
    gateway: &GatewayState,
    name: &str,
    version: Option<&str>,
) -> Result<Vec<RevisionStatistics>> {
    let endpoint = gateway.endpoint(name)?;
    match version.filter(|version| !version.is_empty()) {
        Some(version) => {
            let live = endpoint.route(Some(version), None)?;
            Ok(vec![RevisionStatistics::of(&endpoint, &live)])
        }
        None => Ok(endpoint.all().map(|live| RevisionStatistics::of(&endpoint, live)).collect()),
    }
}
