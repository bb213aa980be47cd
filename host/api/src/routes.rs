//! The only way to a route of the control plane: each method of each path says what it takes, and what
//! does not say so does not compile. `cargo xtask tidy` keeps every other way of making routes out of
//! this crate.

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use eyot_core::{Error, Permission};
use eyot_oci::RegistryCaller;

use crate::ApiServices;
use crate::answer::ErrorResponse;

/// What a request takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AccessRule {
    /// Nothing: what everybody may know.
    Public,
    /// A role that includes the permission.
    Needs(Permission),
    /// The right to pull from some repository; the handler looks at each with its [`RequestCaller`].
    EachRepository,
}

/// The routes of an area.
pub(crate) struct RuledRoutes {
    services: ApiServices,
    router: Router<ApiServices>,
}

/// What a path does, method by method.
pub(crate) struct RuledMethods {
    services: ApiServices,
    router: MethodRouter<ApiServices>,
}

impl RuledRoutes {
    pub(crate) fn new(services: &ApiServices) -> Self {
        Self { services: services.clone(), router: Router::new() }
    }

    /// Adds a path; `methods` adds what it does.
    pub(crate) fn path(mut self, path: &str, methods: impl FnOnce(RuledMethods) -> RuledMethods) -> Self {
        let empty = RuledMethods { services: self.services.clone(), router: MethodRouter::new() };
        self.router = self.router.route(path, methods(empty).router);
        self
    }

    /// All of them, for the one place that serves.
    pub(crate) fn into_router(self) -> Router<ApiServices> {
        self.router
    }
}

macro_rules! methods {
    ($($name:ident $filter:ident),*) => {
        $(
            pub(crate) fn $name<H, T>(self, rule: AccessRule, handler: H) -> Self
            where
                H: Handler<T, ApiServices>,
                T: 'static,
            {
                self.with(MethodFilter::$filter, rule, handler)
            }
        )*
    };
}

impl RuledMethods {
    methods!(get GET, post POST, put PUT, delete DELETE);

    fn with<H, T>(mut self, filter: MethodFilter, rule: AccessRule, handler: H) -> Self
    where
        H: Handler<T, ApiServices>,
        T: 'static,
    {
        let guarded = on(filter, handler)
            .route_layer(middleware::from_fn_with_state((self.services.clone(), rule), admit));
        self.router = self.router.merge(guarded);
        self
    }
}

/// Lets a request in by its rule, or answers why not.
async fn admit(
    State((services, rule)): State<(ApiServices, AccessRule)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    if !matches!(rule, AccessRule::Public) {
        match check(&services, rule, &parts).await {
            Ok(caller) => parts.extensions.insert(caller),
            Err(refusal) => return refusal,
        };
    }
    next.run(Request::from_parts(parts, body)).await
}

async fn check(services: &ApiServices, rule: AccessRule, parts: &Parts) -> Result<RequestCaller, Response> {
    let known = eyot_oci::authenticate(&services.registry, parts).await.map_err(unauthorized)?;
    let allowed = match rule {
        AccessRule::Public => Ok(()),
        AccessRule::Needs(permission) => known.require(permission),
        AccessRule::EachRepository => known.require_some_repository(),
    };
    match allowed {
        Ok(()) => Ok(RequestCaller(known)),
        Err(error) if known.is_known() => Err(ErrorResponse(error).into_response()),
        Err(error) => Err(unauthorized(error)),
    }
}

/// 401, with how to say who one is.
fn unauthorized(error: Error) -> Response {
    let mut response = ErrorResponse(error).into_response();
    if response.status() == StatusCode::FORBIDDEN {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        let challenge = HeaderValue::from_static("Bearer realm=\"eyot\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Who sent the request that a handler works on.
#[derive(Clone, Debug)]
pub(crate) struct RequestCaller(pub(crate) RegistryCaller);

impl<S: Send + Sync> FromRequestParts<S> for RequestCaller {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ErrorResponse> {
        let known = parts.extensions.get::<Self>().cloned();
        known.ok_or_else(|| ErrorResponse(Error::internal("a route has no rule")))
    }
}
