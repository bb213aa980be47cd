mod case;
mod difference;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use eyot_api::DeployRequest;
use eyot_core::config::{ComponentGrants, Config};
use eyot_core::{Error, Name, Result};
use serde::Serialize;

use crate::call::CallableComponent;
use crate::cli::{GlobalOptions, invoke};
use crate::grants::{self, GrantOptions, GrantedNames};
use crate::local::LocalServer;
use crate::output::{CommandOutput, TextTone};
use crate::platform;
use case::TestCase;

/// Runs a component's cases: requests in files, each with the answer that is expected.
///
/// A case is a JSON file in the folder `cases`. A handler's says {"request": …, "response": …}, a function's
/// or step's {"call": NAME, "arguments": …, "result": … or "error": …}, an HTTP function's {"request": {"method",
/// "path", "headers", "json" or "body"}, "response": {"status", "headers", "json" or "body"}}, a command's {"inputs": …,
/// "outputs": …, "stdout": …}. Fields that are not
/// expected may be there; numbers are equal up to the last digits of an FP32. Handlers and HTTP functions answer over
/// HTTP, on a server of their own that ends with the command.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot build && eyot test\n  eyot test scorer --case refuses-nothing --model digits=digits.onnx"
)]
pub(crate) struct TestCommand {
    /// The folder of a component that is built.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Runs only the cases whose name holds this.
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    #[command(flatten)]
    grants: GrantOptions,
}

/// How a case ended.
#[derive(Serialize)]
struct CaseResult {
    case: String,
    passed: bool,
    /// What was expected and what came, where they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<String>,
}

/// The component under test, made ready as far as its cases need it.
struct TestBench<'a> {
    config: &'a Config,
    dir: &'a Path,
    name: Name,
    wasm: Bytes,
    written: ComponentGrants,
    grants: &'a GrantOptions,
    callable: Option<CallableComponent>,
    server: Option<LocalServer>,
}

impl TestCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let component = eyot_build::component_manifest(&self.dir)?;
        let cases = self.cases()?;
        let config = global.config()?;
        let mut bench = TestBench {
            config: &config,
            dir: &self.dir,
            name: component.name.replace('/', "-").parse()?,
            wasm: invoke::wasm(&self.dir.to_string_lossy(), global).await?,
            written: component.grants,
            grants: &self.grants,
            callable: None,
            server: None,
        };
        let spinner = output.spinner("compiling");
        let mut ended = Vec::new();
        for (name, case) in cases {
            spinner.set_message(name.clone());
            let difference =
                case.run(&mut bench).await.map_err(|error| error.context(format!("case {name}")))?;
            ended.push(CaseResult { case: name, passed: difference.is_none(), difference });
        }
        spinner.finish_and_clear();
        if let Some(server) = bench.server {
            server.close().await?;
        }
        output.result(&ended, |output| {
            ended.iter().map(|one| line(one, output)).collect::<Vec<_>>().join("\n")
        })?;
        match ended.iter().filter(|one| !one.passed).count() {
            0 => Ok(()),
            failed => Err(Error::failed(format!("{failed} of {} cases failed", ended.len()))),
        }
    }

    /// The cases by name, in their order.
    fn cases(&self) -> Result<BTreeMap<String, TestCase>> {
        let dir = self.dir.join("cases");
        let none = || {
            Error::not_found(format!("there is no case in {}", dir.display()))
                .hint("a case is a file such as cases/adds.json; eyot test --help says what is in it")
        };
        let mut cases = BTreeMap::new();
        for entry in std::fs::read_dir(&dir).map_err(|error| none().because(error))? {
            let path = entry?.path();
            let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
            let wanted = self.case.as_ref().is_none_or(|part| name.contains(part.as_str()));
            if wanted && path.extension().is_some_and(|extension| extension == "json") {
                cases.insert(name, TestCase::read(&path)?);
            }
        }
        if cases.is_empty() { Err(none()) } else { Ok(cases) }
    }
}

fn line(one: &CaseResult, output: &CommandOutput) -> String {
    match &one.difference {
        None => format!("{} {}", output.paint(TextTone::Good, "ok    "), one.case),
        Some(difference) => format!("{} {}: {difference}", output.paint(TextTone::Bad, "failed"), one.case),
    }
}

impl TestBench<'_> {
    /// The component as something whose functions are called.
    async fn callable(&mut self) -> Result<&CallableComponent> {
        if self.callable.is_none() {
            let engine = platform::engine(self.config)?;
            self.callable = Some(CallableComponent::new(self.config, &engine, self.wasm.clone()).await?);
        }
        self.callable.as_ref().ok_or_else(|| Error::internal("nothing to call"))
    }

    /// The component as a deployment.
    async fn server(&mut self) -> Result<&LocalServer> {
        if self.server.is_none() {
            let server = LocalServer::fresh(self.config).await?;
            let registry = server.client().registry();
            let repository = self.name.as_str();
            let pushed = registry.push_component(repository, Some("test"), self.wasm.clone()).await?;
            let GrantedNames { models: named, grants } =
                self.grants.over(&self.written, self.dir, &self.name)?;
            let mut models = BTreeMap::new();
            for (granted, model) in named {
                let model = grants::reference(server.client(), &granted, &model).await?;
                models.insert(granted, model);
            }
            let source = format!("{}@{}", pushed.repository, pushed.digest);
            let request = DeployRequest { source, models, grants, ..DeployRequest::default() };
            server.client().deploy(&self.name, &request).await?;
            self.server = Some(server);
        }
        self.server.as_ref().ok_or_else(|| Error::internal("no server"))
    }
}
