//! The one accept loop of both planes: connections are taken, encrypted where that is wanted, bounded and ended.
//! `HttpListener` is what a plane hands over, `ServedConnection` one connection of it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eyot_core::config;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::CloseReason;
use crate::connections::{AdmittedConnection, ConnectionLimiter};
use crate::linger::{ReturnedBody, with_rest_of_body};
use crate::pace::BoxError;
use crate::watched::{CountedBody, WatchedStream};

/// How often a silent peer of HTTP/2 is asked whether it is there, and how long its answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a peer's machine may be silent before the system asks it whether it is there, how often it asks, and
/// after how many questions without an answer the connection is gone: streams on which nobody says anything for
/// hours are fine, machines that vanished are not.
const KEEPALIVE_IDLE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBE_COUNT: u32 = 4;
/// How often it is said that connections are refused: they may be thousands.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What a plane listens with.
pub struct HttpListener {
    pub socket: TcpListener,
    pub tls: Option<TlsAcceptor>,
    pub limits: config::HttpSettings,
    /// Shared by all planes of the process.
    pub connections: ConnectionLimiter,
    pub buffers: ConnectionBuffers,
}

/// How much of what is sent may be under way.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionBuffers {
    /// What is read of a connection of HTTP/1.1 at once, heads included; hyper's own limit where there is none.
    pub read_bytes: Option<usize>,
    /// Of a body over HTTP/2.
    pub http2_stream_bytes: u32,
    /// Of all bodies of a connection over HTTP/2.
    pub http2_connection_bytes: u32,
    /// In one frame.
    pub http2_frame_bytes: u32,
}

/// Connections whose listener takes no others any more.
#[must_use]
pub struct DrainingConnections(TaskTracker);

impl DrainingConnections {
    /// Waits until the requests in flight are over, and the connections with them.
    pub async fn finish(self) {
        self.0.close();
        self.0.wait().await;
    }
}

/// Has `answer` work on every request until `shutdown`. Then no connection is taken any more, and those that are
/// open end with their requests.
pub async fn serve<H, F, B>(
    listener: HttpListener,
    answer: H,
    shutdown: impl Future<Output = ()>,
) -> DrainingConnections
where
    H: Fn(Request<ReturnedBody<Incoming>>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    let HttpListener { socket, tls, limits, connections, buffers } = listener;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let limits = Arc::new(limits);
    let mut told = None;
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tell_refusal(&mut told, &error);
                // Out of file descriptors, mostly, and the next try would fail at once.
                connections.make_room().await;
                continue;
            }
        };
        let admitted = match connections.admit(peer.ip()).await {
            Ok(admitted) => admitted,
            Err(refused) => {
                tell_refusal(&mut told, &refused);
                continue;
            }
        };
        prepare(&stream);
        let conversation =
            ServedConnection { peer, limits: limits.clone(), buffers, admitted, stop: stop.clone() };
        let (tls, answer) = (tls.clone(), answer.clone());
        tasks.spawn(async move {
            if let Err(error) = conversation.hold(stream, tls, answer).await {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        });
    }
    drop(socket);
    stop.cancel();
    DrainingConnections(tasks)
}

/// Tells once in a while that connections are turned away.
fn tell_refusal(told: &mut Option<Instant>, why: &dyn std::fmt::Display) {
    if told.is_none_or(|told| told.elapsed() > REFUSAL_LOG_INTERVAL) {
        *told = Some(Instant::now());
        tracing::warn!(%why, "connections are refused");
    }
}

/// Without any of this the connection works as well.
fn prepare(stream: &TcpStream) {
    // Answers are small and are waited for.
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE_TIME).with_interval(KEEPALIVE_INTERVAL);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBE_COUNT));
}

/// A connection that was taken in.
struct ServedConnection {
    peer: SocketAddr,
    limits: Arc<config::HttpSettings>,
    buffers: ConnectionBuffers,
    admitted: AdmittedConnection,
    stop: CancellationToken,
}

impl ServedConnection {
    /// Returns when the connection has ended.
    async fn hold<H, F, B>(
        self,
        stream: TcpStream,
        tls: Option<TlsAcceptor>,
        answer: H,
    ) -> Result<(), BoxError>
    where
        H: Fn(Request<ReturnedBody<Incoming>>, SocketAddr) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let stream = WatchedStream { inner: stream, connection: self.admitted.connection.clone() };
        let Some(tls) = tls else { return self.converse(stream, answer).await };
        let stream = tokio::select! {
            stream = tls.accept(stream) => stream?,
            why = self.admitted.connection.overdue(&self.limits) => return Err(why.into()),
        };
        self.converse(stream, answer).await
    }

    async fn converse<S, H, F, B>(self, stream: S, answer: H) -> Result<(), BoxError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<ReturnedBody<Incoming>>, SocketAddr) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (peer, connection) = (self.peer, &self.admitted.connection);
        let counted = connection.clone();
        let service = service_fn(move |request| {
            let (answer, in_flight) = (answer.clone(), counted.begin());
            async move {
                let response = with_rest_of_body(request, |request| answer(request, peer)).await;
                Ok::<_, Infallible>(response.map(|inner| CountedBody::new(inner, in_flight)))
            }
        });
        let builder = builder(&self.limits, self.buffers);
        let mut conversation = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut overdue = pin!(connection.overdue(&self.limits));
        let mut is_leaving = false;
        loop {
            let why = tokio::select! {
                ended = conversation.as_mut() => return ended,
                () = self.stop.cancelled(), if !is_leaving => CloseReason::Idle,
                why = overdue.as_mut() => why,
            };
            if why != CloseReason::Idle || is_leaving {
                return Err(why.into());
            }
            // A request may be on its way already: it is answered before the connection ends.
            is_leaving = true;
            connection.leave();
            conversation.as_mut().graceful_shutdown();
            overdue.set(connection.overdue(&self.limits));
        }
    }
}

fn builder(limits: &config::HttpSettings, buffers: ConnectionBuffers) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let mut http1 = builder.http1();
    // Begins anew with each request, so that it bounds the heads of later ones as well.
    http1.timer(TokioTimer::new()).header_read_timeout(limits.idle_timeout.0);
    if let Some(bytes) = buffers.read_bytes {
        http1.max_buf_size(bytes);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_frame_size(buffers.http2_frame_bytes)
        .initial_stream_window_size(buffers.http2_stream_bytes)
        .initial_connection_window_size(buffers.http2_connection_bytes);
    builder
}
