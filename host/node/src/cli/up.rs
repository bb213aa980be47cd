mod detach;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use eyot_core::config::Config;
use eyot_core::{Error, Result, ResultExt};
use eyot_http::{ConnectionLimiter, HttpListener, RequestGuard, ServerTrust};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::cli::GlobalOptions;
use crate::folder::RunningServer;
use crate::output::{CommandOutput, TextTone};
use crate::platform::ServerPlatform;

/// Runs a server: tracking, registry, pipelines and predictions in one process.
///
/// Commands on the same data folder wait until it answers. On SIGTERM or Ctrl-C requests in flight end, new ones are
/// refused, and the server stops.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot up\n  eyot up --detach\n  eyot up --data ./state --set gateway.listen=127.0.0.1:0 --set api.listen=127.0.0.1:0"
)]
pub(crate) struct UpCommand {
    /// Leaves the server running in the background, and returns when it answers. Its log is server.log in the data
    /// folder.
    #[arg(long)]
    detach: bool,
    /// What a detached server is told: where its log is.
    #[arg(long, hide = true, value_name = "LOG", conflicts_with = "detach")]
    background: Option<PathBuf>,
}

impl UpCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        if self.detach {
            return detach::detach(global, output).await;
        }
        log(output, self.background.as_deref());
        if self.background.is_some() {
            detach::leave_terminal();
        }
        let config = global.config()?;
        let (platform, starting) = ServerPlatform::start(&config).await?;
        platform.check_exposure(&config).await?;
        let guard = guard(&config)?;
        let api = bind("api.listen", config.api.listen).await?;
        let gateway = bind("gateway.listen", config.gateway.listen).await?;
        let tls = config.api.tls();
        let certificate = tls.map(|(cert, _)| ServerTrust::fingerprint(cert)).transpose()?;
        let tls = tls.map(|(cert, key)| eyot_http::tls_acceptor("api", cert, key)).transpose()?;
        let (limits, connections) = (config.http.clone(), ConnectionLimiter::new(&config.http));
        let running = RunningServer {
            pid: std::process::id(),
            api: url(tls.is_some(), &api)?,
            gateway: url(config.gateway.tls().is_some(), &gateway)?,
            certificate,
        };
        let (logs, repository) =
            (config.data.dir.join("predictions"), Arc::new(platform.deployments.clone()));
        let gateway =
            platform.gateway.listen(gateway, limits.clone(), connections.clone(), &logs, repository)?;
        platform.deployments.restore().await?;

        // Before anybody is told that it is up: whoever hears that may end it at once.
        let mut signals = StopSignals::catch()?;
        let (stop, stopping) = watch::channel(false);
        let data_plane = tokio::spawn(gateway.serve(stopped(stopping.clone())));
        let services = platform.services(&running.gateway);
        let listener =
            HttpListener { socket: api, tls, limits, connections, buffers: eyot_api::CONNECTION_BUFFERS };
        let control_plane =
            tokio::spawn(eyot_api::serve(listener, guard, config.api.clone(), services, stopped(stopping)));
        let announced = starting.announce(&config.data.dir, &running, &platform.secret)?;
        output.result(&running, |output| told(output, &running, &config))?;

        let signal = signals.next().await;
        tracing::info!(signal, "draining: requests in flight end, new ones are refused");
        drop(announced);
        let _ = stop.send(true);
        // The control plane's streams of events never end by themselves; the drain time bounds them.
        let drain = config.gateway.drain.0 + Duration::from_secs(1);
        let ended = tokio::time::timeout(drain, async { (data_plane.await, control_plane.await) }).await;
        platform.close().await;
        match ended {
            Err(_) => tracing::warn!("some requests did not end in time and were cut off"),
            Ok((data, control)) => {
                let early = |error: tokio::task::JoinError| {
                    Error::internal("a server task ended early").because(error)
                };
                data.map_err(early)??;
                control.map_err(early)?;
            }
        }
        tracing::info!("stopped");
        Ok(())
    }
}

fn told(output: &CommandOutput, running: &RunningServer, config: &Config) -> String {
    format!(
        "{}\n  control plane  {}\n  predictions    {}\n  data           {}",
        output.paint(TextTone::Strong, "eyot is up"),
        running.api,
        running.gateway,
        config.data.dir.display()
    )
}

/// The server's log goes to stderr; `EYOT_LOG` filters it, as in `EYOT_LOG=eyot=debug`. That of a detached server is
/// a file, which does not grow for ever.
fn log(output: &CommandOutput, file: Option<&Path>) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("EYOT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A log that nobody reads any more must not end the server.
    let subscriber = subscriber.log_internal_errors(false);
    let colour = output.paint(TextTone::Dim, "x") != "x";
    let subscriber = subscriber.with_ansi(colour);
    let _ = match file {
        None => subscriber.try_init(),
        Some(file) => subscriber.with_writer(Mutex::new(detach::ServerLog::new(file))).try_init(),
    };
}

/// What the control plane lets in.
pub(crate) fn guard(config: &Config) -> Result<RequestGuard> {
    let guard = RequestGuard::new("api", &config.api.hosts, &config.api.origins)?;
    Ok(guard.with_url(&config.registry.url).with_forms(&eyot_api::FORM_PATHS))
}

pub(crate) async fn bind(option: &str, address: std::net::SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let in_use = error.kind() == std::io::ErrorKind::AddrInUse;
        let error = Error::unavailable(format!("cannot listen on {address} ({option})")).because(error);
        let hint = format!("choose another port with --set {option}=127.0.0.1:PORT; port 0 takes a free one");
        if in_use { error.with_kind(eyot_core::ErrorKind::Conflict).hint(hint) } else { error.hint(hint) }
    })
}

pub(crate) fn url(is_secure: bool, listener: &TcpListener) -> Result<String> {
    let scheme = if is_secure { "https" } else { "http" };
    let address = listener.local_addr().context(|| "the socket has no address".to_owned())?;
    Ok(format!("{scheme}://{address}"))
}

pub(crate) async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// What an operator ends a server with.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From here on they are waited for, and end the process no more by themselves.
    fn catch() -> Result<Self> {
        let catch = |kind, name: &str| signal(kind).context(|| format!("cannot wait for {name}"));
        Ok(Self {
            terminate: catch(SignalKind::terminate(), "SIGTERM")?,
            interrupt: catch(SignalKind::interrupt(), "SIGINT")?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
