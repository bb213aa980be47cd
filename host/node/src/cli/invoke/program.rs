//! Running a program: a component that exports `wasi:cli/run`, or a module of preview 1.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use eyot_core::{Error, Result};
use eyot_engine::{
    ExecutionMode, GrantedCapabilities, GuestGrants, InstanceLimits, NullSink, PreopenedDirectory,
    ProgramCall,
};
use eyot_store::{BlobStore, MemoryStore};

use crate::cli::GlobalOptions;
use crate::output::CommandOutput;
use crate::platform;

/// What a program is given.
#[derive(Debug, Args)]
pub(super) struct ProgramOptions {
    /// For a program: a folder that it may use, at the path GUEST; may be repeated.
    #[arg(long = "dir", value_name = "HOST[::GUEST]", help_heading = "Programs")]
    folders: Vec<PreopenedFolder>,
    /// For a program: an environment variable, NAME alone for this command's own; may be repeated.
    #[arg(long = "env", value_name = "NAME[=VALUE]", help_heading = "Programs")]
    env: Vec<String>,
    /// For a program: an argument, before those that follow; may be repeated.
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true, help_heading = "Programs")]
    args: Vec<String>,
    /// For a program: the machine's clock, chance and files as they are, in place of those of a step.
    #[arg(long, help_heading = "Programs")]
    real: bool,
    /// For a program: sockets and look-ups of names; means --real.
    #[arg(long, help_heading = "Programs")]
    network: bool,
    /// For a program with --real: where it may send requests over HTTP; may be repeated.
    #[arg(long = "allow-http", value_name = "HOST", help_heading = "Programs")]
    http: Vec<String>,
}

/// `HOST::GUEST`, or a folder that is there under the name that it has here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PreopenedFolder(PreopenedDirectory);

impl FromStr for PreopenedFolder {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (host, guest) = text.split_once("::").unwrap_or((text, text));
        if host.is_empty() || guest.is_empty() {
            return Err(Error::invalid(format!("'{text}' names no folder"))
                .hint("write --dir HOST::GUEST, as in --dir data::/in"));
        }
        Ok(Self(PreopenedDirectory { host: PathBuf::from(host), guest: guest.to_owned() }))
    }
}

impl ProgramOptions {
    fn is_none(&self) -> bool {
        let Self { folders, env, args, real, network, http } = self;
        folders.is_empty() && env.is_empty() && args.is_empty() && http.is_empty() && !real && !network
    }

    /// Fails where a function is called that has no use for them.
    pub(super) fn check_unused(&self) -> Result<()> {
        if self.is_none() {
            return Ok(());
        }
        Err(Error::invalid("--dir, --env, --arg, --real, --network and --allow-http are for programs")
            .hint("a function has its parameters; eyot inspect shows what a component exports"))
    }

    /// Runs the program `wasm` under the name `program`; answers how it ended.
    pub(super) async fn run(
        &self,
        global: &GlobalOptions,
        output: &CommandOutput,
        wasm: Bytes,
        program: String,
        more: &[String],
    ) -> Result<i32> {
        let config = global.config()?;
        let real = self.real || self.network || !self.http.is_empty();
        let mode = if real { ExecutionMode::Serving } else { ExecutionMode::Hermetic };
        let store: Arc<dyn BlobStore> = Arc::new(MemoryStore::default());
        let digest = store.put(wasm).await?.digest;
        let engine = platform::engine(&config)?;
        let spinner = output.spinner("compiling");
        let component = engine.load(&*store, digest, mode).await;
        spinner.finish_and_clear();
        let component = component?;
        let models = platform::models_over(&config, store)?;
        let mut grants = GuestGrants::new(Arc::default(), models, Arc::new(NullSink));
        let http = self.http.iter().map(|text| text.parse()).collect::<Result<_>>()?;
        grants.capabilities = Arc::new(GrantedCapabilities { http, ..GrantedCapabilities::default() });
        let args = std::iter::once(&program).chain(&self.args).chain(more).cloned().collect();
        let function = component.interface().program().map(|function| function.name.clone());
        let function = function
            .ok_or_else(|| Error::invalid("the component is no program: it exports no wasi:cli/run"))?;
        let call = ProgramCall {
            function,
            args,
            env: self.env.iter().filter_map(|text| variable(text)).collect(),
            folders: self.folders.iter().map(|folder| folder.0.clone()).collect(),
            network: self.network,
            seed: [0; 32],
            limits: InstanceLimits::from(&config.steps),
            grants,
        };
        component.run_program(call).await
    }
}

/// A variable and its value; a name alone has the value that it has here, where it has one.
fn variable(text: &str) -> Option<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => std::env::var(text).ok().map(|value| (text.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_a_name_for_the_program() {
        let folder = |host: &str, guest: &str| {
            PreopenedFolder(PreopenedDirectory { host: host.into(), guest: guest.to_owned() })
        };
        assert_eq!("data::/in".parse::<PreopenedFolder>().ok(), Some(folder("data", "/in")));
        assert_eq!(".".parse::<PreopenedFolder>().ok(), Some(folder(".", ".")));
        assert!("::/in".parse::<PreopenedFolder>().is_err());
        assert!("data::".parse::<PreopenedFolder>().is_err());
    }
}
