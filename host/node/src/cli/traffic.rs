use std::collections::BTreeMap;

use clap::Args;
use eyot_core::{Error, Name, Result};
use eyot_deploy::{Deployment, Revision, Shadow};

use crate::cli::GlobalOptions;
use crate::cli::deployments::references;
use crate::output::{CommandOutput, TextTone, table};
use crate::session::ApiSession;

/// Splits the requests to a deployment among its revisions, or shows how they are split.
///
/// A revision's share is its weight out of all weights' sum; one that gets none answers only requests
/// that name it. No request is lost when shares change. What served before stays ready: --rollback
/// goes back to it at once.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot traffic digits\n  eyot traffic digits 1=90 2=10\n  eyot traffic digits 1=50 2=50 --sticky x-user\n  \
    eyot traffic digits 1=100 --shadow 2=10\n  eyot traffic digits --rollback"
)]
pub(crate) struct TrafficCommand {
    /// The deployment.
    name: Name,
    /// Revisions and their weights.
    #[arg(value_name = "REVISION=WEIGHT")]
    weights: Vec<String>,
    /// Keeps requests of one value of this header, or else of this request parameter, on one revision.
    #[arg(long, value_name = "HEADER", requires = "weights")]
    sticky: Option<String>,
    /// Has a revision answer beside the others, unheard; its answers are compared and counted.
    #[arg(long, value_name = "REVISION[=PERCENT]", requires = "weights")]
    shadow: Option<String>,
    /// Splits requests as they were split before the last change.
    #[arg(long, conflicts_with = "weights")]
    rollback: bool,
}

impl TrafficCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        let client = session.client();
        let deployment = if self.rollback {
            let before = client.deployment(&self.name).await?;
            let after = client.roll_back(&self.name).await?;
            output.note(&rolled(&before, &after));
            after
        } else if self.weights.is_empty() {
            client.deployment(&self.name).await?
        } else {
            client.split(&self.name, &self.traffic()?).await?
        };
        let revisions = client.revisions(&self.name).await?;
        let json =
            serde_json::json!({ "name": self.name, "traffic": deployment.traffic, "revisions": revisions });
        output.result(&json, |output| shown(output, &deployment, &revisions))
    }

    fn traffic(&self) -> Result<eyot_deploy::Traffic> {
        let mut weights = BTreeMap::new();
        for text in &self.weights {
            let pair = text
                .split_once('=')
                .and_then(|(revision, weight)| Some((number(revision)?, weight.parse().ok()?)));
            let (revision, weight) = pair.ok_or_else(|| {
                Error::invalid(format!("'{text}' is no share")).hint("write REVISION=WEIGHT, as in 1=90 2=10")
            })?;
            if weights.insert(revision, weight).is_some() {
                return Err(Error::invalid(format!("revision {revision} is given twice")));
            }
        }
        let shadow = self.shadow.as_deref().map(shadow).transpose()?;
        Ok(eyot_deploy::Traffic { weights, sticky: self.sticky.clone(), shadow })
    }
}

/// What a rollback did. Done twice it goes forward again, which is not what everybody expects.
fn rolled(before: &Deployment, after: &Deployment) -> String {
    let shares = |deployment: &Deployment| {
        let weights = deployment.traffic.weights.iter().filter(|(_, weight)| **weight > 0);
        weights.map(|(revision, weight)| format!("{revision}={weight}")).collect::<Vec<_>>().join(" ")
    };
    let (name, was, is) = (&after.name, shares(before), shares(after));
    let did = format!("{name} goes back from {was} to {is}");
    if after.traffic.main() > before.traffic.main() {
        return format!(
            "{name} goes forward again, from {was} to {is}: the last change was a rollback, and this takes it back; \
             eyot traffic {name} {was} undoes this"
        );
    }
    format!("{did}; another --rollback goes forward again")
}

/// `3` or `v3`.
fn number(text: &str) -> Option<u64> {
    text.strip_prefix('v').unwrap_or(text).parse().ok()
}

fn shadow(text: &str) -> Result<Shadow> {
    let (revision, percent) = text.split_once('=').unwrap_or((text, "100"));
    let pair = number(revision).zip(percent.parse().ok());
    let (revision, percent) = pair.ok_or_else(|| {
        Error::invalid(format!("'{text}' is no shadow"))
            .hint("write REVISION or REVISION=PERCENT, as in --shadow 2=10")
    })?;
    Ok(Shadow { revision, percent })
}

fn shown(output: &CommandOutput, deployment: &Deployment, revisions: &[Revision]) -> String {
    let traffic = &deployment.traffic;
    let total: u64 = traffic.weights.values().map(|weight| u64::from(*weight)).sum();
    let row = |it: &Revision| {
        let share = if it.weight > 0 {
            format!("{:.1} %", f64::from(it.weight) * 100.0 / total as f64)
        } else {
            String::new()
        };
        let role = match &traffic.shadow {
            Some(shadow) if shadow.revision == it.revision => format!("shadow of {} %", shadow.percent),
            _ if it.ready => "ready".to_owned(),
            _ => output.paint(TextTone::Dim, "not loaded"),
        };
        let contents = it.spec.component.iter().chain(it.spec.models.values());
        let digests: Vec<_> = contents.map(|pinned| short(&pinned.digest().to_string())).collect();
        let serves = format!("{} ({})", references(&it.spec), digests.join(", "));
        vec![it.revision.to_string(), it.weight.to_string(), share, role, it.created.to_string(), serves]
    };
    let rows: Vec<_> = revisions.iter().map(row).collect();
    let mut text = table(output, &["REVISION", "WEIGHT", "SHARE", "STATE", "MADE", "SERVES"], &rows);
    if let Some(sticky) = &traffic.sticky {
        text.push_str(&format!("\nrequests of one {sticky} stay on one revision"));
    }
    text
}

/// Enough of a digest to tell two apart: an alias may have named another model since.
fn short(digest: &str) -> String {
    digest.trim_start_matches("sha256:").chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_what_is_none_is_refused() {
        let traffic = |weights: &[&str], shadow: Option<&str>| TrafficCommand {
            name: "a".parse().unwrap(),
            weights: weights.iter().map(|weight| (*weight).to_owned()).collect(),
            sticky: None,
            shadow: shadow.map(str::to_owned),
            rollback: false,
        };
        let split = traffic(&["v1=90", "2=10"], Some("3=5")).traffic().unwrap();
        assert_eq!(split.weights, BTreeMap::from([(1, 90), (2, 10)]));
        assert_eq!(split.shadow, Some(Shadow { revision: 3, percent: 5 }));
        for wrong in [&["1"][..], &["1=-1"], &["x=1"], &["1=1", "1=2"], &["=3"]] {
            assert!(traffic(wrong, None).traffic().is_err(), "{wrong:?}");
        }
        for wrong in ["", "x", "1=300", "1=x"] {
            assert!(traffic(&["1=1"], Some(wrong)).traffic().is_err(), "{wrong}");
        }
    }
}
