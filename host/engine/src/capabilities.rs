//! What this host offers to components: a file each, and one table of them. Which configuration of wasmtime a component
//! needs, what is linked, what is missing where nothing was granted, what `eyot inspect` says and the hint of a refusal
//! follow from the table.

pub(crate) mod artifacts;
mod async_models;
pub(crate) mod errors;
mod handles;
mod held;
mod http;
mod key_value;
mod logging;
pub(crate) mod models;
mod nn;
pub(crate) mod outbound_http;
mod sqlite;
mod tracking;
mod variables;
mod wasi;

use eyot_core::interface::Interface;
use wasmtime::component::{HasData, Linker};

use crate::execution_mode::ProfileKind;
use crate::granted_capabilities::GrantedCapabilities;
use crate::guest::GuestState;

/// One thing that components may import.
pub(crate) struct HostCapability {
    interfaces: &'static [OfferedInterface],
    grant: Option<GrantRule>,
    /// Makes its interfaces importable, as far as components of this setup are offered them. Steps are offered nothing
    /// whose answer no digest names.
    link: fn(&mut Linker<GuestState>, ProfileKind) -> wasmtime::Result<()>,
}

/// Interfaces of a capability: one by its full name, or those of a package by its name and a slash; and the start of
/// their versions.
struct OfferedInterface {
    name: &'static str,
    version: &'static str,
    /// Whether its functions are tasks of an event loop.
    needs_event_loop: bool,
}

impl OfferedInterface {
    const fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version, needs_event_loop: false }
    }

    const fn with_event_loop(name: &'static str, version: &'static str) -> Self {
        Self { name, version, needs_event_loop: true }
    }

    fn holds(&self, interface: &str) -> bool {
        let Some((name, version)) = interface.split_once('@') else { return false };
        let named = if self.name.ends_with('/') { name.starts_with(self.name) } else { name == self.name };
        named && version.starts_with(self.version)
    }
}

/// How a capability is granted to a deployment.
struct GrantRule {
    /// The flag of `eyot deploy`.
    flag: &'static str,
    /// The key in `[component.grants]`.
    key: &'static str,
    /// Interfaces whose calls are refused without a grant, and what is to be done then. Where there are none, what was
    /// not granted is an answer.
    refused: Option<RefusedCalls>,
}

struct RefusedCalls {
    interfaces: &'static [&'static str],
    hint: &'static str,
    is_granted: fn(&GrantedCapabilities) -> bool,
}

/// All of them.
const CAPABILITIES: [&HostCapability; 11] = [
    &wasi::CAPABILITY,
    &http::CAPABILITY,
    &artifacts::CAPABILITY,
    &models::CAPABILITY,
    &async_models::CAPABILITY,
    &tracking::CAPABILITY,
    &nn::CAPABILITY,
    &logging::CAPABILITY,
    &key_value::CAPABILITY,
    &variables::CAPABILITY,
    &sqlite::CAPABILITY,
];

/// The capability that has an interface, which is named with its version.
fn offering(interface: &str) -> Option<(&'static HostCapability, &'static OfferedInterface)> {
    CAPABILITIES.iter().find_map(|capability| {
        let found = capability.interfaces.iter().find(|offered| offered.holds(interface))?;
        Some((*capability, found))
    })
}

/// The provider of an import, named with its version; `None` where this host does not offer it.
pub fn provider(import: &str) -> Option<&'static str> {
    let (capability, offered) = offering(import)?;
    Some(match (offered.name.starts_with("wasi:"), offered.version) {
        (true, "0.2.") => "WASI 0.2",
        (true, "0.3.") => "WASI 0.3",
        _ if capability.grant.is_some() => "eyot, where granted",
        _ => "eyot",
    })
}

/// The flags of `eyot deploy` that grant something, each with its key in `[component.grants]`.
pub fn grant_flags() -> impl Iterator<Item = (&'static str, &'static str)> {
    let grants = CAPABILITIES.iter().filter_map(|capability| capability.grant.as_ref());
    grants.map(|grant| (grant.flag, grant.key))
}

/// Whether functions of an interface, named with its version, are called by an event loop or call one.
pub(crate) fn needs_event_loop(interface: &str) -> bool {
    offering(interface).is_some_and(|(_, offered)| offered.needs_event_loop)
}

/// The imports of an interface that these grants do not cover, and how each is granted.
pub(crate) fn missing_grants(interface: &Interface, capabilities: &GrantedCapabilities) -> Vec<String> {
    let warning = |import: &String| {
        let hint = missing_grant(import, capabilities)?;
        Some(format!("calls of {import} are refused until they are granted; {hint}"))
    };
    interface.imports.iter().filter_map(warning).collect()
}

fn missing_grant(import: &str, capabilities: &GrantedCapabilities) -> Option<&'static str> {
    let refused = offering(import)?.0.grant.as_ref()?.refused.as_ref()?;
    let name = import.split('@').next().unwrap_or_default();
    (refused.interfaces.contains(&name) && !(refused.is_granted)(capabilities)).then_some(refused.hint)
}

/// All packages, with the starts of their versions.
pub(crate) fn offered_packages() -> String {
    let mut packages = Vec::new();
    for offered in CAPABILITIES.iter().flat_map(|capability| capability.interfaces) {
        let package = offered.name.split('/').next().unwrap_or_default();
        let named = format!("{package}@{}", offered.version.trim_end_matches('.'));
        if !packages.contains(&named) {
            packages.push(named);
        }
    }
    packages.join(", ")
}

/// Makes everything the host offers importable.
pub(crate) fn link(linker: &mut Linker<GuestState>, profile_kind: ProfileKind) -> wasmtime::Result<()> {
    CAPABILITIES.iter().try_for_each(|capability| (capability.link)(linker, profile_kind))
}

/// Gives an asynchronous call of a guest its guest back.
pub(crate) struct ToGuest;

impl HasData for ToGuest {
    type Data<'a> = &'a mut GuestState;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_import_has_one_provider() {
        for (import, expected) in [
            ("wasi:cli/run@0.2.6", Some("WASI 0.2")),
            ("wasi:http/client@0.3.0", Some("WASI 0.3")),
            ("wasi:nn/graph@0.2.0-rc-2024-10-28", Some("eyot")),
            ("wasi:nn/graph@0.2.0-rc-2023-01-01", None),
            ("wasi:keyvalue/store@0.2.0-draft2", Some("eyot, where granted")),
            ("fermyon:spin/key-value@2.0.0", Some("eyot, where granted")),
            ("fermyon:spin/llm@2.0.0", None),
            ("spin:sqlite/sqlite@3.1.0", Some("eyot, where granted")),
            ("eyot:ml/models@0.1.0", Some("eyot")),
            ("wasi:cli/run", None),
            ("mine:own/thing@0.2.0", None),
        ] {
            assert_eq!(provider(import), expected, "{import}");
        }
        for offered in CAPABILITIES.iter().flat_map(|capability| capability.interfaces) {
            let name = format!("{}@{}", offered.name, offered.version);
            let all = CAPABILITIES.iter().flat_map(|capability| capability.interfaces);
            assert_eq!(all.filter(|other| other.holds(&name)).count(), 1, "{name}");
        }
    }

    #[test]
    fn what_is_refused_says_which_flag_grants_it() {
        let nothing = GrantedCapabilities::default();
        for (import, flag) in [
            ("wasi:http/outgoing-handler@0.2.12", Some("--allow-http")),
            ("wasi:http/types@0.2.12", None),
            ("wasi:keyvalue/batch@0.2.0-draft2", Some("--key-value")),
            ("spin:sqlite/sqlite@3.1.0", Some("--sqlite")),
            ("fermyon:spin/variables@2.0.0", None),
        ] {
            let hint = missing_grant(import, &nothing);
            assert_eq!(hint.is_some(), flag.is_some(), "{import}");
            assert!(
                hint.is_none_or(|hint| flag.is_some_and(|flag| hint.contains(flag))),
                "{import}: {hint:?}"
            );
        }
    }
}
