//! A server of one's own, in this process, for as long as a command needs one.

use std::sync::Arc;

use eyot_api::Client;
use eyot_core::config::Config;
use eyot_core::{Error, Result, ResultExt};
use eyot_oci::Transport;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::platform::Platform;

/// Control plane in this process, data plane on a free port of this machine.
pub(crate) struct Local {
    platform: Platform,
    client: Client,
    gateway: String,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<Result<()>>,
    _dir: Option<tempfile::TempDir>,
}

impl Local {
    /// A server over an empty data folder of its own, which shares the compiled code of the user's.
    pub(crate) async fn fresh(config: &Config) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let cache = config.data.dir.join("cache");
        std::fs::create_dir_all(&cache).context(|| format!("cannot create {}", cache.display()))?;
        // What is compiled once is compiled for the next time as well.
        std::os::unix::fs::symlink(cache.canonicalize()?, dir.path().join("cache"))?;
        let mut config = config.clone();
        config.data.dir = dir.path().to_owned();
        Self::over(config, Some(dir)).await
    }

    async fn over(config: Config, dir: Option<tempfile::TempDir>) -> Result<Self> {
        let platform = Platform::open(&config).await?;
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).await.context(|| "cannot listen on 127.0.0.1".to_owned())?;
        let address = listener.local_addr()?;
        let repository = Arc::new(platform.deployments.clone());
        let listening =
            platform.gateway.listen(listener, &config.data.dir.join("predictions"), repository)?;
        let (stop, mut stopping) = watch::channel(false);
        let serving = tokio::spawn(listening.serve(async move {
            // An error means that the sender is gone, which is a stop too.
            let _ = stopping.wait_for(|stop| *stop).await;
        }));
        let client = Client::new(Transport::local(platform.router()));
        let scheme = if config.gateway.tls().is_some() { "https" } else { "http" };
        Ok(Self { platform, client, gateway: format!("{scheme}://{address}"), stop, serving, _dir: dir })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The data plane's URL.
    pub(crate) fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Ends it; requests in flight end first.
    pub(crate) async fn close(self) -> Result<()> {
        let _ = self.stop.send(true);
        let served = self.serving.await;
        self.platform.close().await;
        served.map_err(|error| Error::internal("the data plane ended early").because(error))?
    }
}
