use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ByteCount, Period};

/// The control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ApiSettings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The certificate chain for TLS, a PEM file; empty for none.
    pub tls_cert: PathBuf,
    /// The certificate's private key, a PEM file.
    pub tls_key: PathBuf,
    /// Authorities that commands trust beside those of the system when they speak to a server over
    /// https, a PEM file; empty for none.
    pub ca: PathBuf,
    /// Names by which this server is known, as in `eyot.example.com` or `*.example.com`; a request that names
    /// another is refused. Addresses, localhost and the host of registry.url always are.
    pub hosts: Vec<String>,
    /// Origins whose pages may use the control plane from a browser, as in `https://app.example.com`.
    pub origins: Vec<String>,
    /// How long the body of a request may keep the server waiting; a slower one is answered 408.
    pub body_timeout: Period,
    /// Bytes a second at which a client that is waited for may send for longer than body-timeout, as with large
    /// blobs, as long as it is never silent for body-timeout; a slower body is ended. 0 ends none.
    pub body_rate: ByteCount,
    /// How many may listen to events at once; one more is answered 429.
    pub event_listeners: usize,
    /// How long events are kept, for those who come back; 0 keeps all of them.
    pub events_kept: Period,
}

impl ApiSettings {
    /// Certificate and key, if the control plane speaks TLS.
    pub fn tls(&self) -> Option<(&Path, &Path)> {
        (!self.tls_cert.as_os_str().is_empty()).then_some((&self.tls_cert, &self.tls_key))
    }
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8090)),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            ca: PathBuf::new(),
            hosts: Vec::new(),
            origins: Vec::new(),
            body_timeout: Period(Duration::from_secs(60)),
            body_rate: ByteCount(240),
            event_listeners: 1000,
            events_kept: Period(Duration::from_secs(7 * 24 * 3600)),
        }
    }
}
