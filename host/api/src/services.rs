//! What the routes of the control plane work with.

use eyot_deploy::Deployments;
use eyot_meta::{Changes, EventFeed};
use eyot_oci::{BackupSource, Registry};
use eyot_pipelines::PipelineExecutor;
use eyot_tracking::TrackingStore;
use serde::{Deserialize, Serialize};

use crate::log_lines::DeploymentLogs;

/// What answers requests.
#[derive(Clone)]
pub struct ApiServices {
    pub info: ServerInfo,
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

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    pub version: String,
    /// The data plane's URL; none while it does not listen.
    pub gateway: Option<String>,
}
