//! One configuration of wasmtime, with its linker and its idle instances.

use std::sync::Arc;

use wasmtime::Config;
use wasmtime::component::Linker;

use crate::background_executor::BackgroundExecutor;
use crate::capabilities;
use crate::execution_mode::ProfileKind;
use crate::guest::GuestState;
use crate::idle_pool::IdlePool;

/// How components of one kind run.
pub(crate) struct EngineProfile {
    pub(crate) profile_kind: ProfileKind,
    pub(crate) engine: wasmtime::Engine,
    pub(crate) linker: Linker<GuestState>,
    /// Its idle instances.
    pub(crate) idle_pool: Arc<IdlePool>,
    pub(crate) background_executor: Arc<BackgroundExecutor>,
}

impl EngineProfile {
    pub(crate) fn new(
        config: &Config,
        profile_kind: ProfileKind,
        background_executor: &Arc<BackgroundExecutor>,
    ) -> wasmtime::Result<Self> {
        let engine = wasmtime::Engine::new(config)?;
        let mut linker = Linker::new(&engine);
        capabilities::link(&mut linker, profile_kind)?;
        Ok(Self {
            profile_kind,
            engine,
            linker,
            idle_pool: Arc::default(),
            background_executor: background_executor.clone(),
        })
    }
}
