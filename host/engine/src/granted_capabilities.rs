//! The capabilities that a component was granted, beside models.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use eyot_core::{Error, Result};
use http::Uri;

use crate::stores::{KeyValueStore, SqlDatabase};

/// All of it; nothing by default.
#[derive(Clone, Debug, Default)]
pub struct GrantedCapabilities {
    /// Where requests over HTTP may go.
    pub http: Vec<HttpDestination>,
    /// Settings, by name.
    pub variables: BTreeMap<String, String>,
    /// Environment variables, of what serves.
    pub environment: BTreeMap<String, String>,
    /// Key-value stores, by the label under which they are opened.
    pub stores: BTreeMap<String, Arc<dyn KeyValueStore>>,
    /// Databases, by the label under which they are opened.
    pub databases: BTreeMap<String, Arc<dyn SqlDatabase>>,
}

/// Where requests over HTTP may go: `api.example.com`, `*.example.com`, `localhost:8000`, or `*`.
///
/// Without a port, a host means the default ports of http and https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpDestination {
    host: HostPattern,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Any,
    /// With its leading dot.
    Subdomains(String),
    Exact(String),
}

impl HttpDestination {
    /// Whether a request to `uri` may go there.
    pub(crate) fn holds(&self, uri: &Uri) -> bool {
        let Some(host) = uri.host() else { return false };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let named = match &self.host {
            HostPattern::Any => true,
            HostPattern::Subdomains(suffix) => host.ends_with(suffix.as_str()),
            HostPattern::Exact(exact) => host == *exact,
        };
        let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let port = uri.port_u16().unwrap_or(default);
        named
            && match (self.port, &self.host) {
                (Some(allowed), _) => port == allowed,
                (None, HostPattern::Any) => true,
                (None, _) => port == 80 || port == 443,
            }
    }

    /// Whether it names this machine or an address itself, and not only a name that may lead to any.
    pub(crate) fn is_literal(&self) -> bool {
        let HostPattern::Exact(host) = &self.host else { return false };
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
    }
}

impl FromStr for HttpDestination {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("'{text}' is no destination"))
                .hint("write a host, as in api.example.com, *.example.com, localhost:8000 or [::1]:8000; * is everywhere")
        };
        let bracketed = text.starts_with('[');
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !bracketed || host.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| wrong())?))
            }
            _ => (text, None),
        };
        let plain = |host: &str| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            !host.is_empty() && (host.bytes().all(good) || bracketed && host.ends_with(']'))
        };
        let host = match (host, host.strip_prefix('*')) {
            ("*", _) => HostPattern::Any,
            (_, Some(suffix)) if suffix.strip_prefix('.').is_some_and(plain) => {
                HostPattern::Subdomains(suffix.to_ascii_lowercase())
            }
            (host, None) if plain(host) => HostPattern::Exact(host.to_ascii_lowercase()),
            _ => return Err(wrong()),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for HttpDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostPattern::Any => f.write_str("*")?,
            HostPattern::Subdomains(suffix) => write!(f, "*{suffix}")?,
            HostPattern::Exact(host) => f.write_str(host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn destinations_hold_what_they_name_and_nothing_else() {
        for (allowed, uri, expected) in [
            ("api.example.com", "https://api.example.com/x", true),
            ("api.example.com", "http://API.example.com./x", true),
            ("api.example.com", "https://api.example.com:8443/", false),
            ("api.example.com", "https://api.example.com.evil.test/", false),
            ("api.example.com:8443", "https://api.example.com:8443/", true),
            ("api.example.com:8443", "https://api.example.com/", false),
            ("*.example.com", "https://a.b.example.com/", true),
            ("*.example.com", "https://example.com/", false),
            ("*.example.com", "https://badexample.com/", false),
            ("localhost:8000", "http://localhost:8000/", true),
            ("localhost:80", "http://localhost/", true),
            ("[::1]:8000", "http://[::1]:8000/", true),
            ("*", "http://anything:1234/", true),
            ("api.example.com", "https://user@evil.test/api.example.com", false),
        ] {
            let destination: HttpDestination = allowed.parse().unwrap();
            assert_eq!(destination.holds(&uri.parse().unwrap()), expected, "{allowed} {uri}");
            assert_eq!(destination.to_string(), allowed);
        }
        for wrong in ["", "https://a", "a/b", "*x", "a:b", "a:99999", "*.", "a b"] {
            assert!(wrong.parse::<HttpDestination>().is_err(), "{wrong}");
        }
    }
}
