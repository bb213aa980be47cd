//! Signing in: a token for a command line, a session for a browser, each for a name and a password.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use eyot_access::{CreatedToken, NewToken, SESSION_COOKIES, session_cookie};
use eyot_core::{Clock as _, Error, Result, SystemClock, Timestamp, new_id};
use serde::{Deserialize, Serialize};

use crate::ApiServices;
use crate::answer::{Confidential, ErrorResponse, FormBody, JsonBody, SecretResult};
use crate::front::{escape, page_headers, page_of};
use crate::routes::{AccessRule, RuledRoutes};

/// Where the forms of this server's own pages go.
pub const FORM_PATHS: [&str; 2] = ["/sign-in", "/sign-out"];

/// How long a token of a command line is good.
const LOGIN_MILLISECONDS: i64 = 90 * 24 * 3_600_000;

pub(crate) fn routes(services: &ApiServices) -> RuledRoutes {
    RuledRoutes::new(services)
        .path("/api/v1/login", |path| path.post(AccessRule::Public, log_in))
        .path("/sign-in", |path| path.get(AccessRule::Public, form).post(AccessRule::Public, sign_in))
        .path("/sign-out", |path| path.post(AccessRule::Public, sign_out))
}

/// Who signs in on a command line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginRequest {
    pub(crate) user: String,
    pub(crate) password: String,
    /// From where: the name of the machine, a part of the token's.
    #[serde(default)]
    pub(crate) from: String,
}

/// Passwords go over TLS, or do not leave the machine.
fn check_secrecy(services: &ApiServices) -> Result<()> {
    match services.exposure.keeps_secrets {
        true => Ok(()),
        false => Err(Error::denied("a password is not sent over plain HTTP to another machine").hint(
            "give the server a certificate: eyot up --set api.tls-cert=cert.pem --set api.tls-key=key.pem; \
             where TLS ends in a proxy before it, say so with --set registry.url=https://NAME",
        )),
    }
}

async fn log_in(
    State(services): State<ApiServices>,
    JsonBody(LoginRequest { user, password, from }): JsonBody<LoginRequest>,
) -> SecretResult<CreatedToken> {
    check_secrecy(&services)?;
    let plain = |letter: &char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || *letter == '-';
    let from: String = from.to_ascii_lowercase().chars().filter(plain).take(40).collect();
    let from = if from.is_empty() { "login".to_owned() } else { from };
    let short: String = user.chars().take(60).collect();
    let mut unique = new_id();
    unique.truncate(8);
    let expires = Timestamp(SystemClock.now().0 + LOGIN_MILLISECONDS);
    let token =
        NewToken { name: format!("{short}-{from}-{unique}"), expires: Some(expires), ..NewToken::default() };
    Ok(Confidential(services.access.log_in(&user, &password, token).await?))
}

/// What a browser's form says.
#[derive(Debug, Deserialize)]
struct SignInForm {
    user: String,
    password: String,
}

async fn form(State(services): State<ApiServices>) -> Response {
    sign_in_page(&services, None)
}

async fn sign_in(
    State(services): State<ApiServices>,
    headers: HeaderMap,
    FormBody(SignInForm { user, password }): FormBody<SignInForm>,
) -> Response {
    if let Err(error) = check_secrecy(&services) {
        return ErrorResponse(error).into_response();
    }
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    match services.access.sign_in(&user, &password, agent).await {
        Ok(new) => to_front(&cookie(&services, &new.secret)),
        Err(error) => {
            let status = StatusCode::from_u16(error.kind().http_status());
            let mut page = sign_in_page(&services, Some(&error));
            *page.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            page
        }
    }
}

async fn sign_out(
    State(services): State<ApiServices>,
    headers: HeaderMap,
) -> Result<Response, ErrorResponse> {
    if let Some(secret) = session_cookie(&headers) {
        services.access.sign_out(secret).await?;
    }
    Ok(to_front(&format!("{}; Max-Age=0", cookie(&services, ""))))
}

/// The cookie of a session: over TLS one that no other host can set.
fn cookie(services: &ApiServices, secret: &str) -> String {
    let [over_tls, plain] = SESSION_COOKIES;
    match services.exposure.is_secure {
        true => format!("{over_tls}={secret}; Path=/; HttpOnly; SameSite=Lax; Secure"),
        false => format!("{plain}={secret}; Path=/; HttpOnly; SameSite=Lax"),
    }
}

fn to_front(cookie: &str) -> Response {
    let cookie = HeaderValue::from_str(cookie).unwrap_or_else(|_| HeaderValue::from_static(""));
    let headers = [(header::LOCATION, HeaderValue::from_static("/")), (header::SET_COOKIE, cookie)];
    (StatusCode::SEE_OTHER, headers).into_response()
}

fn sign_in_page(services: &ApiServices, error: Option<&Error>) -> Response {
    let wrong = match error {
        Some(error) => {
            let hint = error.hint_text().map(|hint| format!(" <small>{}</small>", escape(hint)));
            format!("<p role=\"alert\"><b>{}</b>{}", escape(&error.to_string()), hint.unwrap_or_default())
        }
        None if services.access.has_users() => String::new(),
        None => "<p>There are no users yet: <code>eyot user add NAME</code> on the server's machine makes the first."
            .to_owned(),
    };
    let body = format!(
        "<h1>Sign in to Eyot</h1>\n{wrong}\n<form method=\"post\" action=\"/sign-in\">\n\
         <p><label>Name<br><input name=\"user\" autocomplete=\"username\" required autofocus></label>\n\
         <p><label>Password<br><input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>\n\
         <p><button>Sign in</button>\n</form>\n"
    );
    (page_headers("'self'"), Html(page_of("Sign in", &body))).into_response()
}
