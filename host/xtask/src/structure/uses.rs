//! Which modules of a crate use which, and the circles among them.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Item, UseTree};

use super::source::ModuleSource;

/// What each module uses of its crate, by path.
pub(crate) type ModuleArrows = BTreeMap<String, BTreeSet<String>>;

/// The groups of modules that reach each other, largest first. A module and those inside of it are one
/// house: arrows between them are left out.
pub(super) fn circles(modules: &[ModuleSource]) -> Vec<Vec<String>> {
    let arrows = arrows(modules);
    let mut found: Vec<Vec<String>> = Vec::new();
    for start in arrows.keys() {
        if found.iter().any(|circle| circle.contains(start)) {
            continue;
        }
        let ahead = reached(&arrows, start);
        let circle: Vec<String> =
            ahead.iter().filter(|other| reached(&arrows, other).contains(start)).cloned().collect();
        if circle.len() > 1 {
            found.push(circle);
        }
    }
    found.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    found
}

/// The modules to which arrows lead, over others or at once; itself among them where they lead back.
fn reached(arrows: &ModuleArrows, start: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut ahead = vec![start];
    while let Some(module) = ahead.pop() {
        for next in arrows.get(module).into_iter().flatten() {
            if found.insert(next.clone()) {
                ahead.push(next);
            }
        }
    }
    found
}

/// Every arrow between modules that are not one house. The root is left out: it declares all and
/// hands on what others define.
fn arrows(modules: &[ModuleSource]) -> ModuleArrows {
    let known: BTreeSet<&str> = modules.iter().map(|module| module.path.as_str()).collect();
    let mut arrows = ModuleArrows::new();
    let handed_on = handed_on(modules, &known);
    for module in modules.iter().filter(|module| !module.path.is_empty()) {
        let mut collector = UseCollector {
            own: &module.path,
            inside: 0,
            known: &known,
            handed_on: &handed_on,
            found: BTreeSet::new(),
        };
        module.items.iter().for_each(|item| collector.visit_item(item));
        let mut uses = collector.found;
        uses.retain(|other| !other.is_empty() && !is_one_house(other, &module.path));
        arrows.insert(module.path.clone(), uses);
    }
    arrows
}

/// The arrows between the modules at the crate's root, those of what is inside of them included.
pub(super) fn root_arrows(modules: &[ModuleSource]) -> ModuleArrows {
    let outer = |path: &str| path.split("::").next().unwrap_or_default().to_owned();
    let mut found = ModuleArrows::new();
    for (module, uses) in arrows(modules) {
        let module = outer(&module);
        let uses = uses.iter().map(|other| outer(other)).filter(|other| *other != module).collect::<Vec<_>>();
        found.entry(module).or_default().extend(uses);
    }
    found
}

fn is_one_house(one: &str, other: &str) -> bool {
    let holds = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    holds(one, other) || holds(other, one)
}

/// What the root hands on under a name of its own: who uses that uses the module behind it.
fn handed_on(modules: &[ModuleSource], known: &BTreeSet<&str>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for item in modules.iter().filter(|module| module.path.is_empty()).flat_map(|module| &module.items) {
        let Item::Use(item) = item else { continue };
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        for (path, name) in paths {
            let path: Vec<_> = path.into_iter().filter(|part| part != "crate" && part != "self").collect();
            let target = deepest(&path, known);
            if let Some(target) = target {
                found.insert(name, target);
            }
        }
    }
    found
}

/// The deepest module that the start of a path names.
fn deepest(path: &[String], known: &BTreeSet<&str>) -> Option<String> {
    (1..=path.len())
        .rev()
        .map(|length| path[..length].join("::"))
        .find(|candidate| known.contains(candidate.as_str()))
}

/// The paths of a tree of uses, each with the name that it has afterwards.
fn flatten(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, found);
            before.pop();
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            let path = before.iter().cloned().chain((name != "self").then(|| name.clone())).collect();
            found.push((path, name));
        }
        UseTree::Rename(rename) => {
            let path = before.iter().cloned().chain([rename.ident.to_string()]).collect();
            found.push((path, rename.rename.to_string()));
        }
        UseTree::Glob(_) => found.push((before.clone(), "*".to_owned())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, found)),
    }
}

struct UseCollector<'a> {
    own: &'a str,
    /// How many modules within the file stand around.
    inside: usize,
    known: &'a BTreeSet<&'a str>,
    handed_on: &'a BTreeMap<String, String>,
    found: BTreeSet<String>,
}

impl UseCollector<'_> {
    /// A path as it is written, from the module or from the crate.
    fn add(&mut self, path: &[String]) {
        let Some(first) = path.first() else { return };
        let mut base: Vec<String> = self.own.split("::").map(str::to_owned).collect();
        let rest = match first.as_str() {
            "crate" => {
                base.clear();
                &path[1..]
            }
            "super" | "self" => {
                let (upwards, rest) =
                    path.split_at(path.iter().take_while(|part| *part == "super" || *part == "self").count());
                let up = upwards.iter().filter(|part| *part == "super").count();
                base.truncate(base.len().saturating_sub(up.saturating_sub(self.inside)));
                rest
            }
            _ => return,
        };
        if base.is_empty()
            && let Some(target) = rest.first().and_then(|name| self.handed_on.get(name))
        {
            self.found.insert(target.clone());
            return;
        }
        let whole: Vec<String> = base.into_iter().chain(rest.iter().cloned()).collect();
        self.found.extend(deepest(&whole, self.known));
    }
}

impl<'ast> Visit<'ast> for UseCollector<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.inside += 1;
        visit::visit_item_mod(self, module);
        self.inside -= 1;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        paths.iter().for_each(|(path, _)| self.add(path));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&parts);
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, text: &str) -> ModuleSource {
        ModuleSource { path: path.to_owned(), items: syn::parse_file(text).unwrap().items }
    }

    #[test]
    fn circles_are_found_however_a_module_is_named() {
        for (uses, in_circle) in [
            ("use crate::b::Two;", true),
            ("use super::b;", true),
            ("use crate::Handed;", true),
            ("use crate::{c, b::{self, Two as Other}};", true),
            ("fn f() { let _ = crate::b::two(); }", true),
            ("fn f(x: &super::b::Two) {}", true),
            ("mod inner { use super::super::b::Two; }", true),
            ("use crate::d::Lonely;", false),
            ("use other::b::Two;", false),
            ("mod inner { use super::b::Two; }", false),
        ] {
            let modules = [
                module("", "mod a; mod b; mod c; mod d; pub use b::Handed;"),
                module("a", uses),
                module("b", "use crate::c::x;"),
                module("c", "use crate::a::y;"),
                module("d", ""),
            ];
            let expected: Vec<Vec<String>> = match in_circle {
                true => vec![["a", "b", "c"].map(str::to_owned).to_vec()],
                false => vec![],
            };
            assert_eq!(circles(&modules), expected, "{uses}");
        }
    }

    #[test]
    fn what_is_inside_of_a_module_uses_for_it() {
        let modules = [
            module("", ""),
            module("a", "use crate::a::b::x;"),
            module("a::b", "use crate::c::d::y; use super::z;"),
            module("c", ""),
            module("c::d", "use super::w;"),
        ];
        let found = root_arrows(&modules);
        let uses: Vec<_> = found.iter().map(|(name, uses)| (name.as_str(), uses.len())).collect();
        assert_eq!(uses, [("a", 1), ("c", 0)]);
        assert!(found["a"].contains("c"));
    }

    #[test]
    fn a_module_and_its_own_are_one_house() {
        let modules = [module("", ""), module("a", "use crate::a::b::x;"), module("a::b", "use super::y;")];
        assert!(circles(&modules).is_empty());
    }
}
