//! Deployments at routes of their own, for components that answer HTTP themselves.

pub(crate) mod spin;

use std::sync::Arc;

use eyot_deploy::{Matched, Route};
use http::{HeaderMap, Uri, header};

use crate::serving::endpoint::Endpoint;
use spin::OfRoute;

/// A deployment at one of its routes.
pub(crate) struct Mounted {
    pub(crate) route: Route,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) told: OfRoute,
}

impl Mounted {
    pub(crate) fn new(route: &Route, endpoint: &Arc<Endpoint>) -> Arc<Self> {
        let (route, endpoint, told) = (route.clone(), endpoint.clone(), OfRoute::new(route));
        Arc::new(Self { route, endpoint, told })
    }
}

/// What a request is for.
pub(crate) struct Found {
    pub(crate) mounted: Arc<Mounted>,
    pub(crate) matched: Matched,
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
