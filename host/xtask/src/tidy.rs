//! House rules that a compiler does not check.

mod arrows;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::process::{cargo, output, root};
use crate::{dependencies, structure};
use arrows::ArrowTable;

/// The tests may use all, and what they start services with is the product's nowhere.
const TESTS_PACKAGES: [&str; 2] = ["eyot-tests", "eyot-test-services"];
/// What these crates must not know, whatever else they use.
const FORBIDDEN_DEPENDENCIES: &[(&[&str], &[&str])] = &[(
    &["eyot-nn", "eyot-pipelines", "eyot-monitor", "eyot-tracking", "eyot-deploy", "eyot-meta", "eyot-store"],
    &["wasmtime", "hyper", "axum"],
)];
/// The files of the control plane that may make routes; elsewhere a route could be made without a rule.
const ROUTE_FILES: &[&str] = &["host/api/src/routes.rs", "host/api/src/server.rs"];
/// The longest source file. A longer one should be split into named modules.
const MAX_FILE_LINES: usize = 500;
/// What stands at the top of the repository; its owner fixed it. Hidden files are the tools' own.
const TOP_LEVEL_NAMES: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "components",
    "deny.toml",
    "host",
    "registry",
    "rustfmt.toml",
    "target",
    "tests",
    "wit",
];

/// Checks all of them; with `write`, the pages that show tables are written anew.
pub(crate) fn run(write: bool) -> Result<()> {
    let mut problems = Vec::new();
    let table = ArrowTable::read()?;
    crates(&table, &mut problems)?;
    table.check_modules(&mut problems)?;
    table.check_page(write, &mut problems)?;
    circles(&mut problems)?;
    let vague = structure::vague_names()?;
    names::check(&vague, &mut problems);
    dependencies::unused(&mut problems)?;
    let files = files()?;
    top(&files, &mut problems);
    for file in &files {
        source(file, &mut problems)?;
    }
    readmes(&mut problems);
    if problems.is_empty() {
        if let Some(slack) = names::slack(&vague) {
            println!("tidy: {slack}");
        }
        println!("tidy: {} files, {} crates", files.len(), table.crates() + 1);
        return Ok(());
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    bail!("{} rules are broken", problems.len())
}

fn crates(table: &ArrowTable, problems: &mut Vec<String>) -> Result<()> {
    let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no package")?;
    let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        if TESTS_PACKAGES.contains(&name) {
            continue;
        }
        let uses = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
        // What only tests use is no arrow of the product.
        let uses: BTreeSet<&str> = uses
            .iter()
            .filter(|one| one["kind"] != "dev")
            .filter_map(|one| one["name"].as_str())
            .filter(|name| !TESTS_PACKAGES.contains(name))
            .collect();
        if !table.knows(folder(name)) {
            problems.push(format!("{name}: no row in host/xtask/arrows.toml"));
            continue;
        }
        for other in uses.iter().filter(|other| names.contains(**other)) {
            if !table.allows(folder(name), folder(other)) {
                problems.push(format!("{name} -> {other}: no arrow of host/xtask/arrows.toml"));
            }
        }
        for (crates, forbidden) in FORBIDDEN_DEPENDENCIES {
            for other in forbidden.iter().filter(|other| crates.contains(&name) && uses.contains(**other)) {
                problems.push(format!("{name} -> {other}: must not know it (host/ARCHITECTURE.md)"));
            }
        }
    }
    Ok(())
}

/// The folder of a package, as the table names it.
fn folder(package: &str) -> &str {
    match package {
        "eyot" => "node",
        package => package.strip_prefix("eyot-").unwrap_or(package),
    }
}

fn circles(problems: &mut Vec<String>) -> Result<()> {
    for (name, circles) in structure::circles()? {
        for circle in circles {
            problems.push(format!("{name}: modules import each other in a circle: {}", circle.join(", ")));
        }
    }
    Ok(())
}

/// Everything that git has or would take.
fn files() -> Result<Vec<PathBuf>> {
    let listed = output(
        std::process::Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(root()),
    )?;
    Ok(listed.lines().map(PathBuf::from).filter(|path| root().join(path).is_file()).collect())
}

fn top(files: &[PathBuf], problems: &mut Vec<String>) {
    let tops: BTreeMap<String, ()> = files
        .iter()
        .filter_map(|path| Some((path.iter().next()?.to_string_lossy().into_owned(), ())))
        .collect();
    for name in tops.keys().filter(|name| !name.starts_with('.') && !TOP_LEVEL_NAMES.contains(&name.as_str()))
    {
        problems.push(format!(
            "{name}: the top of the repository is fixed; put it into host, components, wit, registry or tests"
        ));
    }
}

fn source(file: &Path, problems: &mut Vec<String>) -> Result<()> {
    let name = file.to_string_lossy();
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let ours = !name.contains("/deps/") && !name.contains("/fixtures/");
    if !ours || !matches!(extension, "rs" | "ts" | "tsx" | "js" | "py" | "wit" | "toml" | "md" | "sh") {
        return Ok(());
    }
    let text =
        std::fs::read_to_string(root().join(file)).with_context(|| format!("{name} cannot be read"))?;
    let lines = text.lines().count();
    if lines > MAX_FILE_LINES && matches!(extension, "rs" | "ts" | "tsx" | "js" | "py") {
        problems.push(format!("{name}: {lines} lines, more than {MAX_FILE_LINES}"));
    }
    let words = [
        ["to", "do!("].concat(),
        ["unimplemen", "ted!("].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
    ];
    for (number, line) in text.lines().enumerate() {
        if extension == "rs" && words.iter().any(|word| line.contains(word.as_str())) {
            problems.push(format!("{name}:{}: unfinished by its own words", number + 1));
        }
        let makes_routes = line.contains("Router::new") || line.contains("axum::routing");
        if makes_routes && name.starts_with("host/api/src/") && !ROUTE_FILES.contains(&name.as_ref()) {
            problems.push(format!(
                "{name}:{}: routes are made with crate::routes, which asks for a rule",
                number + 1
            ));
        }
        if line.ends_with(' ') && extension != "md" {
            problems.push(format!("{name}:{}: white space at the end of the line", number + 1));
        }
    }
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if matches!(stem, "utils" | "util" | "helpers" | "helper" | "common" | "misc") {
        problems.push(format!("{name}: name the file after what it is about"));
    }
    Ok(())
}

/// Every folder that a newcomer opens says what it is.
fn readmes(problems: &mut Vec<String>) {
    let mut folders = vec![PathBuf::from(".")];
    for group in ["host", "registry"] {
        folders.push(PathBuf::from(group));
        let entries = std::fs::read_dir(root().join(group)).into_iter().flatten().flatten();
        folders.extend(
            entries
                .filter(|entry| entry.path().is_dir())
                .map(|entry| Path::new(group).join(entry.file_name())),
        );
    }
    folders.extend(
        [
            "components",
            "components/sdk",
            "components/examples",
            "components/handlers",
            "components/testing",
            "tests",
            "wit",
        ]
        .map(PathBuf::from),
    );
    for folder in folders {
        if !root().join(&folder).join("README.md").is_file() {
            problems.push(format!("{}: has no README.md", folder.display()));
        }
    }
}
