//! Whole programs as steps: components that export `wasi:cli/run`. Inputs lie under `/in`, outputs are
//! what is left under `/out`, parameters are arguments and environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use eyot_core::interface::below;
use eyot_core::{Digest, Error, Result, ResultExt};
use eyot_store::BlobStore;
use indexmap::IndexMap;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use wasmtime::component::Val;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};

use crate::files::StepFiles;
use crate::guest::GuestState;
use crate::step::{OutputArtifact, StepResult, digest_at, run_on_own_thread};
use crate::{Component, ExecutionMode, GuestGrants, InstanceLimits, OutputLimits, fault, hermetic};

/// One run of a program as a step.
pub struct CommandCall {
    /// The export, `wasi:cli/run@…#run`.
    pub function: String,
    /// What it is called with; artifacts are digests.
    pub arguments: IndexMap<String, Value>,
    /// Media types of the artifacts among the arguments, by their places as JSON pointers.
    pub media_types: BTreeMap<String, String>,
    /// The program's arguments, in place of `--NAME VALUE` for each of `arguments`.
    pub args: Option<Vec<String>>,
    /// Environment variables beside those that are made of `arguments`.
    pub env: IndexMap<String, String>,
    /// The files below `/out` that it gives, by output name, each with its media type.
    pub outputs: IndexMap<String, (String, String)>,
    /// What randomness is drawn from.
    pub seed: [u8; 32],
    /// Memory, time and handles.
    pub limits: InstanceLimits,
    /// What it may leave.
    pub output: OutputLimits,
    /// What it may reach beside its files.
    pub grants: GuestGrants,
    /// Where artifacts are read and written.
    pub store: Arc<dyn BlobStore>,
}

/// The program's own name, as it sees it.
const PROGRAM: &str = "command";
/// How much of a file is in memory at once.
const COPY_BYTES: usize = 1 << 20;

impl Component {
    /// Runs a program hermetically: with the files it was handed, and nothing else of the machine.
    /// Takes a thread of its own for as long as it computes. Dropping the future stops it at its next
    /// tick.
    ///
    /// Fails with `Failed` when it ends with a status other than 0, traps, or does not write an output,
    /// with `Timeout` at the deadline.
    pub async fn run_command(&self, call: CommandCall) -> Result<StepResult> {
        if self.mode() != ExecutionMode::Hermetic {
            return Err(Error::internal("a command was compiled for serving"));
        }
        let component = self.clone();
        run_on_own_thread(async move { component.command(call).await }).await
    }

    async fn command(&self, call: CommandCall) -> Result<StepResult> {
        let function = self.function(&call.function)?.clone();
        let folder = tempfile::tempdir().context(|| "no folder for the files of a command".to_owned())?;
        let (inside, outside) = (folder.path().join("in"), folder.path().join("out"));
        std::fs::create_dir(&inside)?;
        std::fs::create_dir(&outside)?;
        let values = hand_in(&call, &inside).await?;
        let started = Instant::now();
        let mut builder = WasiCtxBuilder::new();
        // It has a thread of its own. Who waits for a disk sees how long that takes.
        builder.allow_blocking_current_thread(true);
        builder.arg(PROGRAM);
        match &call.args {
            Some(args) => args.iter().for_each(|arg| {
                builder.arg(arg);
            }),
            None => values.iter().for_each(|(name, value)| {
                builder.arg(format!("--{name}")).arg(value);
            }),
        }
        for (name, value) in &values {
            let name = name.to_uppercase().replace('-', "_");
            if !call.env.contains_key(&name) {
                builder.env(name, value);
            }
        }
        call.env.iter().for_each(|(name, value)| {
            builder.env(name, value);
        });
        let unusable =
            |error: wasmtime::Error| Error::internal(format!("files cannot be handed in: {error:#}"));
        builder.preopened_dir(&inside, "/in", FsPerms::ReadOnly).map_err(unusable)?;
        builder.preopened_dir(&outside, "/out", FsPerms::ReadWrite).map_err(unusable)?;
        let mut guest = GuestState::with(builder, call.grants.clone(), &call.limits, Some(&call.seed));
        guest.files = StepFiles::new(call.output);
        let mut store = guest.into_store(self.wasmtime());
        let called = tokio::time::timeout(call.limits.timeout, self.invoke(&mut store, &function, &[])).await;
        let called = called.unwrap_or_else(|_| Err(wasmtime::Trap::Interrupt.into()));
        store.data().stdout.finish();
        store.data().stderr.finish();
        let ended = match called {
            Ok(Some(Val::Result(Err(_)))) => Err(self.ended(1, &store.data().stderr.last())),
            Ok(_) => Ok(()),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(I32Exit(0)) => Ok(()),
                Some(I32Exit(status)) => Err(self.ended(*status, &store.data().stderr.last())),
                None => Err(fault::explain(&error, store.data(), &self.digest(), &function.name)),
            },
        };
        let failure = store.data().files.usage.failure();
        drop(store);
        if let Some(failure) = failure {
            return Err(failure);
        }
        ended?;
        let mut outcome = take_out(&call, &outside).await?;
        outcome.duration = started.elapsed();
        Ok(outcome)
    }

    fn ended(&self, status: i32, last: &str) -> Error {
        let said = if last.is_empty() { String::new() } else { format!("; its last words: {last}") };
        Error::failed(format!("component {} ended with status {status}{said}", self.digest()))
    }
}

/// Writes the artifacts among the arguments to files; answers every argument as text.
async fn hand_in(call: &CommandCall, inside: &Path) -> Result<Vec<(String, String)>> {
    let mut values = Vec::with_capacity(call.arguments.len());
    for (name, value) in &call.arguments {
        let place = below("", name);
        let handed_in = call.media_types.contains_key(&place);
        let digest = handed_in.then(|| digest_at(&call.arguments, &place)).flatten();
        let text = match (digest, value) {
            (Some(digest), _) => {
                write(&*call.store, &digest, &inside.join(name)).await?;
                format!("/in/{name}")
            }
            (None, Value::String(text)) => text.clone(),
            (None, other) => other.to_string(),
        };
        values.push((name.clone(), text));
    }
    Ok(values)
}

/// Puts a blob into a file whose times say nothing of when.
async fn write(store: &dyn BlobStore, digest: &Digest, path: &Path) -> Result<()> {
    let mut reader = store.open(digest).await?;
    let mut file = tokio::fs::File::create(path).await?;
    tokio::io::copy(&mut reader, &mut file)
        .await
        .map_err(|error| Error::corrupt(format!("artifact {digest} cannot be read")).because(error))?;
    let epoch = SystemTime::UNIX_EPOCH + hermetic::EPOCH;
    let times = std::fs::FileTimes::new().set_accessed(epoch).set_modified(epoch);
    file.into_std().await.set_times(times)?;
    Ok(())
}

/// Stores what lies under `/out`.
async fn take_out(call: &CommandCall, outside: &Path) -> Result<StepResult> {
    let mut outputs = IndexMap::new();
    let mut artifacts = Vec::new();
    for (name, (path, media_type)) in &call.outputs {
        let file = find(outside, path).ok_or_else(|| {
            let there = listing(outside);
            Error::failed(format!("the command wrote no file /out/{path} for its output '{name}'")).hint(
                if there.is_empty() {
                    "it wrote nothing at all".to_owned()
                } else {
                    format!("it wrote {there}")
                },
            )
        })?;
        let mut reader = tokio::fs::File::open(&file).await?;
        let mut writer = call.store.writer().await?;
        loop {
            let mut piece = Vec::with_capacity(COPY_BYTES);
            if (&mut reader).take(COPY_BYTES as u64).read_to_end(&mut piece).await? == 0 {
                break;
            }
            writer.write(Bytes::from(piece)).await?;
        }
        let blob = writer.finish().await?;
        outputs.insert(name.clone(), Value::String(blob.digest.to_string()));
        let (at, media_type) = (below("", name), media_type.clone());
        artifacts.push(OutputArtifact { at, digest: blob.digest, size: blob.size, media_type });
    }
    Ok(StepResult { outputs, artifacts, duration: Duration::ZERO })
}

/// The file of that path, if it is one and lies where it seems to: a link may lead anywhere.
fn find(outside: &Path, path: &str) -> Option<PathBuf> {
    let (root, file) = (outside.canonicalize().ok()?, outside.join(path).canonicalize().ok()?);
    (file.starts_with(&root) && file.is_file()).then_some(file)
}

/// The first names under a folder, for an error.
fn listing(outside: &Path) -> String {
    let entries = std::fs::read_dir(outside).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.take(10).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.join(", ")
}
