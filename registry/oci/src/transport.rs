use axum::Router;
use axum::body::Body;
use eyot_core::{Error, Result};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::ServiceExt as _;

use crate::access::Local;

/// How requests reach a control plane: over HTTP, or in this process without a socket. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    kind: Kind,
    /// Shown with every request.
    token: Option<HeaderValue>,
}

#[derive(Clone)]
enum Kind {
    Http { client: Box<Client<HttpConnector, Body>>, authority: Authority },
    Local(Router),
}

impl Transport {
    /// To the server at `url`, as in `http://127.0.0.1:8090`.
    pub fn http(url: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("'{url}' is no address of a server"))
                .hint("write http://HOST:PORT, as in http://127.0.0.1:8090")
        };
        let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong())?;
        if uri.scheme() != Some(&Scheme::HTTP) || !matches!(uri.path(), "" | "/") {
            return Err(wrong());
        }
        let authority = uri.authority().cloned().ok_or_else(wrong)?;
        let client = Box::new(Client::builder(TokioExecutor::new()).build_http());
        Ok(Self { kind: Kind::Http { client, authority }, token: None })
    }

    /// To a router in this process, for whoever owns the data folder.
    pub fn local(router: Router) -> Self {
        Self { kind: Kind::Local(router), token: None }
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
    /// Fails with `Unavailable` when nothing answers.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>> {
        if let Some(token) = &self.token {
            request.headers_mut().entry(header::AUTHORIZATION).or_insert_with(|| token.clone());
        }
        match &self.kind {
            Kind::Http { client, authority } => {
                let mut parts = request.uri().clone().into_parts();
                (parts.scheme, parts.authority) = (Some(Scheme::HTTP), Some(authority.clone()));
                *request.uri_mut() = Uri::from_parts(parts)
                    .map_err(|error| Error::internal("no such address").because(error))?;
                let answer = client.request(request).await;
                answer.map(|response| response.map(Body::new)).map_err(|error| {
                    Error::unavailable(format!("http://{authority} does not answer")).because(error)
                })
            }
            Kind::Local(router) => {
                request.extensions_mut().insert(Local);
                match router.clone().oneshot(request).await {
                    Ok(response) => Ok(response),
                    Err(never) => match never {},
                }
            }
        }
    }
}
