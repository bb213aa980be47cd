//! What this server calls itself, to clients and to collectors of traces.

pub(crate) const SERVER_NAME: &str = "eyot";
pub(crate) const SERVER_VERSION: &str = env!("CARGO_PKG_VERSION");
