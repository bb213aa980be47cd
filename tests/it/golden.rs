//! Texts that people read, as they were agreed on: every page of `--help`, and what errors say. With `UPDATE=1` in the
//! environment the files are written anew, and the change to them is reviewed as any other.

use std::collections::BTreeSet;
use std::path::Path;

use eyot_tests::{fixture, path};

use crate::world::{World, text};

/// Compares with a file of `tests/golden`, or writes it.
fn check(name: &str, found: &str) -> Result<(), String> {
    let file = path("tests/golden").join(name);
    if std::env::var_os("UPDATE").is_some_and(|update| update == "1") {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, found).unwrap();
        return Ok(());
    }
    let wanted = std::fs::read_to_string(&file).unwrap_or_default();
    if wanted == found {
        return Ok(());
    }
    let differs = |(one, other): &(&str, &str)| one != other;
    let line = wanted.lines().zip(found.lines()).position(|pair| differs(&pair));
    let line = line.unwrap_or_else(|| wanted.lines().count().min(found.lines().count()));
    Err(format!(
        "{name}:{}: wanted '{}', found '{}'",
        line + 1,
        wanted.lines().nth(line).unwrap_or("the end"),
        found.lines().nth(line).unwrap_or("the end")
    ))
}

/// The commands that a page of help lists, by their words.
fn listed(help: &str) -> Vec<String> {
    let rows =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let rows = rows.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = rows.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The help of a command and of those under it.
fn pages(world: &World, words: &[&str], found: &mut Vec<(String, String)>) {
    let mut command = world.eyot.command(&[words, &["--help"]].concat());
    let output = command.env("COLUMNS", "100").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let name = if words.is_empty() { "eyot".to_owned() } else { words.join("-") };
    let under = listed(&help);
    found.push((format!("help/{name}.txt"), help));
    for command in under {
        pages(world, &[words, &[command.as_str()]].concat(), found);
    }
}

#[test]
fn every_page_of_help_is_the_one_that_was_agreed_on() {
    let world = World::new();
    let mut found = Vec::new();
    pages(&world, &[], &mut found);
    let problems: Vec<String> = found.iter().filter_map(|(name, help)| check(name, help).err()).collect();
    assert!(problems.is_empty(), "{problems:#?}\nUPDATE=1 writes tests/golden anew");
    // A page of a command that is no more is no page.
    let kept = std::fs::read_dir(path("tests/golden/help")).unwrap();
    let kept: BTreeSet<String> =
        kept.map(|entry| format!("help/{}", entry.unwrap().file_name().to_string_lossy())).collect();
    let known: BTreeSet<String> = found.into_iter().map(|(name, _)| name).collect();
    assert_eq!(kept.difference(&known).collect::<Vec<_>>(), [""; 0]);
}

/// What is not the same on every machine has a name instead.
fn normal(said: &str, places: &[(&str, &Path)]) -> String {
    places.iter().fold(said.to_owned(), |said, (name, place)| said.replace(text(place), name))
}

#[test]
fn what_errors_say_is_what_was_agreed_on() {
    let world = World::new();
    world.write("wrong.toml", "[gateway]\nqueues = 1\n");
    world.write("pipeline.toml", "name = \"p\"\n\n[[step]]\nname = \"a\"\nuses = \"absent\"\n");
    world.write("rows.csv", "a,b\n1,2\n");
    world.write("model.onnx", "nothing");
    world.write("component.wasm", b"\0asm\x0d\0\x01\0\xff");
    let folder = world.dir.path().to_owned();
    let file = |name: &str| text(&folder.join(name)).to_owned();
    let iris = text(&fixture("iris-forest")).to_owned();
    let commands: Vec<Vec<String>> = [
        "no-such-command",
        "ls --no-such-flag",
        "deploy",
        "inspect absent:1",
        "inspect models:/absent@champion",
        "pull absent:1",
        "run absent.toml",
        "run [FOLDER]/pipeline.toml",
        "predict absent {}",
        "push /dev/null",
        "push [FOLDER]/model.onnx --as m:1.0.0",
        "push [FOLDER]/component.wasm --as c:1.0.0",
        "push [FOLDER]/absent",
        "push [IRIS] --as NAME:1.0.0",
        "push [IRIS] --as iris:tag:tag",
        "config --set x.y=1",
        "config --set gateway.queue=many",
        "config --set gateway.drain=soon",
        "config --config [FOLDER]/wrong.toml",
        "deploy [IRIS] --name Iris!",
        "deploy absent:1.0.0",
        "traffic absent 1=100",
        "undeploy absent",
        "logs absent",
        "new --kind function --lang cobol f",
        "build [FOLDER]/",
        "runs absent",
        "release show absent",
        "backend install absent",
        "token create me --role king",
        "verify absent:1",
    ]
    .iter()
    .map(|line| {
        line.split(' ').map(|word| word.replace("[IRIS]", &iris).replace("[FOLDER]/", &file(""))).collect()
    })
    .collect();
    let places =
        [("[DATA]", world.eyot.data()), ("[FOLDER]", folder.as_path()), ("[IRIS]", Path::new(&iris))];
    let mut all = String::new();
    for words in &commands {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = world.eyot.command(&words).current_dir(&folder).env("COLUMNS", "100").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{words:?} succeeded");
        let code = output.status.code().map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        all += &normal(
            &format!("$ eyot {}\n{}\nexit code {code}\n\n", words.join(" "), said.trim_end()),
            &places,
        );
    }
    check("errors.txt", &all).unwrap();
}
