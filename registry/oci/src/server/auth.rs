//! Authentication by Basic or Bearer, authorization, and the endpoint of short-lived tokens.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eyot_access::{AccessScope, Caller, Denial, RegistryAction};
use eyot_core::{Error, ErrorKind, ProjectName, Timestamp};
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::json;

use super::{HandlerResult, not_allowed, queries};
use crate::registry::{Registry, milliseconds};
use crate::response::{RegistryError, read_body};

/// Authenticates a request.
///
/// Fails with `UNAUTHORIZED` for invalid credentials: who sends some must not go on as anonymous.
pub(crate) async fn caller(
    registry: &Registry,
    parts: &http::request::Parts,
) -> Result<Caller, RegistryError> {
    let found = registry.0.access.authenticate(parts).await;
    found.map_err(|error| match error.kind() {
        ErrorKind::Denied => challenge(registry, &parts.headers, error, None, Some("invalid_token")),
        _ => error.into(),
    })
}

/// Authenticates a request and authorizes its action. Who shows something and is not let in is written into the audit log;
/// who shows nothing is asked to, which is no denial.
pub(super) async fn admit(
    registry: &Registry,
    parts: &http::request::Parts,
    action: RegistryAction,
    repository: Option<&str>,
) -> Result<Caller, RegistryError> {
    let access = &registry.0.access;
    let (by, refused) = match caller(registry, parts).await {
        Ok(caller) => match authorize(registry, &parts.headers, &caller, action, repository) {
            Ok(()) => return Ok(caller),
            Err(refused) if refused.is_denial() => (caller, refused),
            Err(refused) => return Err(refused),
        },
        Err(refused) => (access.unknown_caller(), refused),
    };
    let project = repository.map(|repository| access.project_of(repository)).unwrap_or_default();
    let (object, reason) = (format!("{} {}", parts.method, parts.uri.path()), refused.message());
    let denial = Denial { project: &project, action: "request", object: &object, reason: &reason };
    Box::pin(access.record_denial(&by, denial)).await;
    Err(refused)
}

/// Authorizes an action, or answers how the caller could be authorized.
pub(crate) fn authorize(
    registry: &Registry,
    headers: &HeaderMap,
    caller: &Caller,
    action: RegistryAction,
    repository: Option<&str>,
) -> Result<(), RegistryError> {
    if caller.may(action, repository) {
        return Ok(());
    }
    // A push begins with a look at what is there. Some clients keep the token that they get for it, oras's in
    // Python does: whoever has shown nothing yet is told to ask for both, and gets what they may have of it.
    let first = action == RegistryAction::Pull && repository.is_some() && !caller.is_known();
    let asked = if first { RegistryAction::Push } else { action };
    let scope = AccessScope::of(asked, repository);
    let what = repository.map_or_else(|| "the registry".to_owned(), |repository| format!("'{repository}'"));
    let word = format!("{action:?}").to_lowercase();
    if caller.is_known() && !caller.could(action, repository) {
        let error = Error::denied(format!("this token does not allow to {word} {what}"));
        return Err(RegistryError::new("DENIED", error.hint(format!("a token with the scope {scope} does"))));
    }
    let error = Error::denied(format!("to {word} {what} takes a token"))
        .hint("eyot token create makes one; EYOT_TOKEN holds it");
    Err(challenge(registry, headers, error, Some(&scope), caller.is_known().then_some("insufficient_scope")))
}

/// Whether the base must challenge: some clients never send their token to a registry whose base answers anonymous
/// requests.
pub(crate) fn wants_tokens(caller: &Caller) -> bool {
    caller.shows_nothing() && caller.role_in(&ProjectName::default()).is_none()
}

pub(crate) fn challenge(
    registry: &Registry,
    headers: &HeaderMap,
    error: Error,
    scope: Option<&AccessScope>,
    reason: Option<&str>,
) -> RegistryError {
    let address = address(registry, headers);
    let mut text = format!("Bearer realm=\"{address}/v2/token\",service=\"eyot\"");
    scope.iter().for_each(|scope| text.push_str(&format!(",scope=\"{scope}\"")));
    reason.iter().for_each(|reason| text.push_str(&format!(",error=\"{reason}\"")));
    RegistryError::new("UNAUTHORIZED", error)
        .status(StatusCode::UNAUTHORIZED)
        .header(header::WWW_AUTHENTICATE, &text)
}

/// The address by which a client knows this server.
pub(crate) fn address(registry: &Registry, headers: &HeaderMap) -> String {
    let said = &registry.0.settings.config.url;
    if !said.is_empty() {
        return said.trim_end_matches('/').to_owned();
    }
    let scheme = if registry.0.settings.is_secure { "https" } else { "http" };
    format!("{scheme}://{}", host(headers))
}

/// The host that a client asked for. It goes back to that client only, into a quoted string.
pub(crate) fn host(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    host.chars().filter(|letter| letter.is_ascii_alphanumeric() || ".:-[]".contains(*letter)).collect()
}

/// `GET /v2/token?service=&scope=` with Basic credentials, or `POST` with a form as OAuth 2 has it.
pub(super) async fn token(State(registry): State<Registry>, request: Request) -> Response {
    let (mut parts, body) = super::split_request(request);
    let answer = async {
        let form = match parts.method {
            Method::GET => parts.uri.clone(),
            Method::POST => {
                let form = read_body(body, 64 << 10).await?;
                let form = String::from_utf8(form.to_vec())
                    .map_err(|error| Error::invalid("the form is no text").because(error))?;
                if let Some(secret) = secret(&form) {
                    let basic = STANDARD.encode(format!("form:{secret}"));
                    parts
                        .headers
                        .insert(header::AUTHORIZATION, super::header_value(&format!("Basic {basic}")));
                }
                format!("/?{form}").parse().map_err(|error: http::uri::InvalidUri| {
                    Error::invalid("the form is none").because(error)
                })?
            }
            _ => return Err(not_allowed(&parts.uri, &parts.method)),
        };
        let caller = caller(&registry, &parts).await?;
        grant(&registry, &caller, &form)
    };
    answer.await.into_response()
}

/// The secret in an OAuth 2 form.
fn secret(form: &str) -> Option<String> {
    let pairs: std::collections::HashMap<_, _> =
        form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    let field = match pairs.get("grant_type")?.as_str() {
        "password" => "password",
        "refresh_token" => "refresh_token",
        _ => return None,
    };
    pairs.get(field).cloned()
}

/// Scopes that one request for a token may have.
const MAX_SCOPE_COUNT: usize = 64;

fn grant(registry: &Registry, caller: &Caller, form: &http::Uri) -> HandlerResult {
    let asked =
        queries(form, "scope").flat_map(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>());
    // Unknown scopes are not granted.
    let asked: Vec<AccessScope> = asked.take(MAX_SCOPE_COUNT).filter_map(|text| text.parse().ok()).collect();
    let issued = registry.now();
    let lifetime = milliseconds(registry.0.settings.config.token_lifetime.0).max(60_000);
    let token = registry.0.access.grant(caller, &asked, Timestamp(issued + lifetime))?;
    let body = json!({
        "token": token,
        "access_token": token,
        "expires_in": lifetime / 1000,
        "issued_at": Timestamp(issued).to_rfc3339(),
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response())
}
