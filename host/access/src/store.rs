use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eyot_core::config::AnonymousAccess;
use eyot_core::{Clock, Result, SystemClock, Timestamp};
use eyot_meta::{Database, EpochCache, Transaction, sql};

use crate::caller::{LocalSecret, TokenHolder};
use crate::denials::DenialCounts;
use crate::passwords::PasswordChecks;
use crate::project_index::ProjectIndex;
use crate::rights::PrincipalRights;
use crate::short_lived_token::SigningKey;

/// Users, services, projects, tokens and sessions in the metadata database. Cheap to clone.
#[derive(Clone)]
pub struct AccessStore(pub(crate) Arc<AccessState>);

pub(crate) struct AccessState {
    pub(crate) db: Database,
    pub(crate) settings: AccessSettings,
    pub(crate) projects: ProjectIndex,
    /// The hash of a token's secret, and its id → whose it is.
    pub(crate) holders: EpochCache<String, Arc<TokenHolder>>,
    /// The id of a user or service → what it may do.
    pub(crate) principals: EpochCache<String, Arc<PrincipalRights>>,
    pub(crate) key: SigningKey,
    pub(crate) passwords: PasswordChecks,
    pub(crate) denials: DenialCounts,
    /// There are users: nobody is let in without showing something, unless the configuration says so.
    has_users: AtomicBool,
}

/// How callers are recognized.
#[derive(Clone)]
pub struct AccessSettings {
    /// What a client that shows nothing may do, as it is configured.
    pub anonymous: AnonymousAccess,
    /// Whether only this machine reaches the control plane: then it is open until there is a user.
    pub is_local: bool,
    /// The secret of commands on the data folder itself.
    pub local_secret: Option<LocalSecret>,
    /// By which tokens and sessions end.
    pub clock: Arc<dyn Clock>,
}

impl Default for AccessSettings {
    /// For a server that only this machine reaches.
    fn default() -> Self {
        Self {
            anonymous: AnonymousAccess::Auto,
            is_local: true,
            local_secret: None,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Token holders, users and services that are cached.
const CACHED_HOLDER_COUNT: usize = 10_000;

impl AccessStore {
    /// Over a database.
    pub async fn open(db: Database, settings: AccessSettings) -> Result<Self> {
        let store = Self(Arc::new(AccessState {
            db,
            settings,
            projects: ProjectIndex::default(),
            holders: EpochCache::new(CACHED_HOLDER_COUNT, 1),
            principals: EpochCache::new(CACHED_HOLDER_COUNT, 1),
            key: SigningKey::random(),
            passwords: PasswordChecks::default(),
            denials: DenialCounts::default(),
            has_users: AtomicBool::new(false),
        }));
        store.read_projects().await?;
        let users = sql("SELECT 1 FROM principals WHERE kind = 'user' LIMIT 1");
        let has_users = users.fetch_optional(&store.0.db).await?.is_some();
        store.0.has_users.store(has_users, Ordering::Release);
        Ok(store)
    }

    /// What a client that shows nothing may do now; never `Auto`.
    pub fn anonymous(&self) -> AnonymousAccess {
        let AccessSettings { anonymous, is_local, .. } = &self.0.settings;
        match anonymous {
            AnonymousAccess::Auto if *is_local && !self.has_users() => AnonymousAccess::All,
            AnonymousAccess::Auto => AnonymousAccess::None,
            said => *said,
        }
    }

    /// Whether sign-in is on.
    pub fn has_users(&self) -> bool {
        self.0.has_users.load(Ordering::Acquire)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.settings.clock.now()
    }

    /// Has what is cached of callers forgotten once a transaction is committed: whoever read the old rows before it must
    /// not keep them.
    pub(crate) fn forget_on_commit(&self, tx: &mut Transaction) {
        let state = self.0.clone();
        tx.then(move || {
            state.holders.clear();
            state.principals.clear();
        });
    }

    /// Turns sign-in on, or off again, once a transaction is committed.
    pub(crate) fn set_users_on_commit(&self, tx: &mut Transaction, has_users: bool) {
        let state = self.0.clone();
        tx.then(move || state.has_users.store(has_users, Ordering::Release));
    }
}
