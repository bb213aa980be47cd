use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use eyot_core::Result;
use eyot_deploy::{Deployment, DeploymentState, Revision, RevisionSpec};

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, TextTone, table};
use crate::session::ApiSession;

/// Lists deployments and what serves under them.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  eyot deployments --json")]
pub(crate) struct DeploymentsCommand {}

impl DeploymentsCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        let deployments = session.client().deployments().await?;
        // What several revisions serve is not in the list.
        let mut shared = BTreeMap::new();
        for deployment in deployments.iter().filter(|_| !output.is_json()) {
            if deployment.traffic.weights.values().filter(|weight| **weight > 0).count() > 1 {
                shared.insert(&deployment.name, session.client().revisions(&deployment.name).await?);
            }
        }
        output.result(&deployments, |output| {
            if deployments.is_empty() {
                return "nothing is deployed; eyot deploy makes an endpoint".to_owned();
            }
            let rows: Vec<_> = deployments
                .iter()
                .map(|deployment| row(output, deployment, shared.get(&deployment.name).map(Vec::as_slice)))
                .collect();
            table(output, &["NAME", "REVISION", "STATE", "SERVES", "RUNS ON", "SINCE"], &rows)
        })
    }
}

fn row(output: &CommandOutput, deployment: &Deployment, shared: Option<&[Revision]>) -> Vec<String> {
    let state = match &deployment.state {
        DeploymentState::Serving => output.paint(TextTone::Good, "serving"),
        DeploymentState::Unloaded => output.paint(TextTone::Dim, "unloaded"),
        DeploymentState::Failed { error } => output.paint(TextTone::Bad, &format!("failed: {error}")),
    };
    vec![
        deployment.name.to_string(),
        shares(deployment),
        state,
        match shared {
            None => serves(deployment),
            Some(revisions) => {
                let serving = revisions.iter().filter(|revision| revision.weight > 0);
                let each = serving.map(|it| format!("{}: {}", it.revision, references(&it.spec)));
                each.collect::<Vec<_>>().join("; ")
            }
        },
        tuned(deployment),
        deployment.created.to_string(),
    ]
}

/// The revision that serves, or the shares of several: `2`, `1=90 2=10`.
fn shares(deployment: &Deployment) -> String {
    let weights = deployment.traffic.weights.iter().filter(|(_, weight)| **weight > 0);
    let shares: Vec<_> = weights.map(|(revision, weight)| format!("{revision}={weight}")).collect();
    if shares.len() > 1 { shares.join(" ") } else { deployment.revision.to_string() }
}

/// What really runs its models: each back end once, however many models run on it.
pub(crate) fn on(deployment: &Deployment) -> String {
    let distinct: BTreeSet<&str> = deployment.runs_on.values().map(String::as_str).collect();
    distinct.into_iter().collect::<Vec<_>>().join(", ")
}

/// What runs it, and the settings it was deployed with.
fn tuned(deployment: &Deployment) -> String {
    let said = deployment.spec.inference.said();
    let said = said.iter().map(|(name, value)| format!("{name}={value}"));
    let parts: Vec<String> =
        std::iter::once(on(deployment)).chain(said).filter(|it| !it.is_empty()).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
}

/// The references that a deployment was made from.
pub(crate) fn serves(deployment: &Deployment) -> String {
    references(&deployment.spec)
}

/// The references that a revision was made from.
pub(crate) fn references(spec: &RevisionSpec) -> String {
    let models = spec.models.iter();
    match &spec.component {
        None => models.map(|(_, model)| model.reference.clone()).collect::<Vec<_>>().join(", "),
        Some(component) => {
            let models: Vec<_> = models.map(|(name, model)| format!("{name}={}", model.reference)).collect();
            let with = if models.is_empty() { String::new() } else { format!(" with {}", models.join(", ")) };
            format!("{}{with}", component.reference)
        }
    }
}
