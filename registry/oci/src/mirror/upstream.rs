//! The HTTP client of an upstream registry: authentication, redirects, and to whom credentials are sent.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eyot_core::config::Mirror as Config;
use eyot_core::{Clock, Error, ErrorKind, Result, ResultExt as _};
use eyot_http::{AddressPolicy, ClientSettings, HttpClient, RedirectPolicy, RequestFailure, ServerTrust};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::response::{read_body, read_error};

/// How long an upstream may take until it begins to answer, and until the answer goes on.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// More redirects than any registry needs.
const MAX_REDIRECT_COUNT: usize = 5;

pub(super) struct UpstreamClient {
    client: HttpClient,
    /// Scheme and authority.
    base: Uri,
    /// `Basic …`.
    credentials: Option<HeaderValue>,
    token_hosts: Vec<String>,
    /// By repository: a token, and when it expires.
    tokens: Mutex<HashMap<String, (HeaderValue, i64)>>,
    clock: Arc<dyn Clock>,
}

/// A `WWW-Authenticate` challenge.
#[derive(Debug, Default, PartialEq, Eq)]
struct AuthChallenge {
    scheme: String,
    fields: HashMap<String, String>,
}

/// The response of a token endpoint.
#[derive(Deserialize)]
struct TokenDocument {
    token: Option<String>,
    /// The same, as OAuth 2 calls it; many send both.
    access_token: Option<String>,
    expires_in: Option<i64>,
}

impl UpstreamClient {
    /// Fails with `Invalid` when the configuration cannot be.
    pub(super) fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self> {
        let wrong = |what: &str| {
            Error::invalid(format!("registry.mirror: '{}' is no upstream: {what}", config.upstream))
                .hint("write https://HOST, as in https://ghcr.io")
        };
        let base: Uri = config.upstream.trim_end_matches('/').parse().map_err(|_| wrong("no URL"))?;
        let is_plain = base.scheme() == Some(&Scheme::HTTP);
        if base.authority().is_none() || !matches!(base.path(), "" | "/") {
            return Err(wrong("no host, or a path"));
        }
        if base.scheme() != Some(&Scheme::HTTPS) && !(is_plain && config.private_addresses) {
            return Err(wrong("over http only with private-addresses = true"));
        }
        Ok(Self {
            client: HttpClient::new(ClientSettings {
                trust: Some(ServerTrust::with_authority(&config.ca)),
                addresses: if config.private_addresses {
                    AddressPolicy::Any
                } else {
                    AddressPolicy::PublicOnly
                },
                redirects: RedirectPolicy::Follow { max_redirects: MAX_REDIRECT_COUNT },
                connect_timeout: RESPONSE_TIMEOUT,
                response_timeout: Some(RESPONSE_TIMEOUT),
                read_timeout: Some(RESPONSE_TIMEOUT),
                ..ClientSettings::default()
            })?,
            base,
            credentials: credentials(&config.credentials)?,
            token_hosts: config.token_hosts.clone(),
            tokens: Mutex::default(),
            clock,
        })
    }

    /// Asks for a path of a repository.
    ///
    /// Fails with `NotFound` when the upstream has no such thing, with `Denied` when it, or this mirror's
    /// rules, forbid it, and with `Unavailable` or `Timeout` when it is down.
    pub(super) async fn request(
        &self,
        method: Method,
        repository: &str,
        path: &str,
        accept: &str,
    ) -> Result<Response<Body>> {
        let mut response = self.request_once(&method, path, accept, self.token(repository)).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let shown = self.authorization(repository, response.headers()).await?;
            response = self.request_once(&method, path, accept, Some(shown)).await?;
        }
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let said = read_body(response.into_body(), 64 << 10).await.unwrap_or_default();
        let error = read_error(status, &said);
        let kind = match error.kind() {
            kind @ (ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::Exhausted | ErrorKind::Timeout) => {
                kind
            }
            // Whatever is wrong with it, it is wrong between this mirror and the upstream.
            _ => ErrorKind::Unavailable,
        };
        // Its hints speak of itself.
        Err(Error::new(kind, format!("{} says: {}", self.base, error.message())))
    }

    /// One request, with its redirects. Credentials are sent to the upstream alone.
    async fn request_once(
        &self,
        method: &Method,
        path: &str,
        accept: &str,
        shown: Option<HeaderValue>,
    ) -> Result<Response<Body>> {
        let mut request =
            Request::builder().method(method).uri(self.at(path)?).header(header::ACCEPT, accept);
        if let Some(shown) = shown {
            request = request.header(header::AUTHORIZATION, shown);
        }
        send(&self.client, request).await
    }

    fn at(&self, path: &str) -> Result<Uri> {
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = Some(
            path.parse().map_err(|error| Error::invalid(format!("'{path}' is no path")).because(error))?,
        );
        Uri::from_parts(parts).map_err(|error| Error::internal("no such address").because(error))
    }

    fn token(&self, repository: &str) -> Option<HeaderValue> {
        let tokens = self.tokens.lock();
        tokens
            .get(repository)
            .filter(|(_, until)| self.clock.now().0 < *until)
            .map(|(token, _)| token.clone())
    }

    /// The `Authorization` that answers a challenge.
    async fn authorization(&self, repository: &str, headers: &HeaderMap) -> Result<HeaderValue> {
        let refused = || {
            Error::denied(format!("{} wants credentials for {repository}", self.base))
                .hint("credentials in the mirror's section names a file with NAME:PASSWORD")
        };
        let challenge = headers.get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let challenge = challenge.map(AuthChallenge::parse).ok_or_else(refused)?;
        match challenge.scheme.as_str() {
            "basic" => self.credentials.clone().ok_or_else(refused),
            "bearer" => self.fetch_token(repository, &challenge).await,
            _ => Err(refused()),
        }
    }

    async fn fetch_token(&self, repository: &str, challenge: &AuthChallenge) -> Result<HeaderValue> {
        let field = |name: &str| challenge.fields.get(name).map_or("", String::as_str);
        let realm: Uri = field("realm")
            .parse()
            .map_err(|_| Error::unavailable(format!("{} names no place that gives tokens", self.base)))?;
        let host = realm.host().unwrap_or_default();
        // The realm is whatever the upstream writes: without this rule it could have the credentials
        // sent anywhere, or have this server ask any address for it.
        let is_own = realm.authority() == self.base.authority();
        if !is_own && !self.token_hosts.iter().any(|known| known == host) {
            return Err(Error::denied(format!(
                "{} wants a token of {host}, which is not known to give any",
                self.base
            ))
            .hint(format!("if it is, add it to the mirror's section: token-hosts = [\"{host}\"]")));
        }
        if realm.scheme() != Some(&Scheme::HTTPS) && self.base.scheme() == Some(&Scheme::HTTPS) {
            return Err(Error::denied(format!("{} sends on to {realm}, which is not encrypted", self.base)));
        }
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("service", field("service"))
            .append_pair("scope", &format!("repository:{repository}:pull"))
            .finish();
        let mut request =
            Request::get(format!("{}{}{query}", realm, if realm.query().is_some() { '&' } else { '?' }));
        if let Some(credentials) = &self.credentials {
            request = request.header(header::AUTHORIZATION, credentials);
        }
        let response = send(&self.client.with_redirects(RedirectPolicy::Refuse), request).await?;
        let status = response.status();
        let body = read_body(response.into_body(), 1 << 20).await?;
        if !status.is_success() {
            return Err(Error::denied(format!("{host} gives no token for {repository}: {status}")));
        }
        let granted: TokenDocument = serde_json::from_slice(&body)
            .map_err(|error| Error::unavailable(format!("{host} gives no token")).because(error))?;
        let token = granted.token.or(granted.access_token).unwrap_or_default();
        let mut token = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|error| Error::unavailable(format!("{host} gives no token")).because(error))?;
        token.set_sensitive(true);
        // Renewed a little before it expires.
        let seconds = granted.expires_in.unwrap_or(60).clamp(10, 3600);
        let until = self.clock.now().0 + seconds * 900;
        self.tokens.lock().insert(repository.to_owned(), (token.clone(), until));
        Ok(token)
    }
}

/// Sends a request without a body.
async fn send(client: &HttpClient, request: http::request::Builder) -> Result<Response<Body>> {
    let request = request.body(Body::empty());
    let request = request.map_err(|error| Error::invalid("no such request").because(error))?;
    let response = client.send(request).await.map_err(|failure| match failure {
        RequestFailure::ForbiddenAddress(error) => {
            error.hint("private-addresses = true in the mirror's section allows it")
        }
        failure => failure.into(),
    })?;
    Ok(response.map(Body::new))
}

/// The header for a file with `NAME:PASSWORD`; none for an empty path.
fn credentials(file: &Path) -> Result<Option<HeaderValue>> {
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(file).context(|| format!("cannot read {}", file.display()))?;
    let text = text.trim();
    if !text.contains(':') {
        return Err(Error::invalid(format!("{} holds no credentials", file.display()))
            .hint("it must hold one line, NAME:PASSWORD"));
    }
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(text)))
        .map_err(|error| Error::invalid("the credentials cannot be sent").because(error))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Parses a challenge, for fuzzing.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_challenge(value: &HeaderValue) {
    value.to_str().map(AuthChallenge::parse).ok();
}

impl AuthChallenge {
    /// `Bearer realm="…",service="…"`, as RFC 9110 writes it.
    fn parse(text: &str) -> Self {
        let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let mut fields = HashMap::new();
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => after
                    .split_once(',')
                    .map_or((after, ""), |(value, _)| (value, after.get(value.len()..).unwrap_or_default())),
            };
            fields.insert(name.trim_matches([' ', ',']).to_lowercase(), value.trim().to_owned());
            rest = after;
        }
        Self { scheme: scheme.to_lowercase(), fields }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let fields = |text: &str| {
            AuthChallenge::parse(text).fields.into_iter().collect::<std::collections::BTreeMap<_, _>>()
        };
        let of = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        for (text, expected) in [
            (
                "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"a:b:pull,push\"",
                of(&[
                    ("realm", "https://auth.docker.io/token"),
                    ("scope", "a:b:pull,push"),
                    ("service", "registry.docker.io"),
                ]),
            ),
            ("bearer realm=x, service=y", of(&[("realm", "x"), ("service", "y")])),
            ("Basic realm=\"a", of(&[("realm", "a")])),
            ("Basic", of(&[])),
            ("", of(&[])),
            ("Bearer =\"", of(&[("", "")])),
        ] {
            assert_eq!(fields(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_challenge_is_read_as_it_was_written(
            fields in proptest::collection::btree_map("[a-z_]{1,8}", "[ -!#-~]{0,20}", 0..5),
            stranger in "\\PC{0,60}",
        ) {
            let written: Vec<_> = fields.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let read = AuthChallenge::parse(&format!("Bearer {}", written.join(",")));
            let trimmed = fields.iter().map(|(name, value)| (name.clone(), value.trim().to_owned()));
            proptest::prop_assert_eq!(read, AuthChallenge { scheme: "bearer".to_owned(), fields: trimmed.collect() });
            let _ = AuthChallenge::parse(&stranger);
        }
    }
}
