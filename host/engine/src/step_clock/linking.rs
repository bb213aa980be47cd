//! The imports by which a step reads its clock and waits on it.

use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime_wasi::p2::{DynPollable, subscribe};

use super::StepTimer;
use crate::guest::GuestState;

/// In place of what wasmtime has, whose timers wait on the host's clock.
pub(crate) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let timer = |mut store: StoreContextMut<'_, GuestState>,
                 when: u64|
     -> wasmtime::Result<(Resource<DynPollable>,)> {
        let guest = store.data_mut();
        let timer = guest.table.push(StepTimer { clock: guest.step_clock.clone(), when, asked: false })?;
        Ok((subscribe(&mut guest.table, timer)?,))
    };
    let mut second = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    second.func_wrap("subscribe-instant", move |store, (when,): (u64,)| timer(store, when))?;
    second.func_wrap(
        "subscribe-duration",
        move |store: StoreContextMut<'_, GuestState>, (nanoseconds,): (u64,)| {
            let when = store.data().step_clock.after(nanoseconds);
            timer(store, when)
        },
    )?;
    let mut third = linker.instance("wasi:clocks/monotonic-clock@0.3.0")?;
    third.func_wrap_concurrent("wait-until", |accessor: &Accessor<GuestState>, (when,): (u64,)| {
        Box::pin(async move {
            let clock = accessor.with(|mut access| access.get().step_clock.clone());
            clock.wait_until(when).await;
            Ok(())
        })
    })?;
    third.func_wrap_concurrent("wait-for", |accessor: &Accessor<GuestState>, (nanoseconds,): (u64,)| {
        Box::pin(async move {
            let clock = accessor.with(|mut access| access.get().step_clock.clone());
            clock.wait_until(clock.after(nanoseconds)).await;
            Ok(())
        })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}
