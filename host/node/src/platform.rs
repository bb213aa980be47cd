//! Composition: every part of a server over one data folder.

use std::sync::Arc;

use eyot_access::{AccessSettings, AccessStore, LocalSecret};
use eyot_api::{ApiExposure, ApiServices, DeploymentLogs, ServerInfo};
use eyot_core::config::{AnonymousAccess, Config};
use eyot_core::{Clock, Error, Result, ResultExt, SystemClock};
use eyot_deploy::Deployments;
use eyot_engine::{Engine, EngineOptions};
use eyot_gateway::Gateway;
use eyot_meta::{Changes, Database, DatabaseClaim, EventFeed, IdempotentRequests};
use eyot_nn::{BackendSet, LoadedModels, ModelCacheOptions as Keeping};
use eyot_oci::{BackupSource, Registry, RegistrySettings};
use eyot_pipelines::PipelineExecutor;
use eyot_store::{BlobStore, DirectoryStore, DiskReserve, MemoryStore};
use eyot_tracking::TrackingStore;

use crate::folder::{FolderLock, StartingServer};
use crate::publisher::RegistryPublisher;
use crate::runner::WasmRunner;
use crate::staging::RevisionLoader;
use crate::stores::GuestStores;

/// Where in the data folder the rows of a backup lie while they are copied.
pub(crate) const SNAPSHOT_FOLDER: &str = "snapshot";

/// A server's parts, holding the data folder's lock.
pub(crate) struct ServerPlatform {
    pub(crate) gateway: Gateway,
    pub(crate) deployments: Deployments,
    /// What commands on this data folder show to the server that runs on it.
    pub(crate) secret: LocalSecret,
    services: ApiServices,
    db: Database,
    stores: GuestStores,
    _lock: FolderLock,
    /// Given back after everything else is closed.
    _claim: Option<DatabaseClaim>,
}

impl ServerPlatform {
    /// Opens the data folder, alone. What a killed process left half done is cleaned up here.
    ///
    /// Fails with `Conflict` when another process has the folder open.
    pub(crate) async fn open(config: &Config) -> Result<Self> {
        Self::over(config, FolderLock::take(&config.data.dir)?).await
    }

    /// Opens it for a server, which commands on the folder wait for until it has announced where it answers. A
    /// command that works on the folder is waited for in turn.
    ///
    /// Fails with `Conflict` when another server has the folder open.
    pub(crate) async fn start(config: &Config) -> Result<(Self, StartingServer)> {
        let starting = StartingServer::begin(&config.data.dir).await?;
        let lock = FolderLock::take_when_free(&config.data.dir).await?;
        Ok((Self::over(config, lock).await?, starting))
    }

    async fn over(config: &Config, lock: FolderLock) -> Result<Self> {
        let dir = &config.data.dir;
        let open = || format!("cannot open the data folder {}", dir.display());
        let layout = dir.join("registry");
        let store: Arc<dyn BlobStore> =
            Arc::new(DirectoryStore::open_leaving(&layout, config.data.reserve).await.context(open)?);
        let database = &config.storage.database;
        let db = match database.is_empty() {
            false => Database::connect(database.with_password()).await?,
            true => Database::open(&dir.join("eyot.db")).await.context(open)?,
        };
        let claim = db.claim().await?;
        let secret = LocalSecret::random();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let access = AccessSettings {
            anonymous: config.registry.anonymous,
            is_local: config.api.listen.ip().is_loopback(),
            local_secret: Some(secret.clone()),
            clock: clock.clone(),
        };
        let access = AccessStore::open(db.clone(), access).await?;
        let settings = RegistrySettings::new(&config.registry).secure(config.api.tls().is_some());
        let registry =
            Registry::new(store.clone(), db.clone(), access.clone(), Some(layout), settings).await?;
        let engine = engine(config)?;
        let models = models_over(config, store.clone())?;
        let tracking = TrackingStore::new(db.clone());
        let gateway = Gateway::new(config.gateway.clone(), engine.background_executor());
        gateway.report_models(models.clone());
        gateway.authenticate_with(access.clone());
        let logs = DeploymentLogs::default();
        let stores = GuestStores::open(config, &db).await?;
        let stage = RevisionLoader::new(
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
        let publisher = RegistryPublisher::new(registry.clone(), models, store.clone(), dir);
        let parallel = threads(config.steps.parallel);
        let pipelines = PipelineExecutor::new(
            db.clone(),
            store,
            tracking.clone(),
            Arc::new(runner),
            Arc::new(publisher),
            parallel,
        );
        pipelines.recover().await?;
        let info = ServerInfo { version: env!("CARGO_PKG_VERSION").to_owned(), gateway: None };
        let changes = Changes::default();
        let reserve = DiskReserve::new(dir, config.data.reserve)?;
        let backups = BackupSource::new(registry.clone(), dir.join(SNAPSHOT_FOLDER), reserve)?;
        let events = EventFeed::new(db.clone(), config.api.event_listeners);
        let deployments_too = deployments.clone();
        // A proxy before this server may speak TLS for it.
        let is_secure = config.api.tls().is_some() || config.registry.url.starts_with("https://");
        let keeps_secrets = is_secure || config.api.listen.ip().is_loopback();
        let services = ApiServices {
            info,
            exposure: ApiExposure { is_secure, keeps_secrets },
            access,
            idempotency: IdempotentRequests::new(db.clone()),
            registry,
            tracking,
            pipelines,
            deployments: deployments_too,
            logs,
            events,
            backups,
            changes,
        };
        Ok(Self { gateway, deployments, secret, services, db, stores, _lock: lock, _claim: claim })
    }

    /// Lets a server listen where `config` says.
    ///
    /// Fails with `Denied` where others reach its control plane and nobody could show a token.
    pub(crate) async fn check_exposure(&self, config: &Config) -> Result<()> {
        let address = config.api.listen;
        let access = &self.services.access;
        if address.ip().is_loopback() || access.has_users() || access.has_good_token().await? {
            return Ok(());
        }
        if config.registry.anonymous == AnonymousAccess::All {
            tracing::warn!(%address, "registry.anonymous is all: whoever reaches the control plane owns it");
            return Ok(());
        }
        let error = Error::denied(format!(
            "the control plane would listen on {address}, where others reach it, and there is no user and no token"
        ));
        Err(error.hint(format!(
            "eyot user add NAME\neyot up --set api.listen={address}\n\
             and sign in from elsewhere with eyot login URL; add --data DIR to both if you use it"
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
    pub(crate) fn services(&self, gateway: &str) -> ApiServices {
        let mut services = self.services.clone();
        services.info.gateway = Some(gateway.to_owned());
        services
    }
}

/// The engine, with its code cache in the data folder.
pub(crate) fn engine(config: &Config) -> Result<Engine> {
    Engine::new(&EngineOptions { cache: config.data.dir.join("cache/compiled") })
}

/// A model store over nothing: for files that are looked at and not kept.
pub(crate) fn models(config: &Config) -> Result<Arc<LoadedModels>> {
    models_over(config, Arc::new(MemoryStore::default()))
}

pub(crate) fn models_over(config: &Config, store: Arc<dyn BlobStore>) -> Result<Arc<LoadedModels>> {
    let backends = BackendSet::open_as(&config.data.backends, &config.inference)?;
    let probe_cache = config.data.dir.join("cache/trials");
    Ok(LoadedModels::with_probe_cache(store, backends, Keeping::from(&config.inference), &probe_cache))
}

/// A number of threads, where 0 means one for each processor.
fn threads(wanted: usize) -> usize {
    match wanted {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        wanted => wanted,
    }
}
