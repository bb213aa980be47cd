//! Whole programs with the streams, files and arguments of whoever calls them: what `wasmtime run` does.

use std::path::PathBuf;

use eyot_core::{Error, Result};
use wasmtime::component::Val;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};

use crate::files::{OutputLimits, StepFiles};
use crate::guest::GuestState;
use crate::step::run_on_own_thread;
use crate::{Component, ExecutionMode, GuestGrants, InstanceLimits, fault};

/// A folder of the host that a program may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreopenedDirectory {
    pub host: PathBuf,
    /// Its path as the program sees it.
    pub guest: String,
}

/// One run of a program.
pub struct ProgramCall {
    /// The export, `wasi:cli/run@…#run`.
    pub function: String,
    /// Its name and its arguments.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub folders: Vec<PreopenedDirectory>,
    /// Whether it may open sockets and look up names. Only where it is compiled for serving: a hermetic one has none.
    pub network: bool,
    /// What chance is drawn from, where the program is compiled as a step is.
    pub seed: [u8; 32],
    pub limits: InstanceLimits,
    pub grants: GuestGrants,
}

impl Component {
    /// Runs a program with this process's standard streams; answers the status with which it ended. One that was compiled
    /// as steps are has a clock that stands, seeded chance, and sees nothing of its files that is the host's; one that
    /// was compiled for serving has the machine's.
    ///
    /// Fails with `Failed` when it traps, `Timeout` at its deadline.
    pub async fn run_program(&self, call: ProgramCall) -> Result<i32> {
        let component = self.clone();
        run_on_own_thread(async move { component.program(call).await }).await
    }

    async fn program(&self, call: ProgramCall) -> Result<i32> {
        let function = self.function(&call.function)?.clone();
        let hermetic = self.mode() == ExecutionMode::Hermetic;
        let mut builder = WasiCtxBuilder::new();
        builder.allow_blocking_current_thread(true);
        builder.args(&call.args).envs(&call.env);
        for PreopenedDirectory { host, guest } in &call.folders {
            let opened = builder.preopened_dir(host, guest, FsPerms::ReadWrite);
            opened.map_err(|error| {
                Error::not_found(format!("the folder {} cannot be opened: {error:#}", host.display()))
                    .hint("write --dir HOST::GUEST with a folder that is there")
            })?;
        }
        if call.network {
            builder.inherit_network().allow_ip_name_lookup(true).allow_tcp(true).allow_udp(true);
        }
        let seed = hermetic.then_some(&call.seed);
        let mut guest = GuestState::with_process_output(builder, call.grants, &call.limits, seed);
        guest.files = StepFiles::new(OutputLimits::NONE);
        let mut store = guest.into_store(self.wasmtime());
        let called = tokio::time::timeout(call.limits.timeout, self.invoke(&mut store, &function, &[])).await;
        match called.unwrap_or_else(|_| Err(wasmtime::Trap::Interrupt.into())) {
            Ok(Some(Val::Result(Err(_)))) => Ok(1),
            Ok(_) => Ok(0),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(I32Exit(status)) => Ok(*status),
                None => Err(fault::explain(&error, store.data(), &self.digest(), &function.name)),
            },
        }
    }
}
