//! The one client of HTTP, for whatever Eyot itself asks of others: pooled connections, TLS, proxies, redirects and
//! times. [`HttpClient`] sends a request; [`ClientSettings`] say whom it believes, where it may go and how long it waits.

mod address;
mod body;
mod connector;
mod failure;
mod proxy;
mod redirect;
mod stream;
#[cfg(test)]
mod tests;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::Body;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout};

pub use address::AddressPolicy;
pub use body::{ReceivedBody, collect_body};
pub use failure::RequestFailure;
pub use proxy::ProxyPolicy;
pub use redirect::RedirectPolicy;
pub use trust::ServerTrust;

use connector::ClientConnector;

use crate::pace::BoxError;

type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// How long a connection that nobody uses is kept.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// How a client reaches others. By default: over TLS whom the machine trusts, at any address, by the proxies of the
/// environment, without redirects, waiting for a connection alone.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Which servers are believed over TLS; none where none is asked over TLS. Reading the machine's certificates takes
    /// milliseconds, which a client of plain HTTP saves.
    pub trust: Option<ServerTrust>,
    pub addresses: AddressPolicy,
    pub proxies: ProxyPolicy,
    pub redirects: RedirectPolicy,
    /// Until there is a connection: names, TCP, a proxy's tunnel, TLS.
    pub connect_timeout: Duration,
    /// Until an answer begins.
    pub response_timeout: Option<Duration>,
    /// Between two parts of an answer's body.
    pub read_timeout: Option<Duration>,
    /// From the request, redirects included, until the last of the answer's body.
    pub total_timeout: Option<Duration>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            trust: Some(ServerTrust::System),
            addresses: AddressPolicy::Any,
            proxies: ProxyPolicy::Environment,
            redirects: RedirectPolicy::Refuse,
            connect_timeout: Duration::from_secs(30),
            response_timeout: None,
            read_timeout: None,
            total_timeout: None,
        }
    }
}

/// Sends requests over HTTP/1.1. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct HttpClient {
    pool: Client<ClientConnector, RequestBody>,
    connector: ClientConnector,
    settings: Arc<ClientSettings>,
}

impl HttpClient {
    /// Fails with `Invalid` where a file of certificates that the settings name is none.
    pub fn new(settings: ClientSettings) -> eyot_core::Result<Self> {
        let connector = ClientConnector::new(&settings)?;
        let mut pool = Client::builder(TokioExecutor::new());
        pool.pool_timer(TokioTimer::new()).pool_idle_timeout(POOL_IDLE_TIMEOUT);
        Ok(Self { pool: pool.build(connector.clone()), connector, settings: Arc::new(settings) })
    }

    /// The same client and connections under another policy of redirects.
    pub fn with_redirects(&self, redirects: RedirectPolicy) -> Self {
        let settings = ClientSettings { redirects, ..(*self.settings).clone() };
        Self { settings: Arc::new(settings), ..self.clone() }
    }

    /// What is answered to a request, whose URI is absolute. An answer that says no is one, too; what the policy of
    /// redirects does not follow is handed back as it came.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<ReceivedBody>, RequestFailure>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let deadline = self.settings.total_timeout.map(|total| Instant::now() + total);
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        match self.settings.redirects {
            RedirectPolicy::Follow { max_redirects } if redirect::is_repeatable(request.method()) => {
                self.follow(request, max_redirects, deadline).await
            }
            _ => self.exchange(request, deadline).await,
        }
    }

    /// One request, and its answer.
    async fn exchange(
        &self,
        mut request: Request<RequestBody>,
        deadline: Option<Instant>,
    ) -> Result<Response<ReceivedBody>, RequestFailure> {
        let target = request.uri().clone();
        self.settings.addresses.check_literal(&target)?;
        if let Some(shown) = self.connector.proxies().forwarding_authorization(&target) {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, shown);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let answered = self.pool.request(request);
        let answered = match left.into_iter().chain(self.settings.response_timeout).min() {
            Some(limit) => {
                timeout(limit, answered).await.map_err(|_| failure::no_answer_within(&target, limit))?
            }
            None => answered.await,
        };
        let response = answered.map_err(|error| RequestFailure::of(&target, error))?;
        Ok(response.map(|body| ReceivedBody::new(body, self.settings.read_timeout, deadline)))
    }
}
