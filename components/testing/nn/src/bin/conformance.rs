//! The checks as a command: prints a line for each, and fails when one of them does.

#[path = "../checks.rs"]
mod checks;
#[path = "../models.rs"]
mod models;

use std::process::ExitCode;

fn main() -> ExitCode {
    let results = checks::all();
    for (name, outcome) in &results {
        println!("{outcome} {name}");
    }
    let failed = results.iter().filter(|(_, outcome)| matches!(outcome, checks::Outcome::Fail(_))).count();
    println!("{} checks, {failed} failed", results.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
