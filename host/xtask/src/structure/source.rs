//! The modules of every crate, parsed; what only tests compile is left out.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use syn::punctuated::Punctuated;
use syn::{Attribute, Item, Meta, Token};

use crate::process::root;

/// A file that is a module.
pub(super) struct ModuleSource {
    /// `protocol::json`; empty for the crate's root.
    pub(super) path: String,
    pub(super) items: Vec<Item>,
}

/// The crates of the product with their modules, by name.
pub(super) fn crates() -> Result<Vec<(String, Vec<ModuleSource>)>> {
    let mut found = Vec::new();
    for group in ["host", "registry"] {
        for entry in std::fs::read_dir(root().join(group))? {
            let folder = entry?.path();
            let start = ["src/lib.rs", "src/main.rs"].map(|file| folder.join(file));
            if let Some(start) = start.into_iter().find(|file| file.is_file()) {
                let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let mut modules = Vec::new();
                read(&start, &folder.join("src"), "", &mut modules)?;
                found.push((name, modules));
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// Reads a module and those that it declares as files of `folder`.
fn read(file: &Path, folder: &Path, path: &str, modules: &mut Vec<ModuleSource>) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parsed = syn::parse_file(&text).with_context(|| format!("cannot parse {}", file.display()))?;
    let mut items = parsed.items;
    items.retain(|item| !attributes(item).iter().any(is_for_tests));
    for item in &items {
        let Item::Mod(module) = item else { continue };
        if module.content.is_some() {
            continue;
        }
        let name = module.ident.to_string();
        let candidates = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
        let child: Option<PathBuf> = candidates.into_iter().find(|file| file.is_file());
        let Some(child) = child else { continue };
        let inner = if path.is_empty() { name.clone() } else { format!("{path}::{name}") };
        read(&child, &folder.join(&name), &inner, modules)?;
    }
    modules.push(ModuleSource { path: path.to_owned(), items });
    Ok(())
}

/// Behind `#[test]`, `cfg(test)`, `cfg(fuzzing)`, or `cfg(any(...))` of these.
fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("test")
        || (attribute.path().is_ident("cfg")
            && attribute.parse_args::<Meta>().is_ok_and(|condition| is_a_condition_of_tests(&condition)))
}

fn is_a_condition_of_tests(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test") || path.is_ident("fuzzing"),
        Meta::List(list) if list.path.is_ident("any") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|inner| inner.iter().all(is_a_condition_of_tests)),
        Meta::List(_) | Meta::NameValue(_) => false,
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
