//! What a component's config says, against what its bytes say.

use std::collections::BTreeSet;

use eyot_component::ComponentNames;
use eyot_core::{Error, Result};
use serde_json::Value;

/// Compares what a component imports and exports with what its config says. Others decide by that what the component
/// may do, so it must not be silent about an import, nor promise an export that is not there.
///
/// Fails with `Invalid` naming both.
pub(crate) fn check_config(names: &ComponentNames, config: &[u8]) -> Result<()> {
    let config: Value = serde_json::from_slice(config)
        .map_err(|error| Error::invalid(format!("the component's config cannot be read: {error}")))?;
    let component = &config["component"];
    if component.is_null() {
        return Ok(());
    }
    let said = |name: &str| -> BTreeSet<&str> {
        component[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let own = |names: &'_ [String]| names.iter().map(String::clone).collect::<BTreeSet<_>>();
    let (imports, exports) = (said("imports"), said("exports"));
    if let Some(hidden) = names.imports.iter().find(|name| !imports.contains(name.as_str())) {
        return Err(Error::invalid(format!(
            "the component imports {hidden}, and its config does not say so"
        ))
        .hint("the config must list what the bytes import: wkg and eyot push write it from them"));
    }
    let there = own(&names.exports);
    if let Some(invented) = exports.iter().find(|name| !there.contains(**name)) {
        return Err(Error::invalid(format!(
            "the component's config lists the export {invented}, which is not there"
        ))
        .hint("the config must list what the bytes export: wkg and eyot push write it from them"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_config_hides_no_import_and_invents_no_export() {
        let own = ComponentNames { imports: vec!["a:b/c".to_owned()], exports: vec!["run".to_owned()] };
        for (config, good) in [
            (r#"{}"#, true),
            (r#"{"component": null}"#, true),
            (r#"{"component": {"imports": ["a:b/c"], "exports": ["run"]}}"#, true),
            (r#"{"component": {"imports": ["a:b/c", "d:e/f"], "exports": []}}"#, true),
            (r#"{"component": {"imports": [], "exports": ["run"]}}"#, false),
            (r#"{"component": {"exports": ["run"]}}"#, false),
            (r#"{"component": {"imports": ["a:b/c"], "exports": ["run", "walk"]}}"#, false),
            (r#"{"component": 7}"#, false),
            ("no JSON", false),
        ] {
            assert_eq!(check_config(&own, config.as_bytes()).is_ok(), good, "{config}");
        }
    }
}
