//! Connections to the control plane: taken, encrypted where that is wanted, ended.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// How long a handshake, or the head of a request, may take to arrive: who sends a byte a minute must
/// not hold a connection for ever.
const HEAD: Duration = Duration::from_secs(30);
/// How long nobody is accepted when the process has no file descriptors left, unless one is given back.
const PAUSE: Duration = Duration::from_millis(100);
/// What is read of a connection at once, heads included. hyper's own limit is 400 KiB, which uploads fill:
/// a hundred of them at once would hold 40 MiB in buffers alone.
const READ: usize = 64 << 10;
/// How much of a blob may be under way over HTTP/2.
const WINDOW: u32 = 1 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Answers with `router` until `shutdown`; then no connection is taken any more, and requests in flight
/// end.
pub(crate) async fn answer(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let connections = GracefulShutdown::new();
    let closed = Arc::new(Notify::new());
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connections are not accepted");
                // Out of file descriptors, mostly, and the next try would fail at once: whoever closes one
                // makes room.
                let _ = tokio::time::timeout(PAUSE, closed.notified()).await;
                continue;
            }
        };
        // Answers are small and are waited for.
        let _ = stream.set_nodelay(true);
        let (router, tls, watcher, closed) =
            (router.clone(), tls.clone(), connections.watcher(), closed.clone());
        tokio::spawn(async move {
            if let Err(error) = greet(stream, tls, router, watcher).await {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
            closed.notify_one();
        });
    }
    drop(listener);
    connections.shutdown().await;
}

async fn greet(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    watcher: Watcher,
) -> Result<(), Failure> {
    match tls {
        None => converse(stream, router, watcher).await,
        Some(tls) => {
            let stream = tokio::time::timeout(HEAD, tls.accept(stream)).await??;
            converse(stream, router, watcher).await
        }
    }
}

async fn converse<S>(stream: S, router: Router, watcher: Watcher) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(READ);
    builder.http2().timer(TokioTimer::new()).initial_stream_window_size(WINDOW).keep_alive_interval(HEAD);
    let service = TowerToHyperService::new(router);
    watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned()).await
}
