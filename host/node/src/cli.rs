//! The command line: one file a command under `cli/`.

mod audit;
mod backend;
mod build;
mod config;
mod deploy;
mod deployments;
mod dev;
mod doctor;
mod export;
mod gc;
mod import;
mod inspect;
mod invoke;
mod key;
mod logs;
mod ls;
mod models;
mod new;
mod policy;
mod predict;
mod pull;
mod push;
mod release;
mod run;
mod runs;
mod sign;
mod test;
mod token;
mod traffic;
mod undeploy;
pub(crate) mod up;
mod verify;
mod version;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use eyot_core::Result;
use eyot_core::config::{Config, Setting};

use crate::output::{Colour, Output};

/// Machine learning on WebAssembly: track, train, register, deploy and predict with one binary.
#[derive(Debug, Parser)]
#[command(
    name = "eyot",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Prints JSON instead of words.
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// When to colour.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        env = "EYOT_COLOR",
        help_heading = "Global options"
    )]
    color: Colour,
    /// The server to talk to [default: the one running on the data folder; without one, the folder itself].
    #[arg(long, global = true, env = "EYOT_SERVER", value_name = "URL", help_heading = "Global options")]
    server: Option<String>,
    /// The data folder; short for --set data.dir=DIR.
    #[arg(long, global = true, env = "EYOT_DATA", value_name = "DIR", help_heading = "Global options")]
    data: Option<PathBuf>,
    /// A configuration file [default: ./eyot.toml, if there is one].
    #[arg(long, global = true, env = "EYOT_CONFIG", value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// Sets one option of the configuration; may be repeated.
    #[arg(long = "set", global = true, value_name = "NAME=VALUE", help_heading = "Global options")]
    settings: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Up),
    New(new::New),
    Build(build::Build),
    Test(test::Test),
    Invoke(invoke::Invoke),
    Dev(dev::Dev),
    Push(push::Push),
    Pull(pull::Pull),
    Ls(ls::Ls),
    Inspect(inspect::Inspect),
    Run(run::Run),
    Runs(runs::Runs),
    Models(models::Models),
    Deploy(deploy::Deploy),
    Undeploy(undeploy::Undeploy),
    Traffic(traffic::Traffic),
    Deployments(deployments::Deployments),
    Logs(logs::ShowLogs),
    Predict(predict::Predict),
    Backend(backend::Backend),
    Verify(verify::Verify),
    Release(release::Release),
    Export(export::Export),
    Import(import::Import),
    Key(key::Key),
    Sign(sign::Sign),
    Policy(policy::Policy),
    Audit(audit::Audit),
    Gc(gc::Gc),
    Token(token::Token),
    Doctor(doctor::Doctor),
    Config(config::Show),
    Version(version::Version),
}

impl Arguments {
    pub(crate) fn output(&self) -> Output {
        Output::new(self.global.json, self.global.color)
    }
}

impl Global {
    /// The configuration: defaults, file, environment, flags.
    pub(crate) fn config(&self) -> Result<Config> {
        let mut settings = Setting::from_environment(std::env::vars());
        if let Some(dir) = &self.data {
            let value = dir.to_string_lossy().into_owned();
            settings.push(Setting { name: "data.dir".to_owned(), value, origin: "--data".to_owned() });
        }
        for text in &self.settings {
            settings.push(Setting::from_flag(text)?);
        }
        let beside = PathBuf::from("eyot.toml");
        let file = self.config.clone().or_else(|| beside.is_file().then_some(beside));
        Config::load(file.as_deref(), &settings)
    }

    pub(crate) fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, output: &Output) -> Result<()> {
    let Arguments { global, command } = arguments;
    let global = &global;
    match command {
        Command::Up(command) => command.run(global, output).await,
        Command::New(command) => command.run(output),
        Command::Build(command) => command.run(global, output).await,
        Command::Test(command) => command.run(global, output).await,
        Command::Invoke(command) => command.run(global, output).await,
        Command::Dev(command) => command.run(global, output).await,
        Command::Push(command) => command.run(global, output).await,
        Command::Pull(command) => command.run(global, output).await,
        Command::Ls(command) => command.run(global, output).await,
        Command::Inspect(command) => command.run(global, output).await,
        Command::Run(command) => command.run(global, output).await,
        Command::Runs(command) => command.run(global, output).await,
        Command::Models(command) => command.run(global, output).await,
        Command::Deploy(command) => command.run(global, output).await,
        Command::Undeploy(command) => command.run(global, output).await,
        Command::Traffic(command) => command.run(global, output).await,
        Command::Deployments(command) => command.run(global, output).await,
        Command::Logs(command) => command.run(global, output).await,
        Command::Predict(command) => command.run(global, output).await,
        Command::Backend(command) => command.run(global, output).await,
        Command::Verify(command) => command.run(global, output).await,
        Command::Release(command) => command.run(global, output).await,
        Command::Export(command) => command.run(global, output).await,
        Command::Import(command) => command.run(global, output).await,
        Command::Key(command) => command.run(output),
        Command::Sign(command) => command.run(global, output).await,
        Command::Policy(command) => command.run(global, output).await,
        Command::Audit(command) => command.run(global, output).await,
        Command::Gc(command) => command.run(global, output).await,
        Command::Token(command) => command.run(global, output).await,
        Command::Doctor(command) => command.run(global, output).await,
        Command::Config(command) => command.run(global, output),
        Command::Version(command) => command.run(output),
    }
}
