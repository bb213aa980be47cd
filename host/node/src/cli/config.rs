use clap::Args;
use eyot_core::Result;
use eyot_core::config::Config;

use crate::cli::GlobalOptions;
use crate::output::CommandOutput;

/// Prints the configuration that the other commands would use.
///
/// It is made of the defaults, eyot.toml, EYOT_SECTION__OPTION and the flags, in that order.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot config\n  EYOT_GATEWAY__QUEUE=10 eyot config --set api.listen=127.0.0.1:9090\n  \
    eyot config --schema > eyot.schema.json"
)]
pub(crate) struct ConfigCommand {
    /// Prints the defaults instead, which is every option there is.
    #[arg(long)]
    defaults: bool,
    /// Prints the JSON Schema of eyot.toml instead, for editors and validators.
    #[arg(long, conflicts_with = "defaults")]
    schema: bool,
}

impl ConfigCommand {
    pub(crate) fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        if self.schema {
            let schema = Config::schema();
            return output.result(&schema, |_| format!("{schema:#}"));
        }
        let config = if self.defaults { Config::default() } else { global.config()? };
        output.result(&config, |_| config.to_toml())
    }
}
