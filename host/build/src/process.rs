//! Running the tools of others.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use eyot_core::{Error, Result, ResultExt};

use crate::reporter::BuildReporter;

/// Runs a tool; each line that it says is progress, and all of them are the error if it fails.
pub(crate) fn run_tool(mut tool: Command, name: &str, reporter: &dyn BuildReporter) -> Result<()> {
    let program = tool.get_program().to_string_lossy().into_owned();
    let unusable = || format!("{program} cannot be run");
    tool.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = tool.spawn().context(unusable)?;
    let mut said = String::new();
    for line in child.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
        let line = line.unwrap_or_default();
        reporter.progress(line.trim());
        said.push_str(&line);
        said.push('\n');
    }
    if child.wait().context(unusable)?.success() {
        return Ok(());
    }
    Err(Error::failed(format!("{name} does not build:\n{}", said.trim_end())))
}

/// What a program prints; `missing` says what to do where it is not there.
pub(crate) fn tool_output(program: &str, arguments: &[&str], missing: &str) -> Result<String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| {
        Error::unavailable(format!("{program} cannot be run")).because(error).hint(missing)
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let first = arguments.first().copied().unwrap_or_default();
        return Err(Error::failed(format!("{program} {first}: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
