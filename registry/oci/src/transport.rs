use axum::Router;
use axum::body::Body;
use eyot_core::{Error, Result};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::ServiceExt as _;

use crate::access::LocalRequest;
use crate::tls::ServerTrust;

/// How requests reach a control plane: over HTTP, or in this process without a socket. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    kind: TransportKind,
    /// Sent with every request.
    token: Option<HeaderValue>,
}

#[derive(Clone)]
enum TransportKind {
    Http { client: Box<HttpSender>, scheme: Scheme, authority: Authority },
    Local(Router),
}

#[derive(Clone)]
enum HttpSender {
    Plain(Client<HttpConnector, Body>),
    Tls(Client<HttpsConnector<HttpConnector>, Body>),
}

impl HttpSender {
    /// Over TLS there is no way back to a connection without it.
    fn new(scheme: &Scheme, trust: &ServerTrust) -> Result<Self> {
        let builder = Client::builder(TokioExecutor::new());
        if *scheme == Scheme::HTTP {
            return Ok(Self::Plain(builder.build_http()));
        }
        let connector = HttpsConnectorBuilder::new().with_tls_config(trust.client_config()?).https_only();
        Ok(Self::Tls(builder.build(connector.enable_http1().build())))
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, HttpError> {
        let answer = match self {
            Self::Plain(client) => client.request(request).await,
            Self::Tls(client) => client.request(request).await,
        };
        answer.map(|response| response.map(Body::new))
    }
}

type HttpError = hyper_util::client::legacy::Error;

impl Transport {
    /// To the server at `url`, as in `http://127.0.0.1:8090`; over TLS only to one that is trusted.
    pub fn connect(url: &str, trust: &ServerTrust) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("'{url}' is no address of a server"))
                .hint("write http://HOST:PORT or https://HOST:PORT, as in http://127.0.0.1:8090")
        };
        let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let scheme = uri.scheme().cloned().ok_or_else(wrong)?;
        if !(scheme == Scheme::HTTP || scheme == Scheme::HTTPS) || !matches!(uri.path(), "" | "/") {
            return Err(wrong());
        }
        let authority = uri.authority().cloned().ok_or_else(wrong)?;
        let client = Box::new(HttpSender::new(&scheme, trust)?);
        Ok(Self { kind: TransportKind::Http { client, scheme, authority }, token: None })
    }

    /// To a router in this process, for whoever owns the data folder.
    pub fn local(router: Router) -> Self {
        Self { kind: TransportKind::Local(router), token: None }
    }

    /// Shows the secret of a token with every request.
    ///
    /// Fails with `Invalid` when it can be no secret.
    pub fn with_token(mut self, secret: &str) -> Result<Self> {
        let value = HeaderValue::from_str(&format!("Bearer {secret}"));
        let mut value = value.map_err(|_| {
            Error::invalid("the token is no text that can be sent").hint("look at EYOT_TOKEN")
        })?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(self)
    }

    /// Sends a request whose URI is a path and query.
    ///
    /// Fails with `Unavailable` when nothing answers, or nobody who is trusted.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>> {
        if let Some(token) = &self.token {
            request.headers_mut().entry(header::AUTHORIZATION).or_insert_with(|| token.clone());
        }
        match &self.kind {
            TransportKind::Http { client, scheme, authority } => {
                let mut parts = request.uri().clone().into_parts();
                (parts.scheme, parts.authority) = (Some(scheme.clone()), Some(authority.clone()));
                *request.uri_mut() = Uri::from_parts(parts)
                    .map_err(|error| Error::internal("no such address").because(error))?;
                client.send(request).await.map_err(|error| unanswered(scheme, authority, error))
            }
            TransportKind::Local(router) => {
                request.extensions_mut().insert(LocalRequest);
                match router.clone().oneshot(request).await {
                    Ok(response) => Ok(response),
                    Err(never) => match never {},
                }
            }
        }
    }
}

fn unanswered(scheme: &Scheme, authority: &Authority, error: HttpError) -> Error {
    let address = format!("{scheme}://{authority}");
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(found) = cause {
        if let Some(rustls::Error::InvalidCertificate(why)) = found.downcast_ref() {
            return Error::unavailable(format!("{address} shows a certificate that is not trusted: {why}"))
                .hint("api.ca names a PEM file of an authority to trust, as in --set api.ca=ca.pem");
        }
        // An I/O error shows what it holds as itself, and not as its source.
        let held = found.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = held.map(|held| held as _).or_else(|| found.source());
    }
    Error::unavailable(format!("{address} does not answer")).because(error)
}
