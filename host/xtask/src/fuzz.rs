//! Runs the targets of `tests/fuzz`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{output, root, run, say, target};
use crate::setup;

/// A minute finds what is shallow; how many inputs that is depends on the target.
const TARGET_SECONDS: u64 = 60;
/// One input that takes longer, or more memory, is a fault.
const INPUT_TIMEOUT_SECONDS: u64 = 10;
const MEMORY_LIMIT_MIB: u64 = 2048;
/// Those of the data plane and of guests, which are built only for them.
const GATEWAY_TARGETS: [&str; 5] = ["number", "request", "binary_request", "call", "reflection"];
const NIGHTLY_TOOLCHAIN: &str = "+nightly";

/// Runs one target, or each, for a minute or for so many inputs.
pub(crate) fn run_targets(target_name: Option<&str>, inputs: Option<u64>) -> Result<()> {
    let Some(program) = setup::CARGO_FUZZ.installed()? else { return Ok(()) };
    nightly()?;
    let targets = targets()?;
    let chosen: Vec<_> =
        targets.iter().filter(|name| target_name.is_none_or(|chosen| chosen == *name)).collect();
    if chosen.is_empty() {
        bail!("there is no such target; {} are", targets.join(", "));
    }
    // Built for other features and with other flags than all else.
    let build = target()?.join("fuzz");
    for name in chosen {
        say(&format!("fuzzing {name}"));
        // What is found goes beside the build; what is kept of it is put into the corpus by hand.
        let found = build.join("found").join(name);
        std::fs::create_dir_all(&found)?;
        let mut fuzz = Command::new(&program);
        fuzz.args(["run", "--fuzz-dir"]).arg(root().join("tests/fuzz")).args(["--sanitizer", "none"]);
        if GATEWAY_TARGETS.contains(&name.as_str()) {
            fuzz.args(["--features", "gateway"]);
        }
        fuzz.arg(name).arg(&found).arg(root().join("tests/fuzz/corpus").join(name)).arg("--");
        fuzz.arg(format!("-artifact_prefix={}/failed-", found.display()));
        fuzz.arg(format!("-timeout={INPUT_TIMEOUT_SECONDS}"))
            .arg(format!("-rss_limit_mb={MEMORY_LIMIT_MIB}"));
        match inputs {
            Some(inputs) => fuzz.arg(format!("-runs={inputs}")),
            None => fuzz.arg(format!("-max_total_time={TARGET_SECONDS}")),
        };
        fuzz.arg("-print_final_stats=1").current_dir(root()).env("RUSTUP_TOOLCHAIN", "nightly");
        fuzz.env("CARGO_TARGET_DIR", &build);
        run(&mut fuzz)?;
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let folder = root().join("tests/fuzz/targets");
    let files = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths: Vec<PathBuf> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    let names = paths.iter().filter_map(|path| path.file_stem()?.to_str());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

/// The counters that the fuzzer looks at are an unstable option of the compiler.
fn nightly() -> Result<()> {
    if output(Command::new("rustc").args([NIGHTLY_TOOLCHAIN, "--version"])).is_ok() {
        return Ok(());
    }
    say("installing a nightly compiler, whose coverage the fuzzer follows");
    run(Command::new("rustup").args(["toolchain", "install", "nightly", "--profile", "minimal"]))
}
