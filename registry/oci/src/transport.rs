use axum::Router;
use axum::body::Body;
use eyot_access::LocalRequest;
use eyot_core::{Error, Result};
use eyot_http::{ClientSettings, HttpClient, RequestFailure, ServerTrust};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use tower::ServiceExt as _;

/// How requests reach a control plane: over HTTP, or in this process without a socket. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    kind: TransportKind,
    /// Sent with every request.
    token: Option<HeaderValue>,
}

#[derive(Clone)]
enum TransportKind {
    Http { client: Box<HttpClient>, scheme: Scheme, authority: Authority },
    Local(Router),
}

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
        // No redirects: over TLS there is no way back to a connection without it.
        let trust = (scheme == Scheme::HTTPS).then(|| trust.clone());
        let client = Box::new(HttpClient::new(ClientSettings { trust, ..ClientSettings::default() })?);
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
                client.send(request).await.map(|response| response.map(Body::new)).map_err(unanswered)
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

fn unanswered(failure: RequestFailure) -> Error {
    let is_untrusted = matches!(failure, RequestFailure::UntrustedCertificate(_));
    let error = Error::from(failure);
    if !is_untrusted {
        return error;
    }
    error.hint("api.ca names a PEM file of an authority to trust, as in --set api.ca=ca.pem")
}
