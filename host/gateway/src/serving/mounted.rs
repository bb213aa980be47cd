//! Deployments at routes of their own, for components that answer HTTP themselves.

pub(crate) mod spin;

use std::sync::Arc;

use eyot_deploy::{PathMatch, Route};
use http::{HeaderMap, Uri, header};

use crate::serving::endpoint::DeploymentEntry;
use spin::RouteHeaders;

/// A deployment at one of its routes.
pub(crate) struct MountedRoute {
    pub(crate) route: Route,
    pub(crate) endpoint: Arc<DeploymentEntry>,
    pub(crate) headers: RouteHeaders,
}

impl MountedRoute {
    pub(crate) fn new(route: &Route, endpoint: &Arc<DeploymentEntry>) -> Arc<Self> {
        let (route, endpoint, headers) = (route.clone(), endpoint.clone(), RouteHeaders::new(route));
        Arc::new(Self { route, endpoint, headers })
    }
}

/// What a request is for.
pub(crate) struct RouteMatch {
    pub(crate) mounted: Arc<MountedRoute>,
    pub(crate) matched: PathMatch,
}

/// The host that a request names, without its port.
pub(crate) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = uri.host().or(named)?;
    Some(match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    })
}
