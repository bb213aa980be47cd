//! The only arrows: between crates, and between the modules of the large ones. `arrows.toml` is the table;
//! host/ARCHITECTURE.md shows it, written from it by `cargo xtask tidy --write`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use crate::process::root;
use crate::structure;

/// The table's place, as messages name it.
const TABLE_PATH: &str = "host/xtask/arrows.toml";
const PAGE_PATH: &str = "host/ARCHITECTURE.md";
/// What a crate writes that composes the others.
const ALL_CRATES: &str = "all";
/// Tables of so many modules are folded on the page.
const SHOWN_MODULE_COUNT: usize = 10;

/// What may use what.
pub(super) struct ArrowTable(Vec<CrateArrows>);

struct CrateArrows {
    /// The name of its folder.
    name: String,
    folder: String,
    /// What it is, in one line.
    line: String,
    uses: Vec<String>,
    /// The modules at its root, each with those that it may use; none where they are not looked at.
    modules: BTreeMap<String, Vec<String>>,
}

impl ArrowTable {
    pub(super) fn read() -> Result<Self> {
        let path = root().join(TABLE_PATH);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {TABLE_PATH}"))?;
        Self::parse(&text).with_context(|| format!("{TABLE_PATH} cannot be read"))
    }

    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse()?;
        let crates = table.get("crate").and_then(toml::Value::as_array).context("it has no [[crate]]")?;
        crates.iter().map(CrateArrows::parse).collect::<Result<_>>().map(Self)
    }

    pub(super) fn crates(&self) -> usize {
        self.0.len()
    }

    /// Whether the crate has a row.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.0.iter().any(|row| row.name == name)
    }

    /// Whether a crate may use another.
    pub(super) fn allows(&self, name: &str, other: &str) -> bool {
        let row = self.0.iter().find(|row| row.name == name);
        row.is_some_and(|row| row.uses.iter().any(|used| used == other || used == ALL_CRATES))
    }

    /// Checks the modules of the crates whose rows have some: each has a row, and its arrows are those that the
    /// code has.
    pub(super) fn check_modules(&self, problems: &mut Vec<String>) -> Result<()> {
        let found = structure::module_arrows()?;
        for row in self.0.iter().filter(|row| !row.modules.is_empty()) {
            let arrows = found.iter().find(|(name, _)| *name == row.name).map(|(_, arrows)| arrows);
            match arrows {
                Some(arrows) => row.check_modules(arrows, problems),
                None => problems.push(format!("{}: {TABLE_PATH} has a crate that is not there", row.name)),
            }
        }
        Ok(())
    }

    /// Checks that the page shows the table, or writes it there.
    pub(super) fn check_page(&self, write: bool, problems: &mut Vec<String>) -> Result<()> {
        let path = root().join(PAGE_PATH);
        let page = std::fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE_PATH}"))?;
        let mut wanted = page.clone();
        for (name, block) in [("crates", self.crates_block()), ("modules", self.modules_block())] {
            wanted = replace_block(&wanted, name, &block)
                .with_context(|| format!("{PAGE_PATH} has no place for the table of {name}"))?;
        }
        if wanted == page {
            return Ok(());
        }
        if write {
            std::fs::write(&path, wanted).with_context(|| format!("cannot write {PAGE_PATH}"))?;
            println!("tidy: wrote the tables of {PAGE_PATH}");
        } else {
            problems
                .push(format!("{PAGE_PATH}: shows other arrows than {TABLE_PATH}; cargo xtask tidy --write"));
        }
        Ok(())
    }

    fn crates_block(&self) -> String {
        let mut block = String::from("| crate | one line | may use |\n|---|---|---|\n");
        for row in &self.0 {
            let _ = writeln!(block, "| `{}` | {} | {} |", row.folder, row.line, list(&row.uses, false));
        }
        block
    }

    fn modules_block(&self) -> String {
        let mut block = String::new();
        for row in self.0.iter().filter(|row| !row.modules.is_empty()) {
            let mut table = String::from("| module | may use |\n|---|---|\n");
            for (modules, uses) in row.by_uses() {
                let _ = writeln!(table, "| {} | {} |", list(&modules, true), list(&uses, true));
            }
            let (folder, count) = (&row.folder, row.modules.len());
            let _ = match count {
                0..SHOWN_MODULE_COUNT => writeln!(block, "`{folder}`:\n\n{table}"),
                _ => writeln!(
                    block,
                    "<details><summary><code>{folder}</code>: {count} modules</summary>\n\n{table}\n</details>\n"
                ),
            };
        }
        block
    }
}

impl CrateArrows {
    fn parse(value: &toml::Value) -> Result<Self> {
        let text = |key: &str| {
            let text = value.get(key).and_then(toml::Value::as_str);
            text.map(str::to_owned).with_context(|| format!("a crate has no '{key}'"))
        };
        let modules = value.get("modules").and_then(toml::Value::as_table);
        let modules = modules.into_iter().flatten().map(|(name, uses)| Ok((name.clone(), names(uses)?)));
        let uses = value.get("uses").context("a crate has no 'uses'")?;
        Ok(Self {
            name: text("name")?,
            folder: text("folder")?,
            line: text("line")?,
            uses: names(uses)?,
            modules: modules.collect::<Result<_>>()?,
        })
    }

    fn check_modules(&self, found: &BTreeMap<String, BTreeSet<String>>, problems: &mut Vec<String>) {
        let name = &self.name;
        for (module, uses) in found {
            let Some(allowed) = self.modules.get(module) else {
                problems.push(format!("{name}::{module}: no row in {TABLE_PATH}"));
                continue;
            };
            for other in uses.iter().filter(|other| !allowed.contains(other)) {
                problems.push(format!("{name}::{module} -> {other}: no arrow of {TABLE_PATH}"));
            }
            for other in allowed.iter().filter(|other| !uses.contains(*other)) {
                problems
                    .push(format!("{name}::{module} -> {other}: {TABLE_PATH} has it, and the code has not"));
            }
        }
        for module in self.modules.keys().filter(|module| !found.contains_key(*module)) {
            problems.push(format!("{name}::{module}: {TABLE_PATH} has it, and the code has not"));
        }
    }

    /// The modules, those above first; those of equal arrows together.
    fn by_uses(&self) -> Vec<(Vec<String>, Vec<String>)> {
        let floors = self.floors();
        let mut groups: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for (module, uses) in &self.modules {
            let floor = floors.get(module.as_str()).copied().unwrap_or_default();
            groups.entry((floor, uses)).or_default().push(module.clone());
        }
        groups.into_iter().rev().map(|((_, uses), modules)| (modules, uses.clone())).collect()
    }

    /// How many modules stand below one another under each.
    fn floors(&self) -> BTreeMap<&str, usize> {
        let mut floors: BTreeMap<&str, usize> = BTreeMap::new();
        // Circles have no bottom: there are no more floors than modules.
        for _ in 0..self.modules.len() {
            for (module, uses) in &self.modules {
                let below =
                    uses.iter().map(|used| 1 + floors.get(used.as_str()).copied().unwrap_or_default());
                floors.insert(module, below.max().unwrap_or_default().min(self.modules.len()));
            }
        }
        floors
    }
}

fn names(value: &toml::Value) -> Result<Vec<String>> {
    let values = value.as_array().context("a list of names is none")?;
    let name = |value: &toml::Value| value.as_str().map(str::to_owned).context("a name is no text");
    values.iter().map(name).collect()
}

fn list(names: &[String], is_code: bool) -> String {
    let name = |name: &String| if is_code { format!("`{name}`") } else { name.clone() };
    match names {
        [] => "–".to_owned(),
        names => names.iter().map(name).collect::<Vec<_>>().join(", "),
    }
}

/// The page with a block between its two marks; `None` where they are missing.
fn replace_block(page: &str, name: &str, block: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- arrows of {name}:"), format!("<!-- end of arrows of {name} -->"));
    let start = page.find(&begin)?;
    let inner = start + page[start..].find("-->\n")? + "-->\n".len();
    let stop = inner + page[inner..].find(&end)?;
    Some(format!("{}\n{block}\n{}", &page[..inner], &page[stop..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [[crate]]
        name = "low"
        folder = "host/low"
        line = "below"
        uses = []

        [[crate]]
        name = "high"
        folder = "host/high"
        line = "above"
        uses = ["low"]

        [crate.modules]
        doors = ["rooms", "ground"]
        rooms = ["ground"]
        ground = []
    "#;

    #[test]
    fn arrows_that_the_table_or_the_code_has_alone_are_told() {
        let table = ArrowTable::parse(TEXT).unwrap();
        assert!(table.allows("high", "low") && !table.allows("low", "high") && !table.knows("other"));
        let row = &table.0[1];
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let arrows = |doors: &[&str], ground: &[&str]| {
            let found = [("doors", set(doors)), ("rooms", set(&["ground"])), ("ground", set(ground))];
            found.map(|(name, uses)| (name.to_owned(), uses)).into_iter().collect::<BTreeMap<_, _>>()
        };
        for (found, told) in [
            (arrows(&["ground", "rooms"], &[]), &[][..]),
            (
                arrows(&["ground", "rooms"], &["doors"]),
                &["high::ground -> doors: no arrow of host/xtask/arrows.toml"],
            ),
            (
                arrows(&["rooms"], &[]),
                &["high::doors -> ground: host/xtask/arrows.toml has it, and the code has not"],
            ),
        ] {
            let mut problems = Vec::new();
            row.check_modules(&found, &mut problems);
            assert_eq!(problems, told);
        }
    }

    #[test]
    fn a_page_shows_the_table_between_its_marks() {
        let table = ArrowTable::parse(TEXT).unwrap();
        let page =
            "before\n<!-- arrows of crates: of a file -->\nold\n<!-- end of arrows of crates -->\nafter\n";
        let written = replace_block(page, "crates", &table.crates_block()).unwrap();
        let row = "| `host/high` | above | low |";
        assert!(written.starts_with("before\n") && written.ends_with("after\n") && written.contains(row));
        assert_eq!(replace_block(&written, "crates", &table.crates_block()).unwrap(), written);
        assert!(replace_block(page, "modules", "").is_none());
        let modules = table.modules_block();
        assert!(
            modules.contains("| `doors` | `rooms`, `ground` |\n| `rooms` | `ground` |\n| `ground` | – |")
        );
    }
}
