//! The binary `eyot`: composition of every crate, the command line, nothing else.

mod backup;
mod call;
mod claimed_database;
mod cli;
mod credentials;
mod durable_files;
mod folder;
mod grants;
mod keys;
mod local;
mod model_path;
mod offered;
mod output;
mod platform;
mod plugs;
mod publisher;
mod runner;
mod session;
mod staging;
mod stores;
mod visible;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = cli::CliArguments::parse_from(cli::in_one_place(std::env::args_os().collect()));
    let output = arguments.output();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("eyot").build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(cli::run(arguments, &output));
            // Threads that still compute (a cancelled step) do not keep a finished command waiting.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(eyot_core::Error::internal("the runtime does not start").because(error)),
    };
    match outcome {
        Ok(()) => ExitCode::from(output.status()),
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}
