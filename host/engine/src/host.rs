//! The imports of `eyot:ml` and `wasi:nn`, on top of `eyot-nn` and the blob store.

pub(crate) mod artifacts;
mod held;
mod keyvalue;
mod logging;
pub(crate) mod models;
mod models_async;
mod nn;
pub(crate) mod outbound;
mod settings;
mod spin2;
mod sqlite;
mod tracking;

use eyot_core::{Error, Kind};
use eyot_world::serving::ServingHost;
use eyot_world::serving::wasi::config;
use eyot_world::serving::wasi::keyvalue::{atomics, batch, store};
use eyot_world::types;
use wasmtime::component::{HasData, HasSelf, Linker, Resource};

use crate::guest::Guest;
use crate::plan::Setup;
use crate::{files, step_clock};

/// Gives an asynchronous call of a guest its guest back.
pub(crate) struct ToGuest;

impl HasData for ToGuest {
    type Data<'a> = &'a mut Guest;
}

/// Makes everything the host offers importable. Steps are offered nothing whose answer no digest names.
pub(crate) fn link(linker: &mut Linker<Guest>, setup: Setup) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    match setup {
        Setup::Plain => {
            files::link_removal(linker, false)?;
            wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
            store::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)?;
            atomics::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)?;
            batch::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)?;
            config::store::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)?;
            spin2::link(linker)?;
        }
        Setup::Concurrent => {
            wasmtime_wasi::p3::add_to_linker(linker)?;
            files::link_removal(linker, true)?;
            wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
            wasmtime_wasi_http::p3::add_to_linker(linker)?;
            ServingHost::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)?;
            models_async::link(linker)?;
        }
        Setup::Hermetic => {
            wasmtime_wasi::p3::add_to_linker(linker)?;
            step_clock::link(linker)?;
            files::link(linker)?;
        }
    }
    eyot_world::imports::Host_::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    nn::link(linker)
}

/// The error of `eyot:ml/types` with which a guest hears of one of ours.
pub(crate) fn to_guest(error: &Error) -> types::Error {
    let text = match error.hint_text() {
        Some(hint) => format!("{}; {hint}", error.chain()),
        None => error.chain(),
    };
    match error.kind() {
        Kind::Invalid | Kind::TooLarge => types::Error::InvalidInput(text),
        Kind::NotFound => types::Error::NotFound(text),
        Kind::Denied => types::Error::Denied(text),
        Kind::Unsupported => types::Error::Unsupported(text),
        Kind::Exhausted | Kind::Unavailable => types::Error::Unavailable(text),
        Kind::Timeout => types::Error::Timeout(text),
        _ => types::Error::Internal(text),
    }
}

/// Our error for one that a guest answered with.
pub(crate) fn from_guest(error: types::Error) -> Error {
    match error {
        types::Error::InvalidInput(text) => Error::invalid(text),
        types::Error::NotFound(text) => Error::not_found(text),
        types::Error::Denied(text) => Error::denied(text),
        types::Error::Unsupported(text) => Error::unsupported(text),
        types::Error::Unavailable(text) => Error::unavailable(text),
        types::Error::Timeout(text) => Error::timeout(text),
        types::Error::Internal(text) => Error::failed(text),
    }
}

impl Guest {
    /// Puts `value` behind a handle whose type in the bindings is the marker `M`.
    pub(crate) fn push<M: 'static, V: Send + 'static>(&mut self, value: V) -> wasmtime::Result<Resource<M>> {
        Ok(Resource::new_own(self.table.push(value)?.rep()))
    }

    pub(crate) fn get<M: 'static, V: Send + 'static>(&self, handle: &Resource<M>) -> wasmtime::Result<&V> {
        Ok(self.table.get(&Resource::<V>::new_borrow(handle.rep()))?)
    }

    pub(crate) fn get_mut<M: 'static, V: Send + 'static>(
        &mut self,
        handle: &Resource<M>,
    ) -> wasmtime::Result<&mut V> {
        Ok(self.table.get_mut(&Resource::<V>::new_borrow(handle.rep()))?)
    }

    pub(crate) fn take<M: 'static, V: Send + 'static>(&mut self, handle: Resource<M>) -> wasmtime::Result<V> {
        Ok(self.table.delete(Resource::<V>::new_own(handle.rep()))?)
    }
}
