//! Rust: which way to a wasm target this machine has.

use std::path::{Path, PathBuf};
use std::process::Command;

use eyot_core::{Error, Result, ResultExt};

use crate::component_source::BuildProfile;
use crate::process::tool_output;

/// The target of components.
const RUST_TARGET: &str = "wasm32-wasip2";
/// What to do where there is no Rust.
const RUST_HINT: &str = "install Rust: https://rustup.rs";

/// How Rust components are built here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RustToolchain {
    /// The target of the rustup toolchain.
    Rustup,
    /// Debian's compiler and library source, with the linker of the rustup toolchain at this path.
    Debian { linkers: PathBuf },
}

impl RustToolchain {
    /// Looks for a way, the simplest first.
    pub fn find() -> Result<Self> {
        let sysroot = PathBuf::from(tool_output("rustc", &["--print", "sysroot"], RUST_HINT)?);
        if sysroot.join("lib/rustlib").join(RUST_TARGET).join("lib").is_dir() {
            return Ok(Self::Rustup);
        }
        let host = tool_output("rustc", &["-vV"], RUST_HINT)?;
        let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
        let linkers = sysroot.join("lib/rustlib").join(host).join("bin");
        let debian = ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/lib/wasm32-wasi", "/usr/src"];
        if debian.iter().all(|path| Path::new(path).exists()) && linkers.join("wasm-component-ld").exists() {
            return Ok(Self::Debian { linkers });
        }
        Err(Error::unavailable(format!("this machine cannot build for {RUST_TARGET}")).hint(format!(
            "rustup target add {RUST_TARGET}; without rustup's server: apt-get install rustc-web cargo-web rust-web-src wasi-libc"
        )))
    }

    /// In words, for eyot doctor.
    pub fn describe(&self) -> String {
        match self {
            Self::Rustup => format!("rustup's target {RUST_TARGET}"),
            Self::Debian { .. } => "Debian's rustc-web with its library source".to_owned(),
        }
    }

    /// The cargo command that builds a component's folder.
    pub(crate) fn command(&self, dir: &Path, profile: BuildProfile) -> Command {
        let mut command = match self {
            Self::Rustup => Command::new("cargo"),
            Self::Debian { linkers } => {
                let mut command = Command::new("/usr/bin/cargo");
                let path = std::env::var_os("PATH").unwrap_or_default();
                let paths =
                    [linkers.clone(), linkers.join("gcc-ld")].into_iter().chain(std::env::split_paths(&path));
                if let Ok(path) = std::env::join_paths(paths) {
                    command.env("PATH", path);
                }
                command
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env(
                        "CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS",
                        "-L/usr/lib/wasm32-wasi -Clink-self-contained=no -Ctarget-feature=+simd128",
                    )
                    .arg("-Zbuild-std=std,panic_abort");
                command
            }
        };
        command.current_dir(dir).args(["build", "--target", RUST_TARGET]);
        match profile {
            BuildProfile::Release => command.arg("--release"),
            // Debugging information would be most of the component, and has to be compiled again by the host.
            BuildProfile::Dev => command.env("CARGO_PROFILE_DEV_DEBUG", "false"),
        };
        command
    }
}

/// Where cargo puts the component that it builds from `dir`.
pub(crate) fn rust_artifact(dir: &Path, profile: BuildProfile) -> Result<PathBuf> {
    let manifest = dir.join("Cargo.toml");
    let arguments =
        ["metadata", "--no-deps", "--format-version", "1", "--manifest-path", &manifest.to_string_lossy()];
    let metadata: serde_json::Value = serde_json::from_str(&tool_output("cargo", &arguments, RUST_HINT)?)
        .map_err(|error| Error::internal("cargo metadata cannot be read").because(error))?;
    let target = metadata["target_directory"].as_str().unwrap_or("target");
    let manifest = manifest.canonicalize().context(|| format!("there is no {}", manifest.display()))?;
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let package =
        packages.iter().find(|package| package["manifest_path"].as_str().map(Path::new) == Some(&manifest));
    let targets = package.and_then(|package| package["targets"].as_array()).cloned().unwrap_or_default();
    let has = |target: &&serde_json::Value, kind: &str| {
        target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|found| found == kind))
    };
    let named = |kind: &str| {
        let found = targets.iter().find(|target| has(target, kind));
        found.and_then(|target| target["name"].as_str()).map(str::to_owned)
    };
    // A library is named with underscores, a program as it is: that is a command.
    let name = named("cdylib").map(|name| name.replace('-', "_")).or_else(|| named("bin"));
    let name = name.ok_or_else(|| {
        Error::invalid(format!("{} builds no component", dir.display()))
            .hint("its Cargo.toml needs [lib] crate-type = [\"cdylib\"], or a src/main.rs for a command")
    })?;
    let folder = match profile {
        BuildProfile::Release => "release",
        BuildProfile::Dev => "debug",
    };
    Ok(Path::new(target).join(RUST_TARGET).join(folder).join(format!("{name}.wasm")))
}
