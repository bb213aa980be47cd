//! One configuration of wasmtime with what is linked under it and where its instances wait.

use std::sync::Arc;

use wasmtime::Config;
use wasmtime::component::Linker;

use crate::capabilities;
use crate::guest::Guest;
use crate::lane::Lane;
use crate::plan::Setup;
use crate::shelf::Shelves;

/// How components of one kind run.
pub(crate) struct EngineProfile {
    pub(crate) setup: Setup,
    pub(crate) engine: wasmtime::Engine,
    pub(crate) linker: Linker<Guest>,
    /// Where its warm instances wait.
    pub(crate) shelves: Arc<Shelves>,
    pub(crate) lane: Arc<Lane>,
}

impl EngineProfile {
    pub(crate) fn new(config: &Config, setup: Setup, lane: &Arc<Lane>) -> wasmtime::Result<Self> {
        let engine = wasmtime::Engine::new(config)?;
        let mut linker = Linker::new(&engine);
        capabilities::link(&mut linker, setup)?;
        Ok(Self { setup, engine, linker, shelves: Arc::default(), lane: lane.clone() })
    }
}
