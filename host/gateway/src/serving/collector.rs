//! Where spans go, and how: as the configuration has it, or by the variables that OpenTelemetry has for that.

use std::time::Duration;

use eyot_core::{Error, Result};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

/// How long a collector may take to accept a message where nothing else is said.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Where a collector takes spans, beneath its address.
const TRACES_PATH: &str = "/v1/traces";

/// A collector of traces.
#[derive(Debug)]
pub(crate) struct TraceCollector {
    pub(crate) uri: Uri,
    /// Shown with every message: tokens of hosted collectors, mostly.
    pub(crate) headers: HeaderMap,
    pub(crate) timeout: Duration,
    /// What spans are told to come from, beside the version.
    pub(crate) service_name: String,
    pub(crate) resource: Vec<(String, String)>,
}

/// The variables of this process.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether there is a collector at all.
pub(crate) fn is_collected(endpoint: &str, variable: impl Fn(&str) -> Option<String>) -> bool {
    !endpoint.is_empty() || of_traces("ENDPOINT", variable).is_some()
}

impl TraceCollector {
    /// The collector at `endpoint`, as in `http://127.0.0.1:4318`, or at that of `OTEL_EXPORTER_OTLP_ENDPOINT`; none
    /// where neither is there.
    ///
    /// Fails with `Invalid` for an address, a header or a time that is none, and with `Unsupported` where the variables
    /// want gRPC.
    pub(crate) fn of(
        endpoint: &str,
        service_name: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>> {
        let below = |address: &str| format!("{}{TRACES_PATH}", address.trim_end_matches('/'));
        let (what, written, address) = match (endpoint, of_traces("ENDPOINT", &variable)) {
            ("", None) => return Ok(None),
            ("", Some((name, address))) => {
                over_http(&variable)?;
                // That of traces alone is the whole address.
                let whole = if name.contains("TRACES") { address.clone() } else { below(&address) };
                (name, address, whole)
            }
            (endpoint, _) => ("gateway.otlp-endpoint".to_owned(), endpoint.to_owned(), below(endpoint)),
        };
        let uri: Option<Uri> = address.parse().ok();
        let is_known = |scheme: Option<&str>| matches!(scheme, Some("http" | "https"));
        let uri = uri.filter(|uri| is_known(uri.scheme_str()) && uri.authority().is_some());
        let uri = uri.ok_or_else(|| {
            Error::invalid(format!("{what} is '{written}'")).hint(
                "write http://HOST:PORT or https://HOST:PORT of a collector that takes OTLP over HTTP, \
                 as in http://127.0.0.1:4318",
            )
        })?;
        let resource = match variable("OTEL_RESOURCE_ATTRIBUTES") {
            Some(text) => pairs("OTEL_RESOURCE_ATTRIBUTES", &text)?,
            None => Vec::new(),
        };
        let (named, resource): (Vec<_>, Vec<_>) =
            resource.into_iter().partition(|(key, _)| key == "service.name");
        let named = variable("OTEL_SERVICE_NAME").or_else(|| Some(named.into_iter().next()?.1));
        Ok(Some(Self {
            uri,
            headers: headers(&variable)?,
            timeout: timeout(variable)?,
            service_name: named.unwrap_or_else(|| service_name.to_owned()),
            resource,
        }))
    }
}

/// A variable of exporters, for traces or for all, and its name.
fn of_traces(what: &str, variable: impl Fn(&str) -> Option<String>) -> Option<(String, String)> {
    let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
    names.into_iter().find_map(|name| variable(&name).map(|value| (name, value)))
}

/// Collectors that take protobuf over HTTP take JSON, too; those for gRPC listen elsewhere.
fn over_http(variable: impl Fn(&str) -> Option<String>) -> Result<()> {
    match of_traces("PROTOCOL", variable) {
        Some((name, protocol)) if !protocol.starts_with("http/") => {
            Err(Error::unsupported(format!("{name} is '{protocol}', and spans are sent over HTTP alone"))
                .hint(
                    "gateway.otlp-endpoint names the collector's port for HTTP, as in http://127.0.0.1:4318",
                ))
        }
        _ => Ok(()),
    }
}

fn headers(variable: impl Fn(&str) -> Option<String>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let Some((name, text)) = of_traces("HEADERS", variable) else { return Ok(headers) };
    for (key, value) in pairs(&name, &text)? {
        let header = key.parse::<HeaderName>().ok().zip(value.parse::<HeaderValue>().ok());
        // Its value may be a secret, and is not told.
        let (key, mut value) =
            header.ok_or_else(|| Error::invalid(format!("{name}: '{key}' is no header that can be sent")))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

fn timeout(variable: impl Fn(&str) -> Option<String>) -> Result<Duration> {
    let Some((name, text)) = of_traces("TIMEOUT", variable) else { return Ok(EXPORT_TIMEOUT) };
    let milliseconds = text.parse::<u32>().ok().filter(|milliseconds| *milliseconds > 0);
    let milliseconds = milliseconds.ok_or_else(|| {
        Error::invalid(format!("{name} is '{text}'")).hint("write milliseconds, as in 10000")
    })?;
    Ok(Duration::from_millis(milliseconds.into()))
}

/// `key=value,key=value`, values with percent-encoding.
fn pairs(name: &str, text: &str) -> Result<Vec<(String, String)>> {
    let wrong = || {
        Error::invalid(format!("{name} is no list of pairs")).hint("write key=value,key=value, as in a=1,b=2")
    };
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
        let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| wrong())?;
        let key = key.trim();
        if key.is_empty() { Err(wrong()) } else { Ok((key.to_owned(), value.into_owned())) }
    };
    text.split(',').filter(|pair| !pair.trim().is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use eyot_core::ErrorKind;

    fn of(endpoint: &str, variables: &[(&str, &str)]) -> Result<Option<TraceCollector>> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| name.strip_prefix("OTEL_") == Some(known));
            found.map(|(_, value)| (*value).to_owned())
        };
        let found = TraceCollector::of(endpoint, "eyot", variable)?;
        assert_eq!(found.is_some(), is_collected(endpoint, variable));
        Ok(found)
    }

    #[test]
    fn where_spans_go() {
        let (all, traces) = ("EXPORTER_OTLP_ENDPOINT", "EXPORTER_OTLP_TRACES_ENDPOINT");
        for (endpoint, variables, expected) in [
            ("", vec![], None),
            ("http://a:4318", vec![], Some("http://a:4318/v1/traces")),
            ("https://a/", vec![], Some("https://a/v1/traces")),
            ("http://a:4318", vec![(all, "http://b:4318")], Some("http://a:4318/v1/traces")),
            ("", vec![(all, "http://b:4318/")], Some("http://b:4318/v1/traces")),
            ("", vec![(all, "http://b"), (traces, "http://c/x")], Some("http://c/x")),
            ("http://a", vec![("EXPORTER_OTLP_PROTOCOL", "grpc")], Some("http://a/v1/traces")),
            ("", vec![("EXPORTER_OTLP_PROTOCOL", "grpc")], None),
            (
                "",
                vec![(all, "http://b"), ("EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
                Some("http://b/v1/traces"),
            ),
        ] {
            let found = of(endpoint, &variables).unwrap().map(|found| found.uri.to_string());
            assert_eq!(found.as_deref(), expected, "{endpoint} {variables:?}");
        }
        let grpc = [(all, "http://b:4317"), ("EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")];
        assert_eq!(of("", &grpc).unwrap_err().kind(), ErrorKind::Unsupported);
        for (endpoint, variables) in [
            ("collector:4318", vec![]),
            ("ftp://a", vec![]),
            ("", vec![(all, "nothing")]),
            ("http://a", vec![("EXPORTER_OTLP_TIMEOUT", "soon")]),
            ("http://a", vec![("EXPORTER_OTLP_TIMEOUT", "0")]),
            ("http://a", vec![("EXPORTER_OTLP_HEADERS", "no pair")]),
            ("http://a", vec![("EXPORTER_OTLP_HEADERS", "a b=c")]),
            ("http://a", vec![("EXPORTER_OTLP_HEADERS", "a=%0A")]),
            ("http://a", vec![("RESOURCE_ATTRIBUTES", "=x")]),
        ] {
            assert_eq!(
                of(endpoint, &variables).unwrap_err().kind(),
                ErrorKind::Invalid,
                "{endpoint} {variables:?}"
            );
        }
    }

    #[test]
    fn what_goes_along() {
        let plain = of("http://a", &[]).unwrap().unwrap();
        assert_eq!((plain.timeout, plain.service_name.as_str()), (EXPORT_TIMEOUT, "eyot"));
        assert!(plain.headers.is_empty() && plain.resource.is_empty());
        let full = [
            ("EXPORTER_OTLP_HEADERS", "x-other=1"),
            ("EXPORTER_OTLP_TRACES_HEADERS", "Authorization=Bearer%20a%3Db, x-team = ml ,"),
            ("EXPORTER_OTLP_TIMEOUT", "250"),
            ("RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment=edge%2C1"),
        ];
        let found = of("http://a", &full).unwrap().unwrap();
        assert_eq!(
            (found.headers["authorization"].as_bytes(), found.headers["x-team"].as_bytes()),
            (&b"Bearer a=b"[..], &b"ml"[..])
        );
        assert_eq!((found.headers.len(), found.timeout), (2, Duration::from_millis(250)));
        assert!(!format!("{found:?}").contains("Bearer"), "{found:?}");
        assert_eq!(found.service_name, "other");
        assert_eq!(found.resource, [("deployment.environment".to_owned(), "edge,1".to_owned())]);
        let named = [full.as_slice(), &[("SERVICE_NAME", "mine")]].concat();
        assert_eq!(of("http://a", &named).unwrap().unwrap().service_name, "mine");
    }
}
