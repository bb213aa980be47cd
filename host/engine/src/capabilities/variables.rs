//! `wasi:config`, `spin:variables` and `fermyon:spin/variables` over the variables that were set at deployment.

use eyot_world::serving::fermyon::spin::variables as spin2;
use eyot_world::serving::spin::variables::variables as spin;
use eyot_world::serving::wasi::config0_2_0_draft_2024_09_27::store as draft_store;
use eyot_world::serving::wasi::config0_2_0_rc_1::store;
use wasmtime::component::{Accessor, Linker};

use super::{GrantRule, HostCapability, OfferedInterface, ToGuest};
use crate::execution_mode::ProfileKind;
use crate::guest::GuestState;

pub(super) const CAPABILITY: HostCapability = HostCapability {
    interfaces: &[
        OfferedInterface::new("wasi:config/", "0.2.0-rc.1"),
        OfferedInterface::new("wasi:config/", "0.2.0-draft-2024-09-27"),
        OfferedInterface::new("fermyon:spin/variables", "2.0."),
        OfferedInterface::with_event_loop("spin:variables/", "3.0."),
    ],
    grant: Some(GrantRule { flag: "--var", key: "variables", refused: None }),
    link,
};

fn link(linker: &mut Linker<GuestState>, profile_kind: ProfileKind) -> wasmtime::Result<()> {
    if profile_kind == ProfileKind::Hermetic {
        return Ok(());
    }
    store::add_to_linker::<GuestState, ToGuest>(linker, |guest| guest)?;
    draft_store::add_to_linker::<GuestState, ToGuest>(linker, |guest| guest)?;
    spin2::add_to_linker::<GuestState, ToGuest>(linker, |guest| guest)?;
    if profile_kind == ProfileKind::Concurrent {
        spin::add_to_linker::<GuestState, ToGuest>(linker, |guest| guest)?;
    }
    Ok(())
}

impl store::Host for GuestState {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, store::Error>> {
        Ok(Ok(self.grants.capabilities.variables.get(&key).cloned()))
    }

    async fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, store::Error>> {
        Ok(Ok(all_variables(self)))
    }
}

impl draft_store::Host for GuestState {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, draft_store::Error>> {
        Ok(Ok(self.grants.capabilities.variables.get(&key).cloned()))
    }

    async fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, draft_store::Error>> {
        Ok(Ok(all_variables(self)))
    }
}

fn all_variables(guest: &GuestState) -> Vec<(String, String)> {
    let all = guest.grants.capabilities.variables.iter();
    all.map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl spin::Host for GuestState {}

impl<T: Send> spin::HostWithStore<T> for ToGuest {
    async fn get(
        accessor: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<String, spin::Error>> {
        let value = accessor.with(|mut access| variable(access.get(), &name));
        Ok(value.map_err(|undefined| match undefined {
            None => spin::Error::InvalidName(name),
            Some(text) => spin::Error::Undefined(text),
        }))
    }
}

/// The value of a variable; else why there is none, and nothing where there can never be one of that name.
fn variable(guest: &GuestState, name: &str) -> Result<String, Option<String>> {
    // Spin's own names are snake_case; another can never be defined.
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    match guest.grants.capabilities.variables.get(name) {
        Some(value) => Ok(value.clone()),
        None if name.is_empty() || !name.bytes().all(good) => Err(None),
        None => {
            Err(Some(format!("no variable '{name}' was given; eyot deploy --var {name}=VALUE gives one")))
        }
    }
}

impl spin2::Host for GuestState {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<String, spin2::Error>> {
        Ok(variable(self, &name).map_err(|undefined| match undefined {
            None => spin2::Error::InvalidName(name),
            Some(text) => spin2::Error::Undefined(text),
        }))
    }
}
