//! A server of one's own, in this process, for as long as a command needs one.

use std::net::SocketAddr;
use std::sync::Arc;

use eyot_api::ApiClient;
use eyot_core::config::Config;
use eyot_core::{Error, Result, ResultExt};
use eyot_http::{ConnectionLimiter, HttpListener, ServerTrust};
use eyot_oci::Transport;
use tokio::sync::watch;

use crate::cli::up::{bind, guard, stopped, url};
use crate::folder::{AnnouncedServer, RunningServer};
use crate::platform::ServerPlatform;

/// Both planes, until it is closed.
pub(crate) struct LocalServer {
    platform: ServerPlatform,
    client: ApiClient,
    api: String,
    gateway: String,
    stop: watch::Sender<bool>,
    serving: Vec<tokio::task::JoinHandle<Result<()>>>,
    /// Where other commands find it.
    announced: Option<AnnouncedServer>,
    _dir: Option<tempfile::TempDir>,
}

impl LocalServer {
    /// A server over an empty data folder of its own, which shares the compiled code of the user's.
    pub(crate) async fn fresh(config: &Config) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let cache = config.data.dir.join("cache");
        std::fs::create_dir_all(&cache).context(|| format!("cannot create {}", cache.display()))?;
        // What is compiled once is compiled for the next time as well.
        std::os::unix::fs::symlink(cache.canonicalize()?, dir.path().join("cache"))?;
        let mut config = config.clone();
        config.data.dir = dir.path().to_owned();
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        (config.api.listen, config.gateway.listen) = (free, free);
        let platform = ServerPlatform::open(&config).await?;
        Self::over(platform, &config, Some(dir)).await
    }

    /// A server over the user's own data folder, as `eyot up` runs it.
    pub(crate) async fn up(config: &Config) -> Result<Self> {
        let (platform, starting) = ServerPlatform::start(config).await?;
        let mut local = Self::over(platform, config, None).await?;
        local.platform.deployments.restore().await?;
        let certificate = config.api.tls().map(|(cert, _)| ServerTrust::fingerprint(cert)).transpose()?;
        let (pid, api, gateway) = (std::process::id(), local.api.clone(), local.gateway.clone());
        let running = RunningServer { pid, api, gateway, certificate };
        let announced = starting.announce(&config.data.dir, &running, &local.platform.secret)?;
        local.announced = Some(announced);
        Ok(local)
    }

    async fn over(platform: ServerPlatform, config: &Config, dir: Option<tempfile::TempDir>) -> Result<Self> {
        platform.check_exposure(config).await?;
        let api = bind("api.listen", config.api.listen).await?;
        let listener = bind("gateway.listen", config.gateway.listen).await?;
        let tls = config.api.tls();
        let tls = tls.map(|(cert, key)| eyot_http::tls_acceptor("api", cert, key)).transpose()?;
        let (limits, connections) = (config.http.clone(), ConnectionLimiter::new(&config.http));
        let api_url = url(tls.is_some(), &api)?;
        let gateway = url(config.gateway.tls().is_some(), &listener)?;
        let repository = Arc::new(platform.deployments.clone());
        let listening = platform.gateway.listen(
            listener,
            limits.clone(),
            connections.clone(),
            &config.data.dir.join("predictions"),
            repository,
        )?;
        let (stop, stopping) = watch::channel(false);
        let services = platform.services(&gateway);
        let listener =
            HttpListener { socket: api, tls, limits, connections, buffers: eyot_api::CONNECTION_BUFFERS };
        let control = eyot_api::serve(
            listener,
            guard(config)?,
            config.api.clone(),
            services,
            stopped(stopping.clone()),
        );
        let serving = vec![
            tokio::spawn(listening.serve(stopped(stopping))),
            tokio::spawn(async move {
                control.await;
                Ok(())
            }),
        ];
        let client = ApiClient::new(Transport::local(platform.router()));
        Ok(Self { platform, client, api: api_url, gateway, stop, serving, announced: None, _dir: dir })
    }

    pub(crate) fn client(&self) -> &ApiClient {
        &self.client
    }

    /// The data plane's URL.
    pub(crate) fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Ends it; requests in flight end first.
    pub(crate) async fn close(mut self) -> Result<()> {
        drop(self.announced.take());
        let _ = self.stop.send(true);
        let mut ended = Ok(());
        for serving in self.serving {
            let served =
                serving.await.map_err(|error| Error::internal("a server task ended early").because(error));
            ended = ended.and(served.and_then(|served| served));
        }
        self.platform.close().await;
        ended
    }
}
