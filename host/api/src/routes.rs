//! The only way to a route of the control plane: each method of each path says what it takes, and what
//! does not say so does not compile. `cargo xtask tidy` keeps every other way of making routes out of
//! this crate.

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use eyot_access::{Caller, Denial};
use eyot_core::{Error, Permission, ProjectName};

use crate::ApiServices;
use crate::answer::ErrorResponse;
use crate::idempotency::{self, RequestSender};

/// What a request takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AccessRule {
    /// Nothing: what everybody may know.
    Public,
    /// A role in the request's project that includes the permission.
    Needs(Permission),
    /// The right to pull from some repository; the handler looks at each with its [`RequestCaller`].
    EachRepository,
    /// That the caller is somebody; the handler looks at what is theirs.
    Known,
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
    if matches!(rule, AccessRule::Public) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let caller = match check(&services, rule, &parts).await {
        Ok(caller) => caller,
        Err(refusal) => return refusal,
    };
    parts.extensions.insert(caller.clone());
    let request = Request::from_parts(parts, body);
    match request.method().is_safe() {
        true => next.run(request).await,
        false => {
            let sender = RequestSender { caller: &caller.caller, project: &caller.project };
            Box::pin(idempotency::once(&services, sender, request, next)).await
        }
    }
}

async fn check(services: &ApiServices, rule: AccessRule, parts: &Parts) -> Result<RequestCaller, Response> {
    let caller = match services.access.authenticate(parts).await {
        Ok(caller) => caller,
        Err(error) => {
            let nobody = services.access.unknown_caller();
            Box::pin(deny(services, &nobody, &ProjectName::default(), parts, &error)).await;
            return Err(unauthorized(error));
        }
    };
    let project = selected_project(parts, &caller).map_err(|error| ErrorResponse(error).into_response())?;
    let allowed = match rule {
        AccessRule::Public => Ok(()),
        AccessRule::Needs(permission) => caller
            .require(permission, &project)
            // Whoever may would else be told of a project that is not there.
            .and_then(|()| services.access.check_project(&project)),
        AccessRule::EachRepository => caller.require_some_repository(),
        AccessRule::Known => caller.require_known(),
    };
    match allowed {
        Ok(()) => Ok(RequestCaller { caller, project }),
        Err(error) if caller.is_known() => {
            Box::pin(deny(services, &caller, &project, parts, &error)).await;
            Err(ErrorResponse(error).into_response())
        }
        // Whoever has shown nothing is asked to, which is no denial.
        Err(error) => Err(unauthorized(error)),
    }
}

/// Writes down who was not let do what.
async fn deny(services: &ApiServices, caller: &Caller, project: &ProjectName, parts: &Parts, error: &Error) {
    let (object, reason) = (format!("{} {}", parts.method, parts.uri.path()), error.to_string());
    let denial = Denial { project, action: "request", object: &object, reason: &reason };
    services.access.record_denial(caller, denial).await;
}

/// The header by which the client of MLflow names the project, which it calls a workspace.
const WORKSPACE_HEADER: &str = "x-mlflow-workspace";

/// The project that a request is about: that of its path, `/p/PROJECT/…`, or of its header; else the one that the caller's
/// token is for; else `default`.
///
/// Fails with `Invalid` when path and header name two.
fn selected_project(parts: &Parts, caller: &Caller) -> eyot_core::Result<ProjectName> {
    let below = parts.extensions.get::<ProjectBelow>().map(|below| below.0.clone());
    let header = match parts.headers.get(WORKSPACE_HEADER) {
        None => None,
        Some(said) => {
            let said = said.to_str().map_err(|error| {
                Error::invalid(format!("the header {WORKSPACE_HEADER} names no project")).because(error)
            })?;
            Some(said.parse::<ProjectName>()?)
        }
    };
    match (below, header) {
        (Some(below), Some(header)) if below != header => {
            Err(Error::invalid(format!("the path is of project '{below}' and the header of '{header}'"))
                .hint("name one: with the path /p/PROJECT/…, or with MLFLOW_WORKSPACE"))
        }
        (Some(project), _) | (None, Some(project)) => Ok(project),
        (None, None) => Ok(caller.bound_project().cloned().unwrap_or_default()),
    }
}

/// The project that stood before a request's path.
#[derive(Clone, Debug)]
struct ProjectBelow(ProjectName);

/// What is there once for each project; everything else has no `/p/PROJECT` before it.
const PROJECT_PATHS: [&str; 2] = ["/api/", "/ajax-api/"];

/// Takes `/p/PROJECT` from a request's path, and keeps in mind what it named.
pub(crate) fn without_project<B>(mut request: axum::http::Request<B>) -> axum::http::Request<B> {
    let uri = request.uri();
    let Some((project, rest)) = uri.path().strip_prefix("/p/").and_then(|rest| rest.split_once('/')) else {
        return request;
    };
    let rest = match uri.query() {
        Some(query) => format!("/{rest}?{query}"),
        None => format!("/{rest}"),
    };
    if !PROJECT_PATHS.iter().any(|below| rest.starts_with(below)) {
        return request;
    }
    // No project has such a name, and there is no such path.
    let (Ok(project), Ok(path)) = (project.parse(), rest.parse()) else { return request };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path);
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
        request.extensions_mut().insert(ProjectBelow(project));
    }
    request
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

/// Who sent the request that a handler works on, and the project that it is about: one in which they may do it.
#[derive(Clone, Debug)]
pub(crate) struct RequestCaller {
    pub(crate) caller: Caller,
    pub(crate) project: ProjectName,
}

impl<S: Send + Sync> FromRequestParts<S> for RequestCaller {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ErrorResponse> {
        let known = parts.extensions.get::<Self>().cloned();
        known.ok_or_else(|| ErrorResponse(Error::internal("a route has no rule")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_project_before_a_path_is_taken_from_it() {
        for (path, rest, project) in [
            ("/p/fraud/api/v1/models", "/api/v1/models", Some("fraud")),
            ("/p/fraud/api/v1/events?after=3", "/api/v1/events?after=3", Some("fraud")),
            ("/p/default/api/v1/models", "/api/v1/models", Some("default")),
            ("/api/v1/models", "/api/v1/models", None),
            // The registry is one for all projects.
            ("/p/fraud/v2/x/manifests/t", "/p/fraud/v2/x/manifests/t", None),
            ("/p/fraud", "/p/fraud", None),
            ("/p/Fraud/api/v1/models", "/p/Fraud/api/v1/models", None),
            ("/p/fraud/p/other/api/v1/models", "/p/fraud/p/other/api/v1/models", None),
        ] {
            let request = without_project(axum::http::Request::builder().uri(path).body(()).unwrap());
            assert_eq!(request.uri().to_string(), rest);
            let found = request.extensions().get::<ProjectBelow>().map(|below| below.0.as_str());
            assert_eq!(found, project, "{path}");
        }
    }
}
