use std::sync::Arc;

use eyot_core::interface::{Function, Interface};
use eyot_core::{Digest, Error, Result};
use wasmtime::component::{ComponentExportIndex, InstancePre};

use crate::background_executor::BackgroundExecutor;
use crate::capabilities::missing_grants;
use crate::guest::GuestState;
use crate::idle_pool::IdlePool;
use crate::profile::EngineProfile;
use crate::{ExecutionMode, GrantedCapabilities, fault, reflect, unoffered};

/// A compiled component, ready to be instantiated. Cheap to clone.
#[derive(Clone)]
pub struct Component {
    compiled: Arc<CompiledComponent>,
}

pub(crate) struct CompiledComponent {
    digest: Digest,
    mode: ExecutionMode,
    interface: Interface,
    /// Imports that are not offered.
    missing: Vec<String>,
    instance: InstancePre<GuestState>,
    idle_pool: Arc<IdlePool>,
    background_executor: Arc<BackgroundExecutor>,
}

impl CompiledComponent {
    /// Checks the imports against what this host offers and resolves them once for all instances.
    pub(crate) fn new(
        profile: &EngineProfile,
        mode: ExecutionMode,
        digest: Digest,
        component: wasmtime::component::Component,
    ) -> Result<Self> {
        let interface = reflect::interface(profile, &component)?;
        let resolved = unoffered::resolve(profile, &component, &interface);
        let (instance, missing) = resolved.map_err(|error| fault::ungranted(&error, &interface, &digest))?;
        let (idle_pool, background_executor) =
            (profile.idle_pool.clone(), profile.background_executor.clone());
        Ok(Self { digest, mode, interface, missing, instance, idle_pool, background_executor })
    }
}

impl Component {
    pub(crate) fn from_compiled(compiled: Arc<CompiledComponent>) -> Self {
        Self { compiled }
    }

    /// The digest of the component's bytes.
    pub fn digest(&self) -> Digest {
        self.compiled.digest
    }

    /// What the component imports and exports.
    pub fn interface(&self) -> &Interface {
        &self.compiled.interface
    }

    /// What it may find missing with these grants: each import that this host does not offer, and traps when it is
    /// called, and each whose calls are refused until they are granted.
    pub fn warnings(&self, capabilities: &GrantedCapabilities) -> Vec<String> {
        let absent = |import: &String| format!("{import} is not offered here: a call of it fails");
        let missing = self.compiled.missing.iter().map(absent);
        missing.chain(missing_grants(self.interface(), capabilities)).collect()
    }

    /// The mode it was compiled for.
    pub fn mode(&self) -> ExecutionMode {
        self.compiled.mode
    }

    pub(crate) fn instance(&self) -> &InstancePre<GuestState> {
        &self.compiled.instance
    }

    /// The idle instances of this component and of all others of its profile.
    pub(crate) fn idle_pool(&self) -> &IdlePool {
        &self.compiled.idle_pool
    }

    /// The threads to which calls are migrated that compute for long.
    pub(crate) fn background_executor(&self) -> &Arc<BackgroundExecutor> {
        &self.compiled.background_executor
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        self.compiled.instance.engine()
    }

    /// Where the function of that full name is found in any instance.
    pub(crate) fn export(&self, name: &str) -> Result<ComponentExportIndex> {
        let component = self.compiled.instance.component();
        let index = match name.split_once('#') {
            None => component.get_export_index(None, name),
            Some((interface, name)) => {
                let outer = component.get_export_index(None, interface);
                outer.and_then(|outer| component.get_export_index(Some(&outer), name))
            }
        };
        index.ok_or_else(|| Error::internal(format!("component {} has no export {name}", self.digest())))
    }

    /// The exported function of that name: the full name, or the bare one where it is unambiguous.
    pub fn function(&self, name: &str) -> Result<&Function> {
        find(&self.compiled.interface, name)
    }
}

/// See [`Component::function`].
fn find<'a>(interface: &'a Interface, name: &str) -> Result<&'a Function> {
    let functions = &interface.functions;
    if let Some(function) = functions.iter().find(|function| function.name == name) {
        return Ok(function);
    }
    let inside = |function: &&Function| function.name.rsplit_once('#').is_some_and(|(_, bare)| bare == name);
    let found: Vec<_> = functions.iter().filter(inside).collect();
    match found.as_slice() {
        [function] => Ok(function),
        [] => {
            let names: Vec<_> = functions.iter().map(|function| function.name.as_str()).collect();
            Err(Error::not_found(format!("the component exports no function '{name}'")).hint(
                match names.as_slice() {
                    [] => "it exports no function at all".to_owned(),
                    names => format!("it exports: {}", names.join(", ")),
                },
            ))
        }
        several => {
            let names: Vec<_> = several.iter().map(|function| function.name.as_str()).collect();
            Err(Error::invalid(format!("the component exports several functions '{name}'"))
                .hint(format!("write one of: {}", names.join(", "))))
        }
    }
}
