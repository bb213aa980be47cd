//! What the authors of a component's functions say of them: a custom section that `eyot build` and the
//! guest SDK write.

use std::collections::BTreeMap;

use eyot_core::interface::Docs;

use crate::sections::custom_sections;

/// The section: JSON documents one after another, each an object from an export's full name to its
/// [`Docs`].
pub const DOCS_SECTION: &str = "eyot-docs";

/// By the export's full name. What cannot be read is nothing: documentation is no reason to refuse.
pub fn function_docs(wasm: &[u8]) -> BTreeMap<String, Docs> {
    let mut all = BTreeMap::new();
    let sections = custom_sections(wasm).map_while(Result::ok);
    for section in sections.filter(|section| section.name == DOCS_SECTION) {
        let documents = serde_json::Deserializer::from_slice(section.data);
        let documents = documents.into_iter::<BTreeMap<String, Docs>>();
        documents.map_while(Result::ok).for_each(|document| all.extend(document));
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn sections_are_found_at_any_depth_and_garbage_is_nothing() {
        let text = r#"(component
            (core module (@custom "eyot-docs" "{\"a#f\":{\"text\":\"Does.\",\"params\":{\"x\":\"An x.\"}}}{\"a#g\":{\"text\":\"Too.\"}}"))
            (@custom "eyot-docs" "no JSON"))"#;
        let found = function_docs(&wat::parse_str(text).unwrap());
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a#f", "a#g"]);
        assert_eq!((found["a#f"].text.as_str(), found["a#f"].params["x"].as_str()), ("Does.", "An x."));
        assert!(function_docs(b"\0asm").is_empty());
    }
}
