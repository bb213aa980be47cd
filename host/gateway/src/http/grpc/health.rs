//! The standard health service of gRPC.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use crate::serving::state::GatewayState;

/// The standard health service. The server is one service, the protocol another, each deployment one
/// of its own.
pub(super) struct HealthService(pub(super) Arc<GatewayState>);

impl HealthService {
    fn check(&self, service: &str) -> Option<ServingStatus> {
        let gateway = &self.0;
        let known = matches!(service, "" | "inference.GRPCInferenceService")
            || gateway.revisions.get(service).is_some();
        let serves = !gateway.draining.load(Ordering::Relaxed);
        known.then_some(if serves { ServingStatus::Serving } else { ServingStatus::NotServing })
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        let status = self.check(&service);
        status.map(|status| Response::new(response(status))).ok_or_else(|| {
            let shown: String = service.chars().take(128).collect();
            Status::not_found(format!("there is no service '{shown}'"))
        })
    }

    type WatchStream = BoxStream<HealthCheckResponse>;

    /// Tells how a service is now and whenever that changes, until the server stops.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let (health, changes) = (HealthService(self.0.clone()), self.0.watch());
        let told: Option<ServingStatus> = None;
        let statuses = futures::stream::unfold(
            (health, service, changes, told),
            async |(health, service, mut changes, told)| {
                loop {
                    // A server that has stopped has nothing more to tell, and must not wait for its watchers.
                    if told.is_some()
                        && health.0.draining.load(Ordering::Relaxed)
                        && told != Some(ServingStatus::Serving)
                    {
                        return None;
                    }
                    changes.mark_unchanged();
                    let now = health.check(&service).unwrap_or(ServingStatus::ServiceUnknown);
                    if told != Some(now) {
                        return Some((Ok(response(now)), (health, service, changes, Some(now))));
                    }
                    changes.changed().await.ok()?;
                }
            },
        );
        Ok(Response::new(Box::pin(statuses)))
    }
}
