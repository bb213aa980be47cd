//! What README.md tells a newcomer to type is typed here, in its order, against one server.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::Command;

use eyot_tests::{path, program, with_python_tools};
use serde_json::Value;

use crate::world::{World, text};

/// A fenced block of a page.
#[derive(Debug)]
struct Block {
    /// Where it begins, counted from one.
    line: usize,
    language: String,
    text: String,
    /// Why it is not run, where a comment before it says so.
    exempt: Option<String>,
}

const EXEMPT: &str = "<!-- not run by the tests: ";

fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut exempt, mut open): (Vec<Block>, Option<String>, Option<Block>) =
        (Vec::new(), None, None);
    for (index, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                let language = language.to_owned();
                open = Some(Block { line: index + 1, language, text: String::new(), exempt: exempt.take() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => writeln!(block.text, "{line}").unwrap(),
            (None, None) => {
                let reason = line.strip_prefix(EXEMPT).and_then(|rest| rest.strip_suffix(" -->"));
                exempt = reason.map(str::to_owned);
            }
        }
    }
    assert!(open.is_none(), "{open:?} has no end");
    blocks
}

/// A server that a command left in the background, ended with the test.
struct Background<'a>(&'a World);

impl Drop for Background<'_> {
    fn drop(&mut self) {
        let Ok(said) = std::fs::read(self.0.eyot.data().join("server.json")) else { return };
        let said: Value = serde_json::from_slice(&said).unwrap_or_default();
        let Some(pid) = said["pid"].as_i64().and_then(|pid| libc::pid_t::try_from(pid).ok()) else { return };
        // SAFETY: sends a signal to a server that this test started.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

/// All commands as one script, with the block's line before what it prints. Paths are those of the checkout, and the
/// address is the test's own.
fn script(blocks: &[Block], gateway: &str) -> String {
    let root = path("");
    let mut script = "set -eu\n".to_owned();
    for block in blocks.iter().filter(|block| block.language.is_empty() && block.exempt.is_none()) {
        let commands = block.text.replace("localhost:8080", gateway);
        let commands = ["components/", "tests/"].iter().fold(commands, |commands, folder| {
            commands
                .replace(&format!(" {folder}"), &format!(" {}/{folder}", text(&root).trim_end_matches('/')))
        });
        writeln!(script, "echo '== README.md:{}' | tee /dev/stderr\n{commands}", block.line).unwrap();
    }
    script
}

/// A shell in the test's folder, where `eyot` is the binary under test.
fn shell(world: &World, gateway: &str, api: &str) -> Option<Command> {
    let mut shell = Command::new("bash");
    with_python_tools(&mut shell)?;
    let binary = world.eyot.command(&[]).get_program().to_owned();
    let folder = world.dir.path().join("bin");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(binary, folder.join("eyot")).unwrap();
    let search = shell.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value).unwrap();
    let search = std::env::split_paths(search).collect::<Vec<_>>();
    shell.env("PATH", std::env::join_paths(std::iter::once(folder).chain(search)).unwrap());
    // A request that is refused is a command that failed.
    world.write(".curlrc", "fail-with-body\nshow-error\n");
    shell.env("CURL_HOME", world.dir.path()).current_dir(world.dir.path());
    shell.env("EYOT_DATA", world.eyot.data()).env("EYOT_COLOR", "never");
    shell.env("EYOT_API__LISTEN", api).env("EYOT_GATEWAY__LISTEN", gateway);
    shell.env("CARGO_TARGET_DIR", path("target/guests"));
    Some(shell)
}

#[test]
fn every_command_block_of_the_readme_runs() {
    let page = std::fs::read_to_string(path("README.md")).unwrap();
    let blocks = blocks(&page);
    for block in &blocks {
        let known = ["", "python", "rust", "toml"].contains(&block.language.as_str());
        assert!(
            known,
            "README.md:{}: commands have no language, and {} is not known",
            block.line, block.language
        );
        assert!(block.exempt.as_ref().is_none_or(|reason| reason.len() > 20), "{block:?} has no reason");
    }
    if program("curl").is_none() {
        return;
    }
    let world = World::new();
    let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [gateway, api] = ports.map(|port| port.local_addr().unwrap().to_string());
    let Some(mut bash) = shell(&world, &gateway, &api) else { return };
    let _background = Background(&world);
    let done = bash.arg("-c").arg(script(&blocks, &gateway)).output().unwrap();
    let (printed, said) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{}\n{printed}\n{said}", done.status);
    // One line each of what the page promises.
    for promised in
        [r#""model_name":"iris""#, "7 steps, 7 from the cache", r#""mean":2.0"#, "Draw me a digit"]
    {
        assert!(printed.contains(promised) || said.contains(promised), "no {promised} in\n{printed}\n{said}");
    }
    let client = blocks.iter().find(|block| block.language == "python" && block.text.contains("eyot.Client"));
    let program = client.unwrap().text.replace("localhost:8080", &gateway);
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", path("components/sdk/python")).args(["-c", &program]);
    let done = python.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(String::from_utf8_lossy(&done.stdout), "0\n2.0\n", "{said}");
}
