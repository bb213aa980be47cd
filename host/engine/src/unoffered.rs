//! Imports that this host does not offer: the component runs without them, and a call of one says what is missing.

use eyot_core::interface::Interface;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker, LinkerInstance, ResourceType};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};

use crate::execution_mode::ProfileKind;
use crate::guest::GuestState;
use crate::profile::EngineProfile;

/// The type of resources of imports that are not offered: no guest ever has one.
struct UnofferedResource;

/// Resolves the imports of a component; what is not offered traps when it is called. Answers also the names of those
/// imports, in their order.
///
/// Fails where an import is offered with another type and cannot be left out.
pub(crate) fn resolve(
    profile: &EngineProfile,
    component: &Component,
    interface: &Interface,
) -> wasmtime::Result<(InstancePre<GuestState>, Vec<String>)> {
    let first = match profile.linker.instantiate_pre(component) {
        Ok(instance) => return Ok((instance, Vec::new())),
        Err(error) => error,
    };
    let mut linker = profile.linker.clone();
    linker.allow_shadowing(true);
    let (mut missing, mut error) = (Vec::<String>::new(), first);
    // Each round names one import and takes it out of the way.
    while missing.len() < interface.imports.len() {
        let text = format!("{error:#}");
        let named = |import: &&String| text.contains(&format!("`{import}`")) && !missing.contains(*import);
        let Some(import) = interface.imports.iter().find(named) else { break };
        trap_when_called(&mut linker, profile, component, import)?;
        missing.push(import.clone());
        match linker.instantiate_pre(component) {
            Ok(instance) => {
                missing.sort_by_key(|name| interface.imports.iter().position(|import| import == name));
                return Ok((instance, missing));
            }
            Err(next) => error = next,
        }
    }
    Err(error)
}

/// Defines an import whose functions trap.
fn trap_when_called(
    linker: &mut Linker<GuestState>,
    profile: &EngineProfile,
    component: &Component,
    import: &str,
) -> wasmtime::Result<()> {
    let EngineProfile { engine, profile_kind, .. } = profile;
    let ty = component.component_type();
    let Some((_, item)) = ty.imports(engine).find(|(name, _)| *name == import) else { return Ok(()) };
    match item.ty {
        ComponentItem::ComponentInstance(instance) => {
            let mut linker = linker.instance(import)?;
            for (name, item) in instance.exports(engine) {
                define(&mut linker, *profile_kind, import, name, &item.ty)?;
            }
            Ok(())
        }
        ty => define(&mut linker.root(), *profile_kind, "", import, &ty),
    }
}

fn define(
    linker: &mut LinkerInstance<'_, GuestState>,
    profile_kind: ProfileKind,
    import: &str,
    name: &str,
    item: &ComponentItem,
) -> wasmtime::Result<()> {
    let called = if import.is_empty() { name.to_owned() } else { format!("{import}#{name}") };
    let whom = if profile_kind == ProfileKind::Hermetic { "a step of this host" } else { "this host" };
    let message = format!("it called {called}, which {whom} does not offer");
    match item {
        ComponentItem::ComponentFunc(function) if function.async_() && profile_kind != ProfileKind::Plain => {
            linker.func_new_concurrent(name, move |_, _, _, _| {
                let message = message.clone();
                Box::pin(async move { Err(wasmtime::Error::msg(message)) })
            })
        }
        ComponentItem::ComponentFunc(_) => {
            linker.func_new(name, move |_, _, _, _| Err(wasmtime::Error::msg(message.clone())))
        }
        ComponentItem::Resource(_) => linker.resource(name, resource(name), |_, _| Ok(())),
        // Types alone need nobody; a component or a module cannot be left out.
        _ => Ok(()),
    }
}

/// The resources that other packages use too must be the same everywhere.
fn resource(name: &str) -> ResourceType {
    match name {
        "pollable" => ResourceType::host::<DynPollable>(),
        "input-stream" => ResourceType::host::<DynInputStream>(),
        "output-stream" => ResourceType::host::<DynOutputStream>(),
        _ => ResourceType::host::<UnofferedResource>(),
    }
}

/// The start of the version of a release candidate of WASI 0.3, and what makes it one of 0.3.0 to a linker: a version
/// with a note of its build, and as long.
const CANDIDATE: &[u8] = b"@0.3.0-rc-";
const AS_RELEASED: &[u8] = b"@0.3.0+rc-";

/// The component with release candidates of WASI 0.3 taken for what came of them: where a shape is another, it is not
/// offered.
pub(crate) fn with_released_names(wasm: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let mut found =
        wasm.windows(CANDIDATE.len()).enumerate().filter(|(_, bytes)| *bytes == CANDIDATE).peekable();
    if found.peek().is_none() {
        return wasm.into();
    }
    let places: Vec<usize> = found.map(|(place, _)| place).collect();
    let mut renamed = wasm.to_vec();
    for place in places {
        renamed[place..place + AS_RELEASED.len()].copy_from_slice(AS_RELEASED);
    }
    renamed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_candidates_are_taken_for_what_came_of_them() {
        let wasm = b"wasi:http/handler@0.3.0-rc-2026-01-06 wasi:cli/run@0.3.0 wasi:nn@0.2.0-rc-2024";
        let expected = b"wasi:http/handler@0.3.0+rc-2026-01-06 wasi:cli/run@0.3.0 wasi:nn@0.2.0-rc-2024";
        assert_eq!(&*with_released_names(wasm), expected);
        assert_eq!(&*with_released_names(b"nothing"), b"nothing");
    }
}
