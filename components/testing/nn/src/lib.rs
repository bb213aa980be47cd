//! `wasi:nn` as published, checked from inside of a guest: one check a case, each with a name.

mod checks;
mod models;

#[eyot_guest::component]
mod steps {
    use eyot_guest::{Artifact, Result};

    use crate::checks::{self, Outcome};

    /// The outcome of one check.
    pub struct Checked {
        /// What was checked: `type/fp16/same`.
        pub name: String,
        /// `pass`, `unsupported` where this host says that it cannot do that, or `fail`.
        pub outcome: String,
        /// Why it is no pass.
        pub reason: String,
    }

    /// Answers `pass`, or what does not hold. The model is y = x + 1 over FP32 [n, 2].
    pub fn conformance(model: Artifact) -> Result<String> {
        checks::adds_one(&model.bytes()?)?;
        let failed = |(name, outcome): (String, Outcome)| match outcome {
            Outcome::Fail(reason) => Some(format!("{name}: {reason}")),
            Outcome::Pass | Outcome::Unsupported(_) => None,
        };
        let failed: Vec<String> = checks::all().into_iter().filter_map(failed).collect();
        if failed.is_empty() { Ok("pass".to_owned()) } else { Err(failed.join("; ").into()) }
    }

    /// Every check and what came of it.
    pub fn report() -> Vec<Checked> {
        let checked = |(name, outcome): (String, Outcome)| {
            let (outcome, reason) = match outcome {
                Outcome::Pass => ("pass", String::new()),
                Outcome::Unsupported(reason) => ("unsupported", reason),
                Outcome::Fail(reason) => ("fail", reason),
            };
            Checked { name, outcome: outcome.to_owned(), reason }
        };
        checks::all().into_iter().map(checked).collect()
    }
}
