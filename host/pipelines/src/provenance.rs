//! How something came about, as SLSA says it: what ran, on what, with which parameters.

use eyot_core::{Digest, Timestamp};
use serde_json::{Value, json};

use crate::PipelineRun;

/// The predicate type of SLSA provenance.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

impl PipelineRun {
    /// Whether a step of the run gave these bytes.
    pub fn made(&self, content: &Digest) -> bool {
        let content = content.to_string();
        let mut outputs = self.steps.iter().flat_map(|step| step.outputs.values());
        outputs.any(|output| output.as_str() == Some(&content))
    }

    /// The run as the predicate of SLSA provenance, version 1: its components and artifacts are
    /// dependencies, everything else that went into its steps is a parameter.
    pub fn provenance(&self, ended: Timestamp) -> Value {
        let (mut parameters, mut dependencies) = (serde_json::Map::new(), Vec::new());
        let dependency =
            |name: String, digest: &Digest| json!({ "name": name, "digest": { "sha256": digest.hex() } });
        for step in &self.steps {
            dependencies
                .extend(step.component.map(|digest| dependency(format!("{}/component", step.step), &digest)));
            for (name, value) in &step.inputs {
                let name = format!("{}/{name}", step.step);
                match value.as_str().and_then(|text| text.parse::<Digest>().ok()) {
                    Some(digest) => dependencies.push(dependency(name, &digest)),
                    None => drop(parameters.insert(name, value.clone())),
                }
            }
        }
        json!({
            "buildDefinition": {
                "buildType": "https://eyot.dev/pipeline/v1",
                "externalParameters": { "pipeline": self.pipeline, "parameters": parameters },
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": { "id": "https://eyot.dev/eyot", "version": { "eyot": env!("CARGO_PKG_VERSION") } },
                "metadata": {
                    "invocationId": self.id,
                    "startedOn": self.started.to_rfc3339(),
                    "finishedOn": ended.to_rfc3339(),
                },
            },
        })
    }
}
