//! Composition: every part of a server over one data folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eyot_api::{Logs, ServerInfo, Services};
use eyot_core::config::{Anonymous, Config};
use eyot_core::{Clock, Digest, Error, Result, ResultExt, SystemClock};
use eyot_deploy::Deployments;
use eyot_engine::{Engine, Options};
use eyot_gateway::Gateway;
use eyot_meta::{Changes, Database};
use eyot_nn::{Backends, Models, Options as Keeping};
use eyot_oci::{LocalSecret, Registry, Settings, Trust};
use eyot_pipelines::Executor;
use eyot_store::{BlobStore, Directory, Memory};
use eyot_tracking::Tracking;
use serde::{Deserialize, Serialize};

use crate::publisher::Publisher;
use crate::runner::WasmRunner;
use crate::staging::Stage;
use crate::stores::Stores;

/// A server's parts, holding the data folder's lock.
pub(crate) struct Platform {
    pub(crate) gateway: Gateway,
    pub(crate) deployments: Deployments,
    /// What commands on this data folder show to the server that runs on it.
    pub(crate) secret: LocalSecret,
    services: Services,
    db: Database,
    stores: Stores,
    _lock: Lock,
}

/// Where a running server answers; written beside the lock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) api: String,
    pub(crate) gateway: String,
    /// The control plane's certificate, if it speaks TLS: commands on this folder know it by that,
    /// whatever names are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<Digest>,
}

impl Running {
    /// Whom to believe to be this server.
    pub(crate) fn trust(&self) -> Trust {
        self.certificate.map_or(Trust::System, Trust::Exactly)
    }
}

impl Platform {
    /// Opens the data folder, alone. What a killed process left half done is cleaned up here.
    ///
    /// Fails with `Conflict` when another process has the folder open.
    pub(crate) async fn open(config: &Config) -> Result<Self> {
        let dir = &config.data.dir;
        let open = || format!("cannot open the data folder {}", dir.display());
        let lock = Lock::take(dir)?;
        let layout = dir.join("registry");
        let store: Arc<dyn BlobStore> =
            Arc::new(Directory::open_leaving(&layout, config.data.reserve).await.context(open)?);
        let db = Database::open(&dir.join("eyot.db")).await.context(open)?;
        let secret = LocalSecret::random();
        let settings = Settings::new(&config.registry, config.api.listen)
            .secure(config.api.tls().is_some())
            .with_local_secret(secret.clone());
        let registry = Registry::new(store.clone(), db.clone(), Some(layout), settings).await?;
        let engine = engine(config)?;
        let models = models_over(config, store.clone())?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let tracking = Tracking::new(db.clone());
        let gateway = Gateway::new(config.gateway.clone(), engine.lane());
        gateway.tell_of(models.clone());
        let logs = Logs::default();
        let stores = Stores::open(config, &db).await?;
        let stage = Stage::new(
            config,
            engine.clone(),
            models.clone(),
            store.clone(),
            gateway.clone(),
            stores.clone(),
            logs.clone(),
        );
        let deployments = Deployments::new(db.clone(), store.clone(), Arc::new(stage), clock);
        let runner = WasmRunner::new(config, engine, models.clone(), store.clone());
        let publisher = Publisher::new(registry.clone(), models, store.clone(), dir);
        let parallel = threads(config.steps.parallel);
        let pipelines = Executor::new(
            db.clone(),
            store,
            tracking.clone(),
            Arc::new(runner),
            Arc::new(publisher),
            parallel,
        );
        pipelines.recover().await?;
        let info = ServerInfo { version: env!("CARGO_PKG_VERSION").to_owned(), gateway: None };
        let (deployments_too, changes) = (deployments.clone(), Changes::default());
        let services =
            Services { info, registry, tracking, pipelines, deployments: deployments_too, logs, changes };
        Ok(Self { gateway, deployments, secret, services, db, stores, _lock: lock })
    }

    /// Lets a server listen where `config` says.
    ///
    /// Fails with `Denied` where others reach its control plane and nobody could show a token.
    pub(crate) async fn check_exposure(&self, config: &Config) -> Result<()> {
        let address = config.api.listen;
        if address.ip().is_loopback() || self.services.registry.has_good_token().await? {
            return Ok(());
        }
        if config.registry.anonymous == Anonymous::All {
            tracing::warn!(%address, "registry.anonymous is all: whoever reaches the control plane owns it");
            return Ok(());
        }
        let error = Error::denied(format!(
            "the control plane would listen on {address}, where others reach it, and there is no token"
        ));
        Err(error.hint(format!(
            "eyot token create me --role owner\neyot up --set api.listen={address}\n\
             and show the token from elsewhere in EYOT_TOKEN; add --data DIR to both if you use it"
        )))
    }

    /// The control plane, answering in this process.
    pub(crate) fn router(&self) -> axum::Router {
        eyot_api::router(self.services.clone())
    }

    /// Makes the registry's `index.json` true, for who works on the folder without a server.
    pub(crate) async fn refresh_layout(&self) -> Result<()> {
        self.services.registry.refresh_layout().await
    }

    /// Ends what still runs; a pipeline run that is cut off so is marked cancelled.
    pub(crate) async fn close(&self) {
        self.services.pipelines.close().await;
        self.stores.close().await;
        self.db.close().await;
    }

    /// The control plane of a server whose data plane listens at `gateway`.
    pub(crate) fn services(&self, gateway: &str) -> Services {
        let mut services = self.services.clone();
        services.info.gateway = Some(gateway.to_owned());
        services
    }
}

/// The engine, with its code cache in the data folder.
pub(crate) fn engine(config: &Config) -> Result<Engine> {
    Engine::new(&Options { cache: config.data.dir.join("cache/compiled") })
}

/// A model store over nothing: for files that are looked at and not kept.
pub(crate) fn models(config: &Config) -> Result<Arc<Models>> {
    models_over(config, Arc::new(Memory::default()))
}

pub(crate) fn models_over(config: &Config, store: Arc<dyn BlobStore>) -> Result<Arc<Models>> {
    let backends = Backends::open_as(&config.data.backends, &config.inference)?;
    Ok(Models::with(store, backends, Keeping::from(&config.inference)))
}

/// A number of threads, where 0 means one for each processor.
fn threads(wanted: usize) -> usize {
    match wanted {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        wanted => wanted,
    }
}

/// The server that has the data folder open, if one does.
pub(crate) fn running(dir: &Path) -> Result<Option<Reachable>> {
    if !dir.join(Lock::FILE).exists() || !Lock::is_held(dir)? {
        return Ok(None);
    }
    // Held without an address: a command that works on the folder itself, or a server still starting.
    let text = match std::fs::read_to_string(dir.join(ADDRESS)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| Error::corrupt(format!("{ADDRESS} cannot be read")).because(error))
}

const ADDRESS: &str = "server.json";

/// What stands in the file beside the lock.
#[derive(Serialize, Deserialize)]
pub(crate) struct Reachable {
    #[serde(flatten)]
    pub(crate) running: Running,
    /// See [`LocalSecret`]; the file is readable by the folder's owner alone.
    #[serde(default)]
    pub(crate) secret: String,
}

/// Says where this server answers, until dropped.
pub(crate) struct Announced(PathBuf);

impl Announced {
    pub(crate) fn new(dir: &Path, running: &Running, secret: &LocalSecret) -> Result<Self> {
        let path = dir.join(ADDRESS);
        let reachable = Reachable { running: running.clone(), secret: secret.reveal().to_owned() };
        let text = serde_json::to_string_pretty(&reachable)
            .map_err(|error| Error::internal("an address has no JSON form").because(error))?;
        // Temporary files are made for their owner's eyes only.
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.persist(&path).map_err(|error| Error::from(error.error))?;
        Ok(Self(path))
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The data folder's lock; the system lets go of it however the process ends.
struct Lock {
    _file: std::fs::File,
}

impl Lock {
    const FILE: &'static str = "lock";

    fn take(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)
            .context(|| format!("cannot create the data folder {}", dir.display()))?;
        let file = Self::file(dir)?;
        match file.try_lock() {
            Ok(()) => {
                // A server that was killed could not take its address away.
                let _ = std::fs::remove_file(dir.join(ADDRESS));
                Ok(Self { _file: file })
            }
            Err(std::fs::TryLockError::WouldBlock) => Err(Error::conflict(format!(
                "the data folder {} is open in another process",
                dir.display()
            ))
            .hint("talk to its server with --server URL, wait for it, or choose another folder with --data")),
            Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
        }
    }

    fn is_held(dir: &Path) -> Result<bool> {
        match Self::file(dir)?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(std::fs::TryLockError::WouldBlock) => Ok(true),
            Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
        }
    }

    fn file(dir: &Path) -> Result<std::fs::File> {
        let path = dir.join(Self::FILE);
        let file =
            std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        file.context(|| format!("cannot open {}", path.display()))
    }
}
