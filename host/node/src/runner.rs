//! Running steps: the engine behind the pipeline's `StepRunner`.

use std::sync::Arc;

use async_trait::async_trait;
use eyot_core::config::Config;
use eyot_core::interface::Interface;
use eyot_core::{Digest, Result};
use eyot_engine::{
    CommandCall, Engine, ExecutionMode, GuestGrants, InstanceLimits, OutputLimits, ReportSink, SEMANTICS,
    StandardStream, StepCall, StepResult,
};
use eyot_nn::LoadedModels;
use eyot_pipelines::{StepArtifact, StepOutcome, StepReporter, StepRunner, StepWork};
use eyot_store::BlobStore;

/// Runs steps as components, in this process.
pub(crate) struct WasmRunner {
    engine: Engine,
    models: Arc<LoadedModels>,
    store: Arc<dyn BlobStore>,
    limits: InstanceLimits,
    output: OutputLimits,
}

impl WasmRunner {
    pub(crate) fn new(
        config: &Config,
        engine: Engine,
        models: Arc<LoadedModels>,
        store: Arc<dyn BlobStore>,
    ) -> Self {
        Self {
            engine,
            models,
            store,
            limits: InstanceLimits::from(&config.steps),
            output: OutputLimits::from(&config.steps),
        }
    }
}

#[async_trait]
impl StepRunner for WasmRunner {
    async fn interface(&self, component: &Digest) -> Result<Interface> {
        Ok(self.engine.load(&*self.store, *component, ExecutionMode::Hermetic).await?.interface().clone())
    }

    fn semantics(&self, component: &Interface) -> String {
        // What a back end computes may differ in the last bit from what another does, so a step that
        // can infer is only comparable to one that inferred on the same.
        let infers = component
            .imports
            .iter()
            .any(|import| import.starts_with("eyot:ml/models@") || import.starts_with("wasi:nn/"));
        match infers {
            true => format!("{SEMANTICS} {}", self.models.backends().semantics()),
            false => SEMANTICS.to_owned(),
        }
    }

    async fn run(&self, work: StepWork, reporter: Arc<dyn StepReporter>) -> Result<StepOutcome> {
        let component = self.engine.load(&*self.store, work.component, ExecutionMode::Hermetic).await?;
        let mut limits = self.limits;
        limits.timeout = work.timeout.unwrap_or(limits.timeout);
        limits.memory =
            work.memory.map_or(limits.memory, |memory| usize::try_from(memory).unwrap_or(usize::MAX));
        let sink = Arc::new(ToReporter(reporter));
        let grants = GuestGrants::new(Arc::default(), self.models.clone(), sink);
        if let Some(command) = work.command {
            let outputs =
                command.outputs.into_iter().map(|(name, file)| (name, (file.path, file.media_type)));
            let call = CommandCall {
                function: work.function,
                arguments: work.arguments,
                media_types: work.media_types,
                args: command.args,
                env: command.env,
                outputs: outputs.collect(),
                seed: work.seed,
                limits,
                output: self.output,
                grants,
                store: work.store.clone(),
            };
            return Ok(outcome(component.run_command(call).await?));
        }
        let call = StepCall {
            function: work.function,
            arguments: work.arguments,
            media_types: work.media_types,
            seed: work.seed,
            limits,
            output: self.output,
            grants,
            store: work.store,
        };
        Ok(outcome(component.run_step(call).await?))
    }
}

fn outcome(outcome: StepResult) -> StepOutcome {
    let artifacts = outcome.artifacts.into_iter().map(|artifact| StepArtifact {
        at: artifact.at,
        digest: artifact.digest,
        size: artifact.size,
        media_type: artifact.media_type,
    });
    StepOutcome { outputs: outcome.outputs, artifacts: artifacts.collect() }
}

struct ToReporter(Arc<dyn StepReporter>);

impl ReportSink for ToReporter {
    fn line(&self, _: StandardStream, line: &str) {
        self.0.line(line);
    }

    fn metric(&self, key: &str, value: f64, step: i64) {
        self.0.metric(key, value, step);
    }

    fn param(&self, key: &str, value: &str) {
        self.0.param(key, value);
    }

    fn tag(&self, key: &str, value: &str) {
        self.0.tag(key, value);
    }
}
