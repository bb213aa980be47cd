//! What serves: deployments with their revisions, who gets which request, and what bounds and counts them.

pub(crate) mod admission;
pub(crate) mod collector;
pub(crate) mod endpoint;
pub(crate) mod endpoint_access;
pub(crate) mod exchange;
pub(crate) mod model_control;
pub(crate) mod mounted;
pub(crate) mod pipeline;
pub(crate) mod predictor;
pub(crate) mod route_table;
pub(crate) mod sampling;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod trace;
