//! `wasi:config` and `spin:variables` over what whoever deployed the component gave it.

use eyot_world::serving::spin::variables::variables as spin;
use eyot_world::serving::wasi::config::store;
use wasmtime::component::Accessor;

use crate::guest::Guest;
use crate::host::ToGuest;

impl store::Host for Guest {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, store::Error>> {
        Ok(Ok(self.grants.reach.variables.get(&key).cloned()))
    }

    async fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, store::Error>> {
        let all = self.grants.reach.variables.iter();
        Ok(Ok(all.map(|(name, value)| (name.clone(), value.clone())).collect()))
    }
}

impl spin::Host for Guest {}

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
pub(super) fn variable(guest: &Guest, name: &str) -> Result<String, Option<String>> {
    // Spin's own names are snake_case; another can never be defined.
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    match guest.grants.reach.variables.get(name) {
        Some(value) => Ok(value.clone()),
        None if name.is_empty() || !name.bytes().all(good) => Err(None),
        None => {
            Err(Some(format!("no variable '{name}' was given; eyot deploy --var {name}=VALUE gives one")))
        }
    }
}
