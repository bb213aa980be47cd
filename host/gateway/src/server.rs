use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eyot_core::{Name, Result, config};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;

use crate::admission::Gate;
use crate::revisions::{Revision, Revisions};
use crate::router;

/// The data plane of a process. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) config: config::Gateway,
    pub(crate) revisions: Revisions,
    pub(crate) draining: AtomicBool,
}

impl Gateway {
    /// Serves nothing yet.
    pub fn new(config: config::Gateway) -> Self {
        Self(Arc::new(Inner { config, revisions: Revisions::default(), draining: AtomicBool::new(false) }))
    }

    /// Serves a revision in place of the one that served under its name. Requests that the old one
    /// has begun end on it.
    pub fn activate(&self, revision: Revision) {
        let config = &self.0.config;
        self.0.revisions.activate(revision, || Gate::new(config.concurrency, config.queue));
    }

    /// Stops serving under a name. Requests that were begun end.
    pub fn deactivate(&self, name: &Name) {
        self.0.revisions.deactivate(name);
    }

    /// Answers on `listener` until `shutdown`. Then no connection is taken any more, new requests on
    /// open ones are refused, and requests in flight end, for as long as the configured drain time.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let connections = GracefulShutdown::new();
        tokio::pin!(shutdown);
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of file descriptors, mostly: whoever closes one makes room.
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::task::yield_now().await;
                        continue;
                    }
                },
                () = &mut shutdown => break,
            };
            // Answers are small and are waited for.
            let _ = stream.set_nodelay(true);
            let gateway = self.0.clone();
            let service = service_fn(move |request| {
                let gateway = gateway.clone();
                async move { Ok::<_, Infallible>(router::answer(&gateway, request).await) }
            });
            let mut server = auto::Builder::new(TokioExecutor::new());
            // A client that sends half a head and nothing more must not hold a connection for ever.
            server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
            let connection =
                connections.watch(server.serve_connection(TokioIo::new(stream), service).into_owned());
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%peer, %error, "a connection ended early");
                }
            });
        }
        self.0.draining.store(true, Ordering::Relaxed);
        drop(listener);
        if tokio::time::timeout(self.0.config.drain.0, connections.shutdown()).await.is_err() {
            tracing::warn!("requests still ran when the drain time was over and were cut off");
        }
        Ok(())
    }
}

/// How long the head of a request may take to arrive.
const HEAD: Duration = Duration::from_secs(60);
