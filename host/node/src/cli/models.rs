use clap::Args;
use eyot_core::Result;
use serde_json::Value;

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, table};
use crate::session::ApiSession;

/// Lists registered models, or one model's versions and aliases.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot models\n  eyot models digits --json")]
pub(crate) struct ModelsCommand {
    /// A registered model.
    name: Option<String>,
}

impl ModelsCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        let Some(name) = self.name else {
            let models = session.client().models().await?;
            return output.result(&models, |output| {
                if models.is_empty() {
                    return "no model is registered; a pipeline's register step does that".to_owned();
                }
                let rows: Vec<_> = models.iter().map(|model| cells(model, &["name", "latest"])).collect();
                table(output, &["NAME", "LATEST"], &rows)
            });
        };
        let model = session.client().model(&name).await?;
        output.result(&model, |output| {
            let versions = model["versions"].as_array().cloned().unwrap_or_default();
            let rows: Vec<_> = versions
                .iter()
                .map(|version| cells(version, &["version", "aliases", "run", "source"]))
                .collect();
            table(output, &["VERSION", "ALIASES", "RUN", "SOURCE"], &rows)
        })
    }
}

fn cells(value: &Value, fields: &[&str]) -> Vec<String> {
    let text = |field: &&str| match &value[*field] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    fields.iter().map(text).collect()
}
