//! The data plane's client: HTTP, and HTTPS with the certificates that this machine trusts.

use std::path::Path;

use bytes::Bytes;
use eyot_core::config::Config;
use eyot_core::{Error, Kind, Result};
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

/// The header that says how much of a body is JSON.
const JSON_LENGTH_HEADER: &str = "inference-header-content-length";

/// Speaks to one data plane.
pub struct PredictionClient {
    client: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
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
        let mut roots = RootCertStore::empty();
        if url.starts_with("https:") {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            let own = config.gateway.tls().map(|(cert, _)| cert);
            for file in ca.into_iter().chain(own) {
                trust(&mut roots, file)?;
            }
        }
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls
            .map_err(|error| Error::internal("no TLS here").because(error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, url: url.trim_end_matches('/').to_owned() })
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

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<PredictionAnswer> {
        let no_answer = |error: hyper_util::client::legacy::Error| {
            let error = Error::unavailable(format!("{} does not answer", self.url)).because(error);
            if self.url.starts_with("https:") {
                return error.hint("a certificate that nobody here knows is trusted with --ca FILE");
            }
            error
        };
        let response = self.client.request(request).await.map_err(no_answer)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await;
        let body =
            body.map_err(|error| Error::unavailable("the answer ended early").because(error))?.to_bytes();
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

fn trust(roots: &mut RootCertStore, file: &Path) -> Result<()> {
    let unreadable = || format!("cannot read certificates from {}", file.display());
    let certificates = CertificateDer::pem_file_iter(file)
        .map_err(|error| Error::invalid(unreadable()).because(error))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::invalid(unreadable()).because(error))?;
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(Error::invalid(format!("{} holds no certificate", file.display())));
    }
    Ok(())
}

/// The kind of error that a status stands for; several share one.
fn kind(status: u16) -> Kind {
    Kind::ALL.into_iter().rev().find(|kind| kind.http_status() == status).unwrap_or(match status {
        400..500 => Kind::Invalid,
        _ => Kind::Failed,
    })
}
