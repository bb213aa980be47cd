use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Period;

/// Connections to the control plane and the data plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HttpSettings {
    /// How long a new connection may take to bring its first whole request head, TLS included.
    pub header_timeout: Period,
    /// How long a connection stays open on which nothing is asked.
    pub idle_timeout: Period,
    /// How long a client may take nothing of an answer that is being written.
    pub write_timeout: Period,
    /// Connections that may be open at the same time, to both planes together; 0 is as many as the process has
    /// file descriptors for, less a reserve for files. Where there is no room, idle connections make some.
    pub max_connections: usize,
    /// Connections that may be open from one address (of IPv6, one network of 64 bits); 0 is half of all.
    pub max_connections_per_address: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            header_timeout: Period(Duration::from_secs(30)),
            idle_timeout: Period(Duration::from_secs(120)),
            write_timeout: Period(Duration::from_secs(120)),
            max_connections: 0,
            max_connections_per_address: 0,
        }
    }
}
