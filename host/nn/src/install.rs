//! Installing back ends: from their wheels on PyPI, which pip fetches and this module checks.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use eyot_core::{Digest, Digester, Error, Result, ResultExt as _};

/// A back end that can be installed.
#[derive(Debug)]
pub struct BackendPackage {
    /// The back end's name, and its project's on PyPI.
    pub name: &'static str,
    /// The version that is installed.
    pub version: &'static str,
    /// What is gained by it.
    pub gain: &'static str,
    /// The sha256 of the wheel for CPython 3.11 on x86-64 Linux, as PyPI publishes it. A Python's own ABI
    /// tag stands in its name, but the libraries inside are the same for all of them.
    sha256: &'static str,
    /// What is taken out of it, and what it is called once installed. The last is the library that is
    /// opened: its presence is what makes the back end installed.
    members: &'static [(&'static str, &'static str)],
}

/// The tag of the platform for which there are wheels.
const PLATFORM: &str = "manylinux_2_28_x86_64";

pub static ONNXRUNTIME: BackendPackage = BackendPackage {
    name: "onnxruntime",
    version: "1.32.0",
    gain: "several times as fast as the built-in back end",
    sha256: "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
    members: &[
        ("onnxruntime/LICENSE", "LICENSE"),
        ("onnxruntime/ThirdPartyNotices.txt", "ThirdPartyNotices.txt"),
        ("onnxruntime/capi/libonnxruntime.so.1.32.0", "libonnxruntime.so"),
    ],
};

pub static OPENVINO: BackendPackage = BackendPackage {
    name: "openvino",
    version: "2026.4.1",
    gain: "computes at bf16, twice as fast where the processor has it; Intel's graphics",
    sha256: "2d22b1da03f7caf74df30e9f6417d0ab2f637e4a38e08e1dcd294d2c37407aaf",
    // The libraries find each other by these names, in the folder of the one that asks.
    members: &[
        ("openvino-2026.4.1.dist-info/licenses/LICENSE", "LICENSE"),
        (
            "openvino-2026.4.1.dist-info/licenses/licensing/runtime-third-party-programs.txt",
            "runtime-third-party-programs.txt",
        ),
        (
            "openvino-2026.4.1.dist-info/licenses/licensing/onednn_third-party-programs.txt",
            "onednn_third-party-programs.txt",
        ),
        (
            "openvino-2026.4.1.dist-info/licenses/licensing/onetbb_third-party-programs.txt",
            "onetbb_third-party-programs.txt",
        ),
        ("openvino/libs/libtbb.so.12", "libtbb.so.12"),
        ("openvino/libs/libtbbmalloc.so.2", "libtbbmalloc.so.2"),
        ("openvino/libs/libtbbbind_2_5.so.3", "libtbbbind_2_5.so.3"),
        ("openvino/libs/libhwloc.so.15", "libhwloc.so.15"),
        ("openvino/libs/libopenvino_onnx_frontend.so.2641", "libopenvino_onnx_frontend.so.2641"),
        ("openvino/libs/libopenvino_intel_cpu_plugin.so", "libopenvino_intel_cpu_plugin.so"),
        ("openvino/libs/libopenvino_intel_gpu_plugin.so", "libopenvino_intel_gpu_plugin.so"),
        ("openvino/libs/cache.json", "cache.json"),
        ("openvino/libs/libopenvino.so.2641", "libopenvino.so.2641"),
        ("openvino/libs/libopenvino_c.so.2641", "libopenvino_c.so.2641"),
    ],
};

/// Whether this build has a back end of its own.
const HAS_TRACT: bool = cfg!(feature = "tract");

/// Every back end that can be installed, the preferred one first.
pub static ALL: [&BackendPackage; 2] = [&ONNXRUNTIME, &OPENVINO];

/// The back end of that name.
///
/// Fails with `NotFound` naming those there are.
pub fn named(name: &str) -> Result<&'static BackendPackage> {
    ALL.into_iter().find(|package| package.name == name).ok_or_else(|| {
        let names = ALL.map(|package| package.name).join(" and ");
        Error::not_found(format!("there is no back end '{name}' to install")).hint(format!(
            "{names} can be installed{}",
            if HAS_TRACT { "; tract is always here" } else { "" }
        ))
    })
}

impl BackendPackage {
    /// The library to open, if it is installed under `dir`.
    pub fn installed(&self, dir: &Path) -> Option<PathBuf> {
        let (_, library) = self.members.last()?;
        let path = self.folder(dir).join(library);
        path.is_file().then_some(path)
    }

    fn folder(&self, dir: &Path) -> PathBuf {
        dir.join(self.name).join(self.version)
    }

    /// How to get it.
    pub fn hint(&self) -> String {
        format!("eyot backend install {}", self.name)
    }

    fn check_machine(&self) -> Result<()> {
        match (std::env::consts::OS, std::env::consts::ARCH) {
            ("linux", "x86_64") => Ok(()),
            (os, arch) => Err(Error::unsupported(format!(
                "{} {} is not offered here for {arch} {os}",
                self.name, self.version
            ))
            .hint(match HAS_TRACT {
                true => "models run on tract, which is always here",
                false => "build eyot with its feature tract, which runs models here",
            })),
        }
    }

    /// What to hand to `python3 -m pip` so that the wheel lies in `into`: pip knows the user's own index,
    /// proxy and certificates.
    pub fn pip_arguments(&self, into: &Path) -> Result<Vec<String>> {
        self.check_machine()?;
        let arguments = [
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--implementation=cp",
            "--python-version=3.11",
            "--abi=cp311",
        ];
        let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        arguments.extend([
            format!("--platform={PLATFORM}"),
            format!("--dest={}", into.display()),
            format!("{}=={}", self.name, self.version),
        ]);
        Ok(arguments)
    }

    /// Checks a wheel and takes the libraries out of it.
    ///
    /// Fails with `Corrupt` when the wheel is not the published one.
    pub fn install(&self, dir: &Path, file: &Path) -> Result<PathBuf> {
        self.check_machine()?;
        let found = digest(file).context(|| format!("cannot read {}", file.display()))?;
        if found.hex() != self.sha256 {
            let Self { name, version, sha256, .. } = self;
            return Err(Error::corrupt(format!(
                "{} is not the published wheel: its sha256 is {}",
                file.display(),
                found.hex()
            ))
            .hint(format!("fetch {name} {version} from PyPI again; its sha256 is {sha256}")));
        }
        let target = self.folder(dir);
        fs::create_dir_all(&target).context(|| format!("cannot create {}", target.display()))?;
        self.extract(file, &target).context(|| format!("cannot unpack {}", file.display()))
    }

    fn extract(&self, file: &Path, target: &Path) -> Result<PathBuf> {
        let broken =
            |error: zip::result::ZipError| Error::corrupt("the wheel cannot be unpacked").because(error);
        let mut archive = zip::ZipArchive::new(fs::File::open(file)?).map_err(broken)?;
        let mut last = target.to_owned();
        for (member, name) in self.members {
            last = write(&mut archive, member, target, name)?;
        }
        Ok(last)
    }
}

fn digest(file: &Path) -> Result<Digest> {
    let mut file = fs::File::open(file)?;
    let mut digester = Digester::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digester.finish()),
            length => digester.update(&buffer[..length]),
        }
    }
}

fn write(
    archive: &mut zip::ZipArchive<fs::File>,
    member: &str,
    target: &Path,
    name: &str,
) -> Result<PathBuf> {
    let broken =
        |error: zip::result::ZipError| Error::corrupt(format!("the wheel has no {member}")).because(error);
    let mut member = archive.by_name(member).map_err(broken)?;
    let mut file = tempfile::NamedTempFile::new_in(target)?;
    std::io::copy(&mut member, &mut file)?;
    file.flush()?;
    file.as_file().sync_all()?;
    let path = target.join(name);
    file.persist(&path).map_err(|error| error.error)?;
    Ok(path)
}
