use axum::Router;
use axum::body::Body;
use eyot_core::{Error, Result};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::ServiceExt as _;

/// How requests reach a control plane: over HTTP, or in this process without a socket. Cheap to clone.
#[derive(Clone)]
pub struct Transport(Kind);

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
        Ok(Self(Kind::Http {
            client: Box::new(Client::builder(TokioExecutor::new()).build_http()),
            authority,
        }))
    }

    /// To a router in this process.
    pub fn local(router: Router) -> Self {
        Self(Kind::Local(router))
    }

    /// Sends a request whose URI is a path and query.
    ///
    /// Fails with `Unavailable` when nothing answers.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>> {
        match &self.0 {
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
            Kind::Local(router) => match router.clone().oneshot(request).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            },
        }
    }
}
