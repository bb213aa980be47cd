//! What `cargo xtask dist` packs is installed and used as a newcomer would.

use std::path::{Path, PathBuf};
use std::process::Command;

use eyot_tests::{Eyot, fixture, path, program};

use crate::world::{World, text};

/// Asks the server of its first argument with the client of the installed package, and uses the guest SDK beside it.
const CLIENT: &str = r#"
import sys
import eyot

client = eyot.Client(sys.argv[1])
x = eyot.Tensor.of("X", "FP32", [2, 4], [5.1, 3.5, 1.4, 0.2, 6.7, 3.0, 5.2, 2.3])
outputs = client.infer("iris", [x])
print(list(outputs["label"].values()), outputs["label"].dtype, outputs["label"].shape)
print(client.metadata("iris")["inputs"][0]["name"], client.ready("iris"), client.ready("absent"))
try:
    client.infer("iris", [eyot.Tensor.of("X", "FP32", [1], [0.0])], version=1)
except eyot.ServerError as error:
    print(error.status, "input 'X'" in error.message)

@eyot.function
def double(value: int) -> int:
    return 2 * value

print(double(4), hasattr(eyot, "absent"))
"#;

fn succeeds(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let (printed, said) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?} ended with {}\n{printed}\n{said}", done.status);
    printed.into_owned()
}

/// The packages of the program under test, without its debug information; none where a tool is missing.
fn packed(world: &World) -> Option<PathBuf> {
    let [strip, _] = [program("strip")?, program("python3")?];
    let (stripped, folder) = (world.dir.path().join("eyot"), world.dir.path().join("packages"));
    let built = PathBuf::from(world.eyot.command(&[]).get_program());
    succeeds(Command::new(strip).arg("-o").arg(&stripped).arg(&built));
    let mut xtask = Command::new(built.with_file_name("xtask"));
    // As cargo runs it.
    xtask.env("CARGO_MANIFEST_DIR", path("host/xtask"));
    succeeds(xtask.args(["dist", "--binary"]).arg(&stripped).arg("--out").arg(&folder));
    Some(folder)
}

/// The one file of a folder with this extension.
fn only(folder: &Path, extension: &str) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|found| found == extension)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn a_packed_program_is_installed_and_serves() {
    let world = World::new();
    let Some(packages) = packed(&world) else { return };
    wheel(&world, &only(&packages, "whl"));
    debian(&world, &only(&packages, "deb"));
    if program("buildah").is_some() {
        let said = succeeds(Command::new("bash").arg(path("tests/it/packages/container.sh")).arg(&packages));
        assert_eq!(said.lines().last(), Some("container.sh: ok"));
    }
}

/// In a virtual environment without anything else: its program serves, its module asks.
fn wheel(world: &World, wheel: &Path) {
    let folder = world.dir.path().join("environment");
    succeeds(Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(&folder));
    let python = folder.join("bin/python");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--python"]).arg(&python).args(["install", "--quiet", "--no-index", "--no-deps"]);
    succeeds(pip.arg(wheel));
    let eyot = Eyot::with_binary(folder.join("bin/eyot"), world.dir.path().join("of-the-wheel")).unwrap();
    let server = eyot.up().unwrap();
    eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    // Apart from the environment of the test, which has other packages.
    let mut client = Command::new(python);
    client.arg("-I").args(["-c", CLIENT, &server.gateway]);
    assert_eq!(succeeds(&mut client), "[0, 2] INT64 (2,)\nX True False\n400 True\n8 False\n");
    server.stop().unwrap();
}

/// By the package manager into a folder of its own: every file is whole, the program runs, the unit is right, and what
/// is purged is gone.
fn debian(world: &World, package: &Path) {
    let Some(dpkg) = program("dpkg") else { return };
    let root = world.dir.path().join("debian");
    std::fs::create_dir_all(root.join("var/lib/dpkg/updates")).unwrap();
    std::fs::create_dir_all(root.join("var/lib/dpkg/info")).unwrap();
    std::fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let manage = |arguments: &[&str]| {
        let mut dpkg = Command::new(&dpkg);
        // What it depends on is not in that folder, and nobody but root may unpack for root.
        dpkg.arg("--root").arg(&root).args([
            "--force-depends",
            "--force-not-root",
            "--force-script-chrootless",
        ]);
        succeeds(dpkg.arg("--log=/dev/null").args(arguments))
    };
    manage(&["--install", text(package)]);
    assert_eq!(manage(&["--verify", "eyot"]), "");
    let version = succeeds(Command::new(root.join("usr/bin/eyot")).arg("version"));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    // The settings of the service are settings.
    let settings = text(&root.join("etc/eyot/eyot.toml")).to_owned();
    let config = world.eyot.json(&["config", "--config", &settings]).unwrap();
    assert_eq!(config["data"]["backends"], "/var/lib/eyot/backends");
    if let Some(analyze) = program("systemd-analyze") {
        // Beside this machine's own units, which it starts after, with the program where it is here.
        let unit = std::fs::read_to_string(root.join("usr/lib/systemd/system/eyot.service")).unwrap();
        let unit = unit.replace("/usr/bin/eyot", text(&root.join("usr/bin/eyot")));
        let said =
            Command::new(analyze).args(["verify", &world.write("eyot.service", unit)]).output().unwrap();
        let said = (said.status.success(), String::from_utf8_lossy(&said.stderr).into_owned());
        assert_eq!(said, (true, String::new()));
    }
    manage(&["--remove", "eyot"]);
    assert!(!root.join("usr/bin/eyot").exists() && root.join("etc/eyot/eyot.toml").exists());
    std::fs::create_dir_all(root.join("var/lib/eyot/data")).unwrap();
    manage(&["--purge", "eyot"]);
    assert!(!root.join("etc/eyot").exists() && !root.join("var/lib/eyot").exists());
}
