//! The data plane's client: HTTP, and HTTPS with the certificates that this machine trusts.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use eyot_core::config::Config;
use eyot_core::{Error, ErrorKind, Result};
use eyot_http::{ClientSettings, HttpClient, RequestFailure, ServerTrust, collect_body};
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Full;
use serde_json::Value;

/// The header that says how much of a body is JSON.
const JSON_LENGTH_HEADER: &str = "inference-header-content-length";

/// The largest answer: that of one batch of rows.
const MAX_ANSWER_BYTES: usize = 1 << 30;

/// Speaks to one data plane.
pub struct PredictionClient {
    client: HttpClient,
    url: String,
    /// Shown with every request.
    token: Option<HeaderValue>,
}

/// An answer that is no error.
pub struct PredictionAnswer {
    pub body: Bytes,
    /// How much of it is JSON, where there is more.
    pub json: Option<usize>,
}

impl PredictionClient {
    /// To the data plane at `url`. Beside the machine's certificates it trusts those in `ca`, and that of
    /// the configuration, which a server on this data folder shows.
    pub fn new(url: &str, ca: Option<&Path>, config: &Config) -> Result<Self> {
        let own = config.gateway.tls().map(|(cert, _)| cert);
        let authorities: Vec<PathBuf> = ca.into_iter().chain(own).map(Path::to_owned).collect();
        let trust = url.starts_with("https:").then_some(ServerTrust::WithAuthorities(authorities));
        let client = HttpClient::new(ClientSettings { trust, ..ClientSettings::default() })?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), token: None })
    }

    /// The same with a token that is shown with every request.
    ///
    /// Fails with `Invalid` when it can be none.
    pub fn with_token(self, secret: Option<&str>) -> Result<Self> {
        let token = secret.map(|secret| HeaderValue::from_str(&format!("Bearer {secret}"))).transpose();
        let mut token = token.map_err(|_| {
            Error::invalid("the token is no text that can be sent").hint("look at EYOT_TOKEN")
        })?;
        token.iter_mut().for_each(|token| token.set_sensitive(true));
        Ok(Self { token, ..self })
    }

    /// What a GET of a path answers, as JSON.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let request = Request::get(self.uri(path)?).body(Full::default());
        let answer = self.send(request.map_err(no_request)?).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| Error::internal("the data plane answered no JSON").because(error))
    }

    /// Posts a body, of which the first `json` bytes are JSON where there is more.
    pub async fn post(&self, path: &str, body: Bytes, json: Option<usize>) -> Result<PredictionAnswer> {
        let mut request = Request::post(self.uri(path)?);
        request = match json {
            Some(length) => request.header(JSON_LENGTH_HEADER, length),
            None => request.header(header::CONTENT_TYPE, "application/json"),
        };
        self.send(request.body(Full::new(body)).map_err(no_request)?).await
    }

    fn uri(&self, path: &str) -> Result<Uri> {
        format!("{}{path}", self.url).parse().map_err(|error| {
            Error::invalid(format!("'{}' is no address of a server", self.url)).because(error)
        })
    }

    async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<PredictionAnswer> {
        if let Some(token) = &self.token {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        let response = self.client.send(request).await.map_err(no_answer)?;
        let (head, body) = response.into_parts();
        let body = collect_body(body, MAX_ANSWER_BYTES).await?;
        if !head.status.is_success() {
            let told: Value = serde_json::from_slice(&body).unwrap_or_default();
            let text = told["error"].as_str().unwrap_or("no reason given").to_owned();
            return Err(Error::new(kind(head.status.as_u16()), text));
        }
        let json = head.headers.get(JSON_LENGTH_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(PredictionAnswer { body, json })
    }
}

fn no_request(error: http::Error) -> Error {
    Error::invalid("no such request can be sent").because(error)
}

fn no_answer(failure: RequestFailure) -> Error {
    let is_untrusted = matches!(failure, RequestFailure::UntrustedCertificate(_));
    let error = Error::from(failure);
    if !is_untrusted {
        return error;
    }
    error.hint("a certificate that nobody here knows is trusted with --ca FILE")
}

/// The kind of error that a status stands for; several share one.
fn kind(status: u16) -> ErrorKind {
    ErrorKind::ALL.into_iter().rev().find(|kind| kind.http_status() == status).unwrap_or(match status {
        400..500 => ErrorKind::Invalid,
        _ => ErrorKind::Failed,
    })
}
