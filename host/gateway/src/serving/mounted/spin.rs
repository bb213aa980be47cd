//! What a component is told of its route by headers, under the names that Spin gives them.

use std::net::SocketAddr;

use eyot_deploy::{PathMatch, Route};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

const PREFIX: &str = "spin-";
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const CLIENT: HeaderName = HeaderName::from_static("spin-client-addr");
const MATCHED: HeaderName = HeaderName::from_static("spin-matched-route");
const RAW: HeaderName = HeaderName::from_static("spin-raw-component-route");
const COMPONENT: HeaderName = HeaderName::from_static("spin-component-route");
const BASE: HeaderName = HeaderName::from_static("spin-base-path");

/// What is the same for each request to a route.
pub(crate) struct RouteHeaders(Vec<(HeaderName, HeaderValue)>);

impl RouteHeaders {
    pub(crate) fn new(route: &Route) -> Self {
        let (whole, base) = (route.to_string(), route.base());
        let told = [(MATCHED, whole.as_str()), (RAW, &whole), (COMPONENT, &base), (BASE, "/")];
        let value = |text| HeaderValue::try_from(text).ok();
        Self(told.into_iter().filter_map(|(name, text)| Some((name, value(text)?))).collect())
    }
}

/// Tells it. What a client sends under these names is taken away.
pub(crate) fn set_route_headers(
    headers: &mut HeaderMap,
    route: &RouteHeaders,
    matched: &PathMatch,
    uri: &Uri,
    peer: SocketAddr,
) {
    let forged: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
    headers.reserve(route.0.len() + matched.names.len() + 3);
    for (name, value) in &route.0 {
        headers.insert(name, value.clone());
    }
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    set(FULL_URL, uri.to_string());
    set(PATH_INFO, matched.rest.clone());
    set(CLIENT, peer.to_string());
    for (name, value) in &matched.names {
        if let Ok(name) = HeaderName::try_from(format!("spin-path-match-{name}")) {
            set(name, value.clone());
        }
    }
}
