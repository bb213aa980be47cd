use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use eyot_api::{ApiClient, DeployRequest};
use eyot_build::{BuildProfile, ComponentBuilder, ComponentProject, ToolFolder, component_manifest};
use eyot_core::{Error, Name, Result, ResultExt};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::cli::GlobalOptions;
use crate::cli::deploy::address;
use crate::grants::{self, GrantOptions, GrantedNames};
use crate::local::LocalServer;
use crate::offered::is_offered;
use crate::output::{CommandOutput, SpinnerReporter, TextTone};
use crate::plugs;
use crate::session::ApiSession;

/// Builds and deploys a component, and again whenever one of its files changes, until Ctrl-C.
///
/// It deploys to the server that runs on the data folder; without one it is a server itself. What serves goes on
/// until the next build is loaded and checked: requests are not dropped, and a build that fails changes nothing. Rust
/// is built without optimisation; eyot build is what makes it fast.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot dev\n  eyot dev scorer --name scorer-dev --model digits=models:/digits@champion"
)]
pub(crate) struct DevCommand {
    /// The folder of a component.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The deployment's name [default: the component's].
    #[arg(long)]
    name: Option<Name>,
    #[command(flatten)]
    grants: GrantOptions,
}

/// Writing one file is several events; this long after the last one they are over.
const QUIET: Duration = Duration::from_millis(20);
/// Folders that hold what a build makes, and nothing that somebody writes.
const MADE: &[&str] = &["build", "target", "node_modules", "__pycache__"];

/// One build that serves.
#[derive(Serialize)]
struct DevRound {
    deployment: Name,
    revision: u64,
    built_ms: u128,
    swapped_ms: u128,
    /// Where it answers.
    endpoints: Vec<String>,
}

/// The server that is deployed to.
enum DevServer {
    Running(Box<ApiSession>),
    Own(Box<LocalServer>),
}

/// What is built and deployed, round after round.
struct DevSession {
    project: ComponentProject,
    tools: ToolFolder,
    name: Name,
    grants: GrantOptions,
    server: DevServer,
}

impl DevCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let mut project = ComponentProject::new(&self.dir, BuildProfile::Dev)?;
        let config = global.config()?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => project.component().name.rsplit('/').next().unwrap_or_default().parse()?,
        };
        let server = DevServer::open(global).await?;
        plugs::fetch(std::slice::from_mut(&mut project), server.client()).await?;
        let bench = DevSession {
            project,
            tools: ToolFolder::new(&config.data.tools),
            name,
            grants: self.grants,
            server,
        };
        let (watcher, mut changes) = watch(&bench.project.folders())?;
        output.note(&format!("building {}; Ctrl-C ends it", bench.name));
        loop {
            tokio::select! {
                done = bench.round(output) => match done {
                    Ok(round) => bench.show(&round, output)?,
                    Err(error) => output.error(&error),
                },
                _ = tokio::signal::ctrl_c() => break,
            }
            tokio::select! {
                changed = changed(&mut changes) => if !changed { break },
                _ = tokio::signal::ctrl_c() => break,
            }
        }
        drop(watcher);
        bench.server.close().await
    }
}

impl DevServer {
    async fn open(global: &GlobalOptions) -> Result<Self> {
        let config = global.config()?;
        if let Some(session) = ApiSession::running(global).await? {
            return Ok(Self::Running(Box::new(session)));
        }
        Ok(Self::Own(Box::new(LocalServer::up(&config).await?)))
    }

    fn client(&self) -> &ApiClient {
        match self {
            Self::Running(session) => session.client(),
            Self::Own(local) => local.client(),
        }
    }

    fn gateway(&self) -> Result<&str> {
        match self {
            Self::Running(session) => session.need_gateway(),
            Self::Own(local) => Ok(local.gateway()),
        }
    }

    async fn close(self) -> Result<()> {
        match self {
            Self::Running(_) => Ok(()),
            Self::Own(local) => local.close().await,
        }
    }
}

impl DevSession {
    /// Builds once and swaps what serves.
    async fn round(&self, output: &CommandOutput) -> Result<DevRound> {
        let started = Instant::now();
        self.build(output).await?;
        let built = started.elapsed();
        let file = self.project.artifact();
        let wasm = tokio::fs::read(file).await.context(|| format!("cannot read {}", file.display()))?;
        let client = self.server.client();
        // No tag: releases are what eyot push makes.
        // As its eyot.toml says now.
        let written = component_manifest(self.project.dir())?.grants;
        let (name, declared) = (&self.project.component().name, written.models.names());
        let pushed = client
            .registry()
            .push_component_declaring(&client.repository(name), None, wasm.into(), &declared)
            .await?;
        let source = format!("{}@{}", pushed.repository, pushed.digest);
        let GrantedNames { models: named, grants } =
            self.grants.over(&written, self.project.dir(), &self.name)?;
        let mut models = BTreeMap::new();
        for (granted, model) in named {
            let model = grants::reference(client, &granted, &model).await?;
            models.insert(granted, model);
        }
        let request = DeployRequest { source, models, grants, ..DeployRequest::default() };
        let deployment = client.deploy(&self.name, &request).await?;
        let gateway = self.server.gateway()?;
        let endpoints = deployment.endpoints.iter().map(|endpoint| address(gateway, endpoint)).collect();
        Ok(DevRound {
            deployment: self.name.clone(),
            revision: deployment.revision,
            built_ms: built.as_millis(),
            swapped_ms: (started.elapsed() - built).as_millis(),
            endpoints,
        })
    }

    /// Compilers are waited for away from the async threads, so that the server goes on answering.
    async fn build(&self, output: &CommandOutput) -> Result<()> {
        let spinner = output.spinner("building");
        let (project, tools) = (self.project.clone(), self.tools.clone());
        let (bar, output) = (spinner.clone(), output.clone());
        let built = tokio::task::spawn_blocking(move || {
            let reporter = SpinnerReporter::new(&bar, &output);
            ComponentBuilder { tools: &tools, reporter: &reporter, is_offered: &is_offered }.build(&[project])
        });
        let built = built.await.map_err(|error| Error::internal("a build ended early").because(error));
        spinner.finish_and_clear();
        built?
    }

    fn show(&self, round: &DevRound, output: &CommandOutput) -> Result<()> {
        if output.is_json() {
            return output.event(round);
        }
        let serves =
            output.paint(TextTone::Good, &format!("{} revision {} serves", round.deployment, round.revision));
        let took = format!("built in {} ms, swapped in {} ms", round.built_ms, round.swapped_ms);
        output.text(&[&format!("{serves}, {took}")].into_iter().chain(&round.endpoints).fold(
            String::new(),
            |text, line| if text.is_empty() { line.clone() } else { format!("{text}\n  {line}") },
        ))
    }
}

/// Hears of every change in folders that somebody may have made.
fn watch(dirs: &[&Path]) -> Result<(RecommendedWatcher, mpsc::UnboundedReceiver<()>)> {
    let (told, changes) = mpsc::unbounded_channel();
    let roots: Vec<PathBuf> = dirs.iter().map(|dir| (*dir).to_owned()).collect();
    let cannot = |error: notify::Error| Error::unavailable("changes cannot be watched").because(error);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error is a change that could not be told: building once too often is better than not at all.
        let real = event.is_ok_and(|event| {
            matches!(event.kind, EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_))
                && event.paths.iter().any(|path| is_source(&roots, path))
        });
        if real {
            // Nobody listens any more once the command ends.
            let _ = told.send(());
        }
    });
    let mut watcher = watcher.map_err(cannot)?;
    for dir in dirs {
        watcher.watch(dir, RecursiveMode::Recursive).map_err(cannot)?;
    }
    Ok((watcher, changes))
}

/// Whether somebody writes that file: what builds make, and what editors and git keep, is not.
fn is_source(roots: &[PathBuf], path: &Path) -> bool {
    let inside = roots.iter().find_map(|root| path.strip_prefix(root).ok()).unwrap_or(path);
    inside.components().all(|part| {
        let name = part.as_os_str().to_string_lossy();
        !name.starts_with('.') && !name.ends_with('~') && !MADE.contains(&name.as_ref())
    })
}

/// Waits until something has changed and changes are over; `false` when nothing can change any more.
async fn changed(changes: &mut mpsc::UnboundedReceiver<()>) -> bool {
    if changes.recv().await.is_none() {
        return false;
    }
    while let Ok(Some(())) = tokio::time::timeout(QUIET, changes.recv()).await {}
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_somebody_writes_is_a_change() {
        let roots = [PathBuf::from("/q"), PathBuf::from("/p")];
        for (path, source) in [
            ("/p/src/lib.rs", true),
            ("/p/eyot.toml", true),
            ("/p/build/wit/component.wit", false),
            ("/p/target/wasm32-wasip2/debug/p.wasm", false),
            ("/p/.git/index", false),
            ("/p/src/.lib.rs.swp", false),
            ("/p/src/lib.rs~", false),
        ] {
            assert_eq!(is_source(&roots, Path::new(path)), source, "{path}");
        }
    }
}
