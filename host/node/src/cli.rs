//! The command line: one file a command under `cli/`.

mod arguments;
mod audit;
mod backend;
mod backup;
mod build;
mod config;
mod deploy;
mod deployments;
mod dev;
mod doctor;
mod events;
mod export;
mod gc;
mod import;
mod inspect;
mod invoke;
mod key;
mod login;
mod logs;
mod ls;
mod models;
mod move_database;
mod new;
mod policy;
mod predict;
mod project;
mod pull;
mod push;
mod release;
mod restore;
mod run;
mod runs;
mod service;
mod sign;
mod test;
mod token;
mod traffic;
mod undeploy;
pub(crate) mod up;
mod user;
mod verify;
mod version;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::{Args, Parser, Subcommand};
use eyot_core::config::{Config, Setting};
use eyot_core::{ProjectName, Result};

use crate::folder;
use crate::output::{ColourChoice, CommandOutput};

pub(crate) use arguments::in_one_place;

/// Machine learning on WebAssembly: track, train, register, deploy and predict with one binary.
#[derive(Debug, Parser)]
#[command(
    name = "eyot",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct CliArguments {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: CliCommand,
}

/// Options of every command, before or after it. Where one that has one value is given several times, the last counts.
#[derive(Debug, Args)]
pub(crate) struct GlobalOptions {
    /// Prints JSON instead of words.
    #[arg(long, global = true, overrides_with = "json", help_heading = "Global options")]
    json: bool,
    /// When to colour.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        overrides_with = "color",
        env = "EYOT_COLOR",
        help_heading = "Global options"
    )]
    color: ColourChoice,
    /// The server to talk to [default: the one running on the data folder; without one, the folder itself].
    #[arg(
        long,
        global = true,
        overrides_with = "server",
        env = "EYOT_SERVER",
        value_name = "URL",
        help_heading = "Global options"
    )]
    server: Option<String>,
    /// The project that the command is about [default: the one of the token that is shown, else default].
    #[arg(
        long,
        global = true,
        overrides_with = "project",
        env = "EYOT_PROJECT",
        value_name = "NAME",
        help_heading = "Global options"
    )]
    project: Option<ProjectName>,
    /// The data folder; short for --set data.dir=DIR.
    #[arg(
        long,
        global = true,
        overrides_with = "data",
        env = "EYOT_DATA",
        value_name = "DIR",
        help_heading = "Global options"
    )]
    data: Option<PathBuf>,
    /// A configuration file [default: ./eyot.toml, if there is one].
    #[arg(
        long,
        global = true,
        overrides_with = "config",
        env = "EYOT_CONFIG",
        value_name = "FILE",
        help_heading = "Global options"
    )]
    config: Option<PathBuf>,
    /// Sets one option of the configuration; may be repeated.
    #[arg(long = "set", global = true, value_name = "NAME=VALUE", help_heading = "Global options")]
    settings: Vec<String>,
    /// The data folder that this command works on itself, without a server.
    #[arg(skip)]
    worked_on: OnceLock<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    Up(up::UpCommand),
    New(new::NewCommand),
    Build(build::BuildCommand),
    Test(test::TestCommand),
    Invoke(invoke::InvokeCommand),
    Dev(dev::DevCommand),
    Push(push::PushCommand),
    Pull(pull::PullCommand),
    Ls(ls::LsCommand),
    Inspect(inspect::InspectCommand),
    Run(run::RunCommand),
    Runs(runs::RunsCommand),
    Models(models::ModelsCommand),
    Deploy(deploy::DeployCommand),
    Undeploy(undeploy::UndeployCommand),
    Traffic(traffic::TrafficCommand),
    Deployments(deployments::DeploymentsCommand),
    Logs(logs::LogsCommand),
    Events(events::EventsCommand),
    Predict(predict::PredictCommand),
    Backend(backend::BackendCommand),
    Verify(verify::VerifyCommand),
    Release(release::ReleaseCommand),
    Export(export::ExportCommand),
    Import(import::ImportCommand),
    Key(key::KeyCommand),
    Sign(sign::SignCommand),
    Policy(policy::PolicyCommand),
    Audit(audit::AuditCommand),
    Gc(gc::GcCommand),
    User(user::UserCommand),
    Project(project::ProjectCommand),
    Service(service::ServiceCommand),
    Backup(backup::BackupCommand),
    Restore(restore::RestoreCommand),
    Move(move_database::MoveCommand),
    Token(token::TokenCommand),
    Login(login::LoginCommand),
    Logout(login::LogoutCommand),
    Whoami(login::WhoamiCommand),
    Doctor(doctor::DoctorCommand),
    Config(config::ConfigCommand),
    Version(version::VersionCommand),
}

impl CliArguments {
    pub(crate) fn output(&self) -> CommandOutput {
        CommandOutput::new(self.global.json, self.global.color)
    }
}

impl GlobalOptions {
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

    /// The folder of the configuration, where another was named than the one here.
    pub(crate) fn config_dir(&self) -> Option<PathBuf> {
        Some(self.config.as_ref()?.parent()?.to_owned())
    }

    pub(crate) fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    pub(crate) fn project(&self) -> Option<&ProjectName> {
        self.project.as_ref()
    }

    /// The arguments that say the same to another process, which speaks JSON.
    pub(crate) fn repeated(&self) -> Vec<OsString> {
        let mut repeated: Vec<OsString> = vec!["--json".into(), "--color".into(), "never".into()];
        for (option, value) in [("--data", &self.data), ("--config", &self.config)] {
            repeated.extend(value.iter().flat_map(|value| [option.into(), value.into()]));
        }
        repeated.extend(self.settings.iter().flat_map(|setting| ["--set".into(), setting.into()]));
        repeated
    }

    pub(crate) fn note_work_on(&self, dir: &Path) {
        let _ = self.worked_on.set(dir.to_owned());
    }
}

/// Runs the command. A server that waits for the folder that the command works on is waited for in turn: what was
/// deployed there serves when the command is over.
pub(crate) async fn run(arguments: CliArguments, output: &CommandOutput) -> Result<()> {
    let CliArguments { global, command } = arguments;
    command.run(&global, output).await?;
    match global.worked_on.get() {
        Some(dir) => folder::wait_for_start(dir).await,
        None => Ok(()),
    }
}

impl CliCommand {
    async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        match self {
            CliCommand::Up(command) => command.run(global, output).await,
            CliCommand::New(command) => command.run(output),
            CliCommand::Build(command) => command.run(global, output).await,
            CliCommand::Test(command) => command.run(global, output).await,
            CliCommand::Invoke(command) => command.run(global, output).await,
            CliCommand::Dev(command) => command.run(global, output).await,
            CliCommand::Push(command) => command.run(global, output).await,
            CliCommand::Pull(command) => command.run(global, output).await,
            CliCommand::Ls(command) => command.run(global, output).await,
            CliCommand::Inspect(command) => command.run(global, output).await,
            CliCommand::Run(command) => command.run(global, output).await,
            CliCommand::Runs(command) => command.run(global, output).await,
            CliCommand::Models(command) => command.run(global, output).await,
            CliCommand::Deploy(command) => command.run(global, output).await,
            CliCommand::Undeploy(command) => command.run(global, output).await,
            CliCommand::Traffic(command) => command.run(global, output).await,
            CliCommand::Deployments(command) => command.run(global, output).await,
            CliCommand::Logs(command) => command.run(global, output).await,
            CliCommand::Events(command) => command.run(global, output).await,
            CliCommand::Predict(command) => command.run(global, output).await,
            CliCommand::Backend(command) => command.run(global, output).await,
            CliCommand::Verify(command) => command.run(global, output).await,
            CliCommand::Release(command) => command.run(global, output).await,
            CliCommand::Export(command) => command.run(global, output).await,
            CliCommand::Import(command) => command.run(global, output).await,
            CliCommand::Key(command) => command.run(output),
            CliCommand::Sign(command) => command.run(global, output).await,
            CliCommand::Policy(command) => command.run(global, output).await,
            CliCommand::Audit(command) => command.run(global, output).await,
            CliCommand::Gc(command) => command.run(global, output).await,
            CliCommand::User(command) => command.run(global, output).await,
            CliCommand::Project(command) => command.run(global, output).await,
            CliCommand::Service(command) => command.run(global, output).await,
            CliCommand::Backup(command) => command.run(global, output).await,
            CliCommand::Restore(command) => command.run(global, output).await,
            CliCommand::Move(command) => command.run(global, output).await,
            CliCommand::Token(command) => command.run(global, output).await,
            CliCommand::Login(command) => command.run(global, output).await,
            CliCommand::Logout(command) => command.run(global, output).await,
            CliCommand::Whoami(command) => command.run(global, output).await,
            CliCommand::Doctor(command) => command.run(global, output).await,
            CliCommand::Config(command) => command.run(global, output),
            CliCommand::Version(command) => command.run(output),
        }
    }
}
