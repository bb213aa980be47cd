//! Installing ONNX Runtime: from the wheel on PyPI, which pip fetches and this module checks.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use eyot_core::{Digest, Digester, Error, Result, ResultExt as _};

/// The version that is installed.
pub const VERSION: &str = "1.32.0";

/// What the library is called once installed.
const LIBRARY: &str = "libonnxruntime.so";

/// The library, if it is installed under `dir`.
pub fn installed(dir: &Path) -> Option<PathBuf> {
    let path = folder(dir).join(LIBRARY);
    path.is_file().then_some(path)
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("onnxruntime").join(VERSION)
}

/// The wheel for this machine: its name on PyPI and its sha256 as PyPI publishes it. A Python's own
/// ABI tag stands in the name, but the library inside is the same for all of them.
fn wheel() -> Result<(&'static str, &'static str)> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok(("manylinux_2_28_x86_64", WHEEL_SHA256)),
        (os, arch) => {
            Err(Error::unsupported(format!("onnxruntime {VERSION} is not offered here for {arch} {os}"))
                .hint("models run on tract, which is always here"))
        }
    }
}

const WHEEL_SHA256: &str = "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d";

/// What to hand to `python3 -m pip` so that the wheel lies in `into`: pip knows the user's own index,
/// proxy and certificates.
pub fn pip_arguments(into: &Path) -> Result<Vec<String>> {
    let (platform, _) = wheel()?;
    let into = into.to_string_lossy().into_owned();
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
        format!("--platform={platform}"),
        format!("--dest={into}"),
        format!("onnxruntime=={VERSION}"),
    ]);
    Ok(arguments)
}

/// Checks a wheel and takes the library out of it.
///
/// Fails with `Corrupt` when the wheel is not the published one.
pub fn install_onnxruntime(dir: &Path, file: &Path) -> Result<PathBuf> {
    let (_, expected) = wheel()?;
    let found = digest(file).context(|| format!("cannot read {}", file.display()))?;
    if found.hex() != expected {
        return Err(Error::corrupt(format!(
            "{} is not the published wheel: its sha256 is {}",
            file.display(),
            found.hex()
        ))
        .hint(format!("fetch onnxruntime {VERSION} from PyPI again; its sha256 is {expected}")));
    }
    let target = folder(dir);
    fs::create_dir_all(&target).context(|| format!("cannot create {}", target.display()))?;
    extract(file, &target).context(|| format!("cannot unpack {}", file.display()))
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

fn extract(file: &Path, target: &Path) -> Result<PathBuf> {
    let broken = |error: zip::result::ZipError| Error::corrupt("the wheel cannot be unpacked").because(error);
    let mut archive = zip::ZipArchive::new(fs::File::open(file)?).map_err(broken)?;
    for (member, name) in
        [("onnxruntime/LICENSE", "LICENSE"), ("onnxruntime/ThirdPartyNotices.txt", "ThirdPartyNotices.txt")]
    {
        write(&mut archive, member, target, name)
            .map_err(|error| error.context(format!("{member} is missing")))?;
    }
    // Last, since its presence is what makes the back end installed.
    let member = format!("onnxruntime/capi/{LIBRARY}.{VERSION}");
    write(&mut archive, &member, target, LIBRARY)
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
