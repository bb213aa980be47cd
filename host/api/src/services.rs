//! What the routes of the control plane work with.

use eyot_access::AccessStore;
use eyot_deploy::Deployments;
use eyot_meta::{Changes, EventFeed, IdempotentRequests};
use eyot_oci::{BackupSource, Registry};
use eyot_pipelines::PipelineExecutor;
use eyot_tracking::TrackingStore;
use serde::{Deserialize, Serialize};

use crate::log_lines::DeploymentLogs;

/// What answers requests.
#[derive(Clone)]
pub struct ApiServices {
    pub info: ServerInfo,
    pub exposure: ApiExposure,
    pub access: AccessStore,
    pub idempotency: IdempotentRequests,
    pub registry: Registry,
    pub tracking: TrackingStore,
    pub pipelines: PipelineExecutor,
    pub deployments: Deployments,
    pub logs: DeploymentLogs,
    pub events: EventFeed,
    pub backups: BackupSource,
    /// What requests change, until that is done.
    pub changes: Changes,
}

/// How clients reach the control plane.
#[derive(Clone, Copy, Debug)]
pub struct ApiExposure {
    /// It speaks TLS, or a proxy does for it.
    pub is_secure: bool,
    /// What is sent to it is read by nobody else: over TLS, or because only this machine reaches it.
    pub keeps_secrets: bool,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    pub version: String,
    /// The data plane's URL; none while it does not listen.
    pub gateway: Option<String>,
}
