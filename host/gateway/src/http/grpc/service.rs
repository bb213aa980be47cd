//! The calls of the protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use eyot_core::{DEFAULT_PROJECT, Error};
use futures::StreamExt as _;
use prost::Message as _;
use tonic::codegen::BoxStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::{grpc_timeout, status};
use crate::http::answers::{PREDICTION_ID_HEADER, client_message};
use crate::http::predict::{self, PredictionCall};
use crate::http::repository;
use crate::protocol::compress::MIN_COMPRESSED_BYTES;
use crate::protocol::grpc::pb::{self, *};
use crate::protocol::grpc::tensors;
use crate::protocol::{InferRequest, identity, metadata};
use crate::serving::endpoint::{DeploymentEntry, ServingRevision};
use crate::serving::endpoint_access::CallerRejection;
use crate::serving::exchange::{Exchange, ExchangeKind, ExchangeOutcome};
use crate::serving::pipeline::{RequestWork, serve};
use crate::serving::route_table::project_of;
use crate::serving::state::GatewayState;

/// The calls that there are.
pub(super) const OFFERED_CALLS: [&str; 12] = [
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

pub(super) struct InferenceService {
    pub(super) gateway: Arc<GatewayState>,
    pub(super) caller: SocketAddr,
}

impl InferenceService {
    /// Lets a caller ask for a deployment.
    async fn admit(&self, metadata: &MetadataMap, name: &str) -> Result<(), Status> {
        let admitted = self.gateway.check_caller(metadata.as_ref(), project_of(name)).await;
        admitted.map_err(|CallerRejection { error, is_unknown }| match is_unknown {
            true => Status::unauthenticated(client_message(&error)),
            false => status(&error),
        })
    }

    /// One prediction; its id is known whether it works out or not. Each of a stream is a request of its own, and
    /// ends with its own answer.
    async fn infer(
        &self,
        metadata: &MetadataMap,
        message: ModelInferRequest,
    ) -> (String, Result<ModelInferResponse, Status>) {
        if let Err(refused) = self.admit(metadata, &message.model_name).await {
            return (eyot_core::new_id(), Err(refused));
        }
        let exchange = self.gateway.begin(ExchangeKind::Prediction, metadata.as_ref(), self.caller);
        let (name, version) = (message.model_name.clone(), message.model_version.clone());
        let work = GrpcPrediction { gateway: &self.gateway, metadata, name, version, message: Some(message) };
        serve(exchange, work).await
    }
}

struct GrpcPrediction<'a> {
    gateway: &'a GatewayState,
    metadata: &'a MetadataMap,
    name: String,
    version: String,
    /// Until it is read.
    message: Option<ModelInferRequest>,
}

impl RequestWork for GrpcPrediction<'_> {
    type Input = InferRequest;
    type Call = PredictionCall;
    type Answer = ModelInferResponse;
    type Failure = Error;
    type Response = (String, Result<ModelInferResponse, Status>);

    fn gateway(&self) -> &GatewayState {
        self.gateway
    }

    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&mut self, exchange: &mut Exchange, _: &DeploymentEntry) -> Result<InferRequest, Error> {
        let message = self.message.take().ok_or_else(|| Error::internal("the message was read already"))?;
        // It was received before it was known what it is.
        exchange.timings.received = Some(exchange.timings.started);
        exchange.sizes.request_bytes = Some(message.encoded_len() as u64);
        tensors::asked(message)
    }

    fn select(
        &self,
        deployment: &DeploymentEntry,
        asked: &InferRequest,
    ) -> Result<Arc<ServingRevision>, Error> {
        let header =
            |name: &str| self.metadata.get(name).and_then(|value| value.to_str().ok().map(str::to_owned));
        let key = deployment.sticky_key(header, |name| asked.parameters.text(name));
        deployment.route(Some(&self.version), key.as_deref())
    }

    fn prepare(
        &mut self,
        exchange: &mut Exchange,
        revision: &ServingRevision,
        asked: InferRequest,
    ) -> Result<PredictionCall, Error> {
        exchange.shorten(grpc_timeout(self.metadata.as_ref()));
        predict::prepare(exchange, revision, asked)
    }

    async fn run(
        self,
        exchange: &mut Exchange,
        revision: Arc<ServingRevision>,
        call: PredictionCall,
    ) -> Result<ModelInferResponse, Error> {
        let prediction = predict::run(exchange, revision, call).await?;
        let writing = Instant::now();
        let response = tensors::response(&prediction)?;
        exchange.timings.encode = Some(writing.elapsed());
        exchange.sizes.response_bytes = Some(response.encoded_len() as u64);
        Ok(response)
    }

    fn respond(exchange: Exchange, attempted: Result<ModelInferResponse, Error>) -> Self::Response {
        match attempted {
            Ok(response) => (exchange.finish(ExchangeOutcome::Answered), Ok(response)),
            Err(error) => {
                let status = status(&error);
                (exchange.finish(ExchangeOutcome::Failed(error)), Err(status))
            }
        }
    }
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
impl pb::grpc_inference_service_server::GrpcInferenceService for InferenceService {
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
        let ready = !self.gateway.draining.load(Ordering::Relaxed);
        Ok(Response::new(ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let ModelReadyRequest { name, version } = message;
        self.admit(&metadata, &name).await?;
        let found = self.gateway.endpoint(&name).and_then(|endpoint| endpoint.route(Some(&version), None));
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
        let (metadata, _, message) = request.into_parts();
        let ModelMetadataRequest { name, version } = message;
        self.admit(&metadata, &name).await?;
        let endpoint = self.gateway.endpoint(&name).map_err(|error| status(&error))?;
        let live = endpoint.shown(Some(&version)).map_err(|error| status(&error))?;
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
        let (id, answered) = self.infer(&metadata, message).await;
        match answered {
            Ok(message) => {
                let small = tensors::size(&message) < MIN_COMPRESSED_BYTES;
                let mut response = Response::new(message);
                if small {
                    response.disable_compression();
                }
                named(&id).map(|id| response.metadata_mut().insert(PREDICTION_ID_HEADER, id));
                Ok(response)
            }
            Err(mut status) => {
                named(&id).map(|id| status.metadata_mut().insert(PREDICTION_ID_HEADER, id));
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
        let service = Self { gateway: self.gateway.clone(), caller: self.caller };
        let context = Arc::new((service, metadata));
        let answers = messages.then(move |message| {
            let context = context.clone();
            async move {
                let (service, metadata) = &*context;
                let message = message?;
                let id = message.id.clone();
                let (_, answered) = service.infer(metadata, message).await;
                // The id tells the client which of its requests an error was.
                let (error_message, mut response) = match answered {
                    Ok(response) => (String::new(), response),
                    Err(status) => (
                        status.message().to_owned(),
                        ModelInferResponse { id, ..ModelInferResponse::default() },
                    ),
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
        let (metadata, _, message) = request.into_parts();
        let ModelConfigRequest { name, version } = message;
        self.admit(&metadata, &name).await?;
        let endpoint = self.gateway.endpoint(&name).map_err(|error| status(&error))?;
        let live = endpoint.shown(Some(&version)).map_err(|error| status(&error))?;
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
            backend: live.backends(),
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
        let (metadata, _, message) = request.into_parts();
        let ModelStatisticsRequest { name, version } = message;
        self.admit(&metadata, &name).await?;
        let statistics = match name.as_str() {
            "" => metadata::project_statistics(&self.gateway, DEFAULT_PROJECT),
            name => metadata::model_statistics(&self.gateway, name, Some(&version))
                .map_err(|error| status(&error))?,
        };
        let model_stats = statistics.into_iter().map(model_statistics).collect();
        Ok(Response::new(ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Result<Response<RepositoryIndexResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        self.admit(&metadata, "").await?;
        let index = repository::index(&self.gateway, DEFAULT_PROJECT, message.ready)
            .await
            .map_err(|error| status(&error))?;
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
        let (metadata, _, message) = request.into_parts();
        let RepositoryModelLoadRequest { model_name, parameters, .. } = message;
        self.admit(&metadata, &model_name).await?;
        let loaded =
            repository::load(&self.gateway, &model_name, parameters.keys().map(String::as_str)).await;
        loaded.map_err(|error| status(&error))?;
        Ok(Response::new(RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let name = message.model_name;
        self.admit(&metadata, &name).await?;
        repository::unload(&self.gateway, &name).await.map_err(|error| status(&error))?;
        Ok(Response::new(RepositoryModelUnloadResponse {}))
    }
}

fn model_statistics(it: metadata::RevisionStatistics) -> ModelStatistics {
    let duration =
        |total: metadata::DurationSum| Some(StatisticDuration { count: total.count, ns: total.ns });
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
