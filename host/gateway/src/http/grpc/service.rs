//! The calls of the protocol.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use eyot_core::Error;
use futures::StreamExt as _;
use tonic::codegen::BoxStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::{patience, status};
use crate::http::answers::{PREDICTION, told};
use crate::http::predict::{self, Call};
use crate::http::repository;
use crate::protocol::compress::WORTHWHILE;
use crate::protocol::grpc::pb::{self, *};
use crate::protocol::grpc::tensors;
use crate::protocol::identity;
use crate::protocol::metadata;
use crate::serving::state::GatewayState;

/// The calls that there are.
pub(super) const CALLS: [&str; 12] = [
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "ModelStreamInfer",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
];

pub(super) struct Service(pub(super) Arc<GatewayState>);

/// One prediction; its id is known whether it works out or not.
async fn infer(
    gateway: &GatewayState,
    metadata: &MetadataMap,
    message: ModelInferRequest,
) -> (String, Result<ModelInferResponse, Error>) {
    let headers = metadata.as_ref();
    let mut call = Call::new(gateway, headers, patience(headers));
    let deployment = message.model_name.clone();
    let answered = attempt(gateway, &call, metadata, message).await;
    call.tell(gateway, &deployment, answered.as_ref().err());
    (call.id, answered)
}

async fn attempt(
    gateway: &GatewayState,
    call: &Call,
    metadata: &MetadataMap,
    message: ModelInferRequest,
) -> Result<ModelInferResponse, Error> {
    gateway.refuse_when_draining()?;
    let endpoint = gateway.endpoint(&message.model_name)?;
    let version = message.model_version.clone();
    let asked = match tensors::asked(message) {
        Ok(asked) => asked,
        Err(error) => {
            predict::refused(call, &endpoint, &error);
            return Err(error);
        }
    };
    let header = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok().map(str::to_owned));
    let key = endpoint.key(header, |name| asked.parameters.text(name));
    let live = endpoint.route(Some(&version), key.as_deref())?;
    live.stats.decode.add(call.started.elapsed());
    let answered = call.run(gateway, &endpoint, live, asked).await?;
    let writing = Instant::now();
    let response = tensors::response(&answered);
    answered.end(writing, response)
}

/// By this, clients of Triton know the last answer to a request of a stream; here each has one.
const FINAL_RESPONSE: &str = "triton_final_response";

fn yes() -> InferParameter {
    InferParameter { parameter_choice: Some(infer_parameter::ParameterChoice::BoolParam(true)) }
}

fn named(id: &str) -> Option<tonic::metadata::AsciiMetadataValue> {
    id.parse().ok()
}

#[tonic::async_trait]
impl pb::grpc_inference_service_server::GrpcInferenceService for Service {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        let ready = !self.0.draining.load(Ordering::Relaxed);
        Ok(Response::new(ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        let found = self.0.endpoint(&name).and_then(|endpoint| endpoint.route(Some(&version), None));
        Ok(Response::new(ModelReadyResponse { ready: found.is_ok() }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        let extensions = metadata::EXTENSIONS.map(str::to_owned).to_vec();
        let (name, version) = (identity::SERVER_NAME.to_owned(), identity::SERVER_VERSION.to_owned());
        Ok(Response::new(ServerMetadataResponse { name, version, extensions }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let endpoint = self.0.endpoint(&name).map_err(|error| status(&error))?;
        let live = metadata::shown(&endpoint, Some(&version)).map_err(|error| status(&error))?;
        let signature = live.predictor().map_err(|error| status(&error))?.signature();
        let spec = |spec: &eyot_nn::TensorSpec| model_metadata_response::TensorMetadata {
            name: spec.name.clone(),
            datatype: spec.dtype.as_str().to_owned(),
            shape: spec.shape.clone(),
        };
        Ok(Response::new(ModelMetadataResponse {
            name,
            versions: metadata::versions(&endpoint, Some(&version)),
            platform: live.revision.platform.clone(),
            inputs: signature.all_inputs().map(spec).collect(),
            outputs: signature.outputs.iter().map(spec).collect(),
            properties: metadata::properties(&live).into_iter().collect(),
        }))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let (id, answered) = infer(&self.0, &metadata, message).await;
        match answered {
            Ok(message) => {
                let small = tensors::size(&message) < WORTHWHILE;
                let mut response = Response::new(message);
                if small {
                    response.disable_compression();
                }
                named(&id).map(|id| response.metadata_mut().insert(PREDICTION, id));
                Ok(response)
            }
            Err(error) => {
                let mut status = status(&error);
                named(&id).map(|id| status.metadata_mut().insert(PREDICTION, id));
                Err(status)
            }
        }
    }

    type ModelStreamInferStream = BoxStream<ModelStreamInferResponse>;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        let (metadata, _, messages) = request.into_parts();
        let context = Arc::new((self.0.clone(), metadata));
        let answers = messages.then(move |message| {
            let context = context.clone();
            async move {
                let (gateway, metadata) = &*context;
                let message = message?;
                let id = message.id.clone();
                let (_, answered) = infer(gateway, metadata, message).await;
                // The id tells the client which of its requests an error was.
                let (error_message, mut response) = match answered {
                    Ok(response) => (String::new(), response),
                    Err(error) => (told(&error), ModelInferResponse { id, ..ModelInferResponse::default() }),
                };
                response.parameters.insert(FINAL_RESPONSE.to_owned(), yes());
                Ok(ModelStreamInferResponse { error_message, infer_response: Some(response) })
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Result<Response<ModelConfigResponse>, Status> {
        let ModelConfigRequest { name, version } = request.into_inner();
        let endpoint = self.0.endpoint(&name).map_err(|error| status(&error))?;
        let live = metadata::shown(&endpoint, Some(&version)).map_err(|error| status(&error))?;
        let signature = live.predictor().map_err(|error| status(&error))?.signature();
        let of = |dtype: eyot_nn::DataType| {
            DataType::from_str_name(metadata::type_name(dtype)).unwrap_or(DataType::TypeInvalid).into()
        };
        let versions = endpoint.all().filter_map(|live| i64::try_from(live.revision.revision).ok()).collect();
        let policy =
            model_version_policy::PolicyChoice::Specific(model_version_policy::Specific { versions });
        let inputs = signature.all_inputs();
        let outputs = signature.outputs.iter();
        let config = ModelConfig {
            name,
            platform: live.revision.platform.clone(),
            backend: metadata::backend(&live),
            version_policy: Some(ModelVersionPolicy { policy_choice: Some(policy) }),
            max_batch_size: 0,
            input: inputs
                .map(|it| ModelInput {
                    name: it.name.clone(),
                    data_type: of(it.dtype),
                    dims: it.shape.clone(),
                    optional: it.is_optional(),
                })
                .collect(),
            output: outputs
                .map(|it| ModelOutput {
                    name: it.name.clone(),
                    data_type: of(it.dtype),
                    dims: it.shape.clone(),
                })
                .collect(),
        };
        Ok(Response::new(ModelConfigResponse { config: Some(config) }))
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Result<Response<ModelStatisticsResponse>, Status> {
        let ModelStatisticsRequest { name, version } = request.into_inner();
        let statistics =
            metadata::statistics(&self.0, Some(&name), Some(&version)).map_err(|error| status(&error))?;
        let model_stats = statistics.into_iter().map(model_statistics).collect();
        Ok(Response::new(ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Result<Response<RepositoryIndexResponse>, Status> {
        let index =
            repository::index(&self.0, request.into_inner().ready).await.map_err(|error| status(&error))?;
        let models = index.into_iter().map(|it| repository_index_response::ModelIndex {
            name: it.name.to_string(),
            version: it.version,
            state: it.state.to_owned(),
            reason: it.reason,
        });
        Ok(Response::new(RepositoryIndexResponse { models: models.collect() }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Result<Response<RepositoryModelLoadResponse>, Status> {
        let RepositoryModelLoadRequest { model_name, parameters, .. } = request.into_inner();
        let loaded = repository::load(&self.0, &model_name, parameters.keys().map(String::as_str)).await;
        loaded.map_err(|error| status(&error))?;
        Ok(Response::new(RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>, Status> {
        let name = request.into_inner().model_name;
        repository::unload(&self.0, &name).await.map_err(|error| status(&error))?;
        Ok(Response::new(RepositoryModelUnloadResponse {}))
    }
}

fn model_statistics(it: metadata::Statistics) -> ModelStatistics {
    let duration = |total: metadata::Sum| Some(StatisticDuration { count: total.count, ns: total.ns });
    let stats = it.inference_stats;
    ModelStatistics {
        name: it.name,
        version: it.version,
        last_inference: it.last_inference,
        inference_count: it.inference_count,
        execution_count: it.execution_count,
        inference_stats: Some(InferStatistics {
            success: duration(stats.success),
            fail: duration(stats.fail),
            queue: duration(stats.queue),
            compute_input: duration(stats.compute_input),
            compute_infer: duration(stats.compute_infer),
            compute_output: duration(stats.compute_output),
            cache_hit: duration(stats.cache_hit),
            cache_miss: duration(stats.cache_miss),
        }),
    }
}
