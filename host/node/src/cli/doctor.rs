use std::collections::BTreeMap;

use clap::Args;
use eyot_build::{
    ClangToolchain, GoToolchain, JavaScriptToolchain, PythonToolchain, RustToolchain, ToolFolder,
};
use eyot_core::config::Config;
use eyot_core::{Error, Result};
use eyot_deploy::Deployment;
use eyot_http::ServerTrust;
use eyot_nn::{BackendSet, install};
use serde::Serialize;

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, TextTone};
use crate::session::ApiSession;
use crate::{cli, folder, platform};

/// Says what of this machine Eyot can use, what is missing, and how to get it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  eyot doctor --json")]
pub(crate) struct DoctorCommand {}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum FindingState {
    Good,
    /// Works without; something is slower or cannot be done.
    Missing,
    Broken,
}

#[derive(Serialize)]
struct DoctorFinding {
    name: &'static str,
    state: FindingState,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl DoctorFinding {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: FindingState::Good, found: found.into(), hint: None }
    }

    fn from_error(name: &'static str, state: FindingState, error: &Error) -> Self {
        Self { name, state, found: error.chain(), hint: error.hint_text().map(str::to_owned) }
    }
}

impl DoctorCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let findings = match global.config() {
            Ok(config) => vec![
                DoctorFinding::good("configuration", "valid"),
                data(&config),
                server(global, &config).await,
                deployments(global).await,
                engine(&config),
                backend(&config),
                rust(),
                guests("python guests", PythonToolchain::find(), |python| python.describe(&tools(&config))),
                guests("js guests", JavaScriptToolchain::find(), |node| node.describe(&tools(&config))),
                guests("c and c++ guests", ClangToolchain::find(), |compiler| {
                    compiler.describe(&tools(&config))
                }),
                guests("go guests", GoToolchain::find(), |compiler| compiler.describe(&tools(&config))),
            ],
            Err(error) => vec![DoctorFinding::from_error("configuration", FindingState::Broken, &error)],
        };
        output.result(&findings, |output| {
            findings.iter().map(|one| line(output, one)).collect::<Vec<_>>().join("\n")
        })?;
        match findings.iter().filter(|finding| finding.state == FindingState::Broken).count() {
            0 => Ok(()),
            broken => Err(Error::unavailable(format!("{broken} of {} checks failed", findings.len()))),
        }
    }
}

fn line(output: &CommandOutput, finding: &DoctorFinding) -> String {
    let (tone, word) = match finding.state {
        FindingState::Good => (TextTone::Good, "ok"),
        FindingState::Missing => (TextTone::Strong, "missing"),
        FindingState::Broken => (TextTone::Bad, "broken"),
    };
    let hint = finding.hint.as_deref().map_or_else(String::new, |hint| format!("\n{:>24}{hint}", "-> "));
    // Padded before it is painted: what colours a word has a width of its own.
    let word = output.paint(tone, &format!("{word:<9}"));
    format!("{:<15}{word}{}{hint}", finding.name, finding.found)
}

fn data(config: &Config) -> DoctorFinding {
    let dir = &config.data.dir;
    let probe = std::fs::create_dir_all(dir).and_then(|()| tempfile::NamedTempFile::new_in(dir).map(drop));
    match probe {
        Ok(()) => DoctorFinding::good("data folder", dir.display().to_string()),
        Err(error) => {
            let error = Error::from(error).context(format!("cannot write to {}", dir.display()));
            DoctorFinding::from_error(
                "data folder",
                FindingState::Broken,
                &error.hint("choose another folder with --data DIR"),
            )
        }
    }
}

async fn server(global: &GlobalOptions, config: &Config) -> DoctorFinding {
    let url = match global.server() {
        Some(url) => Ok(Some((crate::session::trust(config), url.to_owned()))),
        None => folder::server(&config.data.dir)
            .await
            .map(|found| found.map(|found| (found.running.trust(), found.running.api))),
    };
    let found = match url {
        Ok(None) => {
            let hint = Some("eyot up starts one".to_owned());
            return DoctorFinding {
                name: "server",
                state: FindingState::Missing,
                found: "none on this data folder".to_owned(),
                hint,
            };
        }
        Ok(Some((trust, url))) => {
            cli::doctor::ask(&url, &trust).await.map(|version| format!("{url}, eyot {version}"))
        }
        Err(error) => Err(error),
    };
    found.map_or_else(
        |error| DoctorFinding::from_error("server", FindingState::Broken, &error),
        |found| DoctorFinding::good("server", found),
    )
}

async fn ask(url: &str, trust: &ServerTrust) -> Result<String> {
    let client = eyot_api::ApiClient::new(eyot_oci::Transport::connect(url, trust)?);
    Ok(client.server().await?.version)
}

/// What really runs the models of the deployments that a server has.
async fn deployments(global: &GlobalOptions) -> DoctorFinding {
    let found = match ApiSession::running(global).await {
        Ok(Some(session)) => session.client().deployments().await.map(|all| told(&all)),
        Ok(None) => Ok("known to a server only".to_owned()),
        Err(error) => Err(error),
    };
    found.map_or_else(
        |error| DoctorFinding::from_error("deployments", FindingState::Broken, &error),
        |found| DoctorFinding::good("deployments", found),
    )
}

fn told(deployments: &[Deployment]) -> String {
    let mut runs_on: BTreeMap<&str, usize> = BTreeMap::new();
    for on in deployments.iter().flat_map(|deployment| deployment.runs_on.values()) {
        *runs_on.entry(on).or_default() += 1;
    }
    let serving =
        deployments.iter().filter(|deployment| deployment.state == eyot_deploy::DeploymentState::Serving);
    let serving = format!("{} of {} serve", serving.count(), deployments.len());
    let parts = runs_on.into_iter().map(|(on, count)| format!("{count} on {on}"));
    std::iter::once(serving).chain(parts).collect::<Vec<_>>().join("; ")
}

fn engine(config: &Config) -> DoctorFinding {
    match platform::engine(config) {
        Ok(engine) if engine.pooling() => DoctorFinding::good("wasm engine", "wasmtime 48, pooled instances"),
        Ok(_) => DoctorFinding {
            name: "wasm engine",
            state: FindingState::Missing,
            found: "wasmtime 48 without a pool: the address space is limited".to_owned(),
            hint: Some("ulimit -v unlimited".to_owned()),
        },
        Err(error) => DoctorFinding::from_error("wasm engine", FindingState::Broken, &error),
    }
}

fn backend(config: &Config) -> DoctorFinding {
    let backends = match BackendSet::open_as(&config.data.backends, &config.inference) {
        Err(error) => return DoctorFinding::from_error("inference", FindingState::Broken, &error),
        Ok(backends) => backends,
    };
    let names = backends.list().iter().map(|one| {
        let targets: Vec<_> = one.targets().iter().map(ToString::to_string).collect();
        format!("{} {} ({})", one.name(), one.version(), targets.join(", "))
    });
    let found = names.collect::<Vec<_>>().join("; ");
    let missing = install::ALL.into_iter().find(|package| package.installed(&config.data.backends).is_none());
    let hint = missing.map(|package| format!("{}  ({})", package.hint(), package.gain));
    // One that is faster than what is always there makes a machine fit; a second is a choice.
    let fast = backends.list().iter().any(|one| one.name() != "tract");
    let state = if fast { FindingState::Good } else { FindingState::Missing };
    DoctorFinding { name: "inference", state, found, hint }
}

fn rust() -> DoctorFinding {
    guests("rust guests", RustToolchain::find(), RustToolchain::describe)
}

fn tools(config: &Config) -> ToolFolder {
    ToolFolder::new(&config.data.tools)
}

/// How components in a language are built here.
fn guests<T>(name: &'static str, found: Result<T>, describe: impl FnOnce(&T) -> String) -> DoctorFinding {
    match found {
        Ok(found) => DoctorFinding::good(name, describe(&found)),
        Err(error) => DoctorFinding::from_error(name, FindingState::Missing, &error),
    }
}
