//! What pages of other origins are told, where the configuration lists their origin.
//!
//! Nothing of what a browser keeps for this server is ever sent along: a page shows a token itself.

use eyot_core::{Error, Result};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

/// The origins whose pages may ask and read.
#[derive(Clone, Debug, Default)]
pub struct CorsPolicy {
    origins: Vec<String>,
    any: bool,
}

/// How long a browser may remember what it was told, in seconds.
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("600");

/// What a request that asks first is told that it may do.
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");

impl CorsPolicy {
    pub(crate) fn new(section: &str, origins: &[String]) -> Result<Self> {
        let mut cors = Self::default();
        for text in origins {
            let origin = text.trim().to_ascii_lowercase();
            // Only where nothing but answers to requests is to be had.
            if origin == "*" && section == "gateway" {
                cors.any = true;
                continue;
            }
            let host = ["http://", "https://"].iter().find_map(|scheme| origin.strip_prefix(scheme));
            let is_origin =
                host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '*', '@', ' ']));
            if !is_origin {
                return Err(Error::invalid(format!("{section}.origins: '{text}' is no origin")).hint(
                    "write https://app.example.com, with a port where it has one and nothing behind it",
                ));
            }
            cors.origins.push(origin);
        }
        Ok(cors)
    }

    /// Whether pages of an origin may ask and read.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        self.any || self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin))
    }

    /// What to add to the answer to a request with these headers; nothing where it comes from no page that may.
    pub fn headers(&self, request: &HeaderMap) -> Option<[(HeaderName, HeaderValue); 3]> {
        let origin = request.get(header::ORIGIN)?;
        if !self.allows(origin.to_str().ok()?) {
            return None;
        }
        Some([
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*")),
            (header::VARY, HeaderValue::from_static("origin")),
        ])
    }

    /// The answer to a page that asks whether it may; none where this is no such question, or it may not.
    pub fn preflight<B: Default>(&self, parts: &Parts) -> Option<Response<B>> {
        if !is_preflight(parts) {
            return None;
        }
        let mut answer = Response::new(B::default());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        answer.headers_mut().extend(self.headers(&parts.headers)?);
        answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
        answer.headers_mut().insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS);
        if let Some(wanted) = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        Some(answer)
    }
}

/// Whether a browser asks for a page whether it may send a request.
pub fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS
        && parts.headers.contains_key(header::ORIGIN)
        && parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use http::Request;

    fn asks(origin: &str) -> Parts {
        let request = Request::builder().method("OPTIONS").uri("/").header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        let request = request.header("access-control-request-headers", "content-type, x-one");
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_pages_of_the_list_are_told_that_they_may() {
        let listed = CorsPolicy::new("gateway", &["https://App.example:8443".to_owned()]).unwrap();
        let any = CorsPolicy::new("gateway", &["*".to_owned()]).unwrap();
        for (cors, origin, told) in [
            (&listed, "https://app.example:8443", true),
            (&listed, "https://app.example", false),
            (&listed, "http://app.example:8443", false),
            (&listed, "null", false),
            (&any, "https://whoever.example", true),
            (&CorsPolicy::default(), "https://app.example:8443", false),
        ] {
            let answer = cors.preflight::<()>(&asks(origin));
            assert_eq!(answer.is_some(), told, "{origin}");
            if let Some(answer) = answer {
                assert_eq!(answer.headers()["access-control-allow-origin"], origin);
                assert_eq!(answer.headers()["access-control-allow-headers"], "content-type, x-one");
                assert_eq!(answer.headers()["vary"], "origin");
            }
        }
        assert!(
            CorsPolicy::new("api", &["*".to_owned()]).is_err(),
            "whoever asks the control plane may drive it"
        );
    }
}
