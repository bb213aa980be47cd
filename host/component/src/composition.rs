//! What a linked component was made of, as it says itself.

use std::collections::BTreeMap;

use eyot_core::{Digest, Error, Result};
use serde::{Deserialize, Serialize};

use crate::sections::{custom_section, custom_sections};

/// The custom section in which a linked component says what it was made of: a [`Composition`] as JSON.
const COMPOSITION_SECTION: &str = "eyot-composition";

/// What a linked component was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Composition {
    pub socket: LinkedPart,
    pub plugs: Vec<LinkedPart>,
}

/// A component that was linked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedPart {
    pub name: String,
    /// Of its bytes as they were before.
    pub digest: Digest,
    /// The socket's imports that it fills.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fills: Vec<String>,
    /// The imports of other plugs that it fills, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fills_of: BTreeMap<String, Vec<String>>,
}

impl Composition {
    /// What a component says of itself; nothing where it was not linked, or does not say it in a form that
    /// can be read. What a part of it was made of is in that part.
    pub fn read(wasm: &[u8]) -> Option<Self> {
        let mut sections = custom_sections(wasm).map_while(Result::ok);
        let section = sections.find(|section| section.is_outermost && section.name == COMPOSITION_SECTION)?;
        serde_json::from_slice(section.data).ok()
    }

    /// The section that says it, to be put behind the linked component.
    pub fn section(&self) -> Result<Vec<u8>> {
        let json = serde_json::to_vec(self)
            .map_err(|error| Error::internal("what was linked cannot be written").because(error))?;
        Ok(custom_section(COMPOSITION_SECTION, &json))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_component_speaks_for_itself_alone() {
        let part = |name: &str| LinkedPart {
            name: name.to_owned(),
            digest: Digest::of(name),
            fills: Vec::new(),
            fills_of: BTreeMap::new(),
        };
        let composition = Composition { socket: part("socket"), plugs: vec![part("plug")] };
        let mut wasm =
            wat::parse_str(r#"(component (component (@custom "eyot-composition" "{}")))"#).unwrap();
        assert_eq!(Composition::read(&wasm), None);
        wasm.extend(composition.section().unwrap());
        assert_eq!(Composition::read(&wasm), Some(composition));
        let garbage =
            [&wat::parse_str("(component)").unwrap()[..], &custom_section("eyot-composition", b"x")];
        assert_eq!(Composition::read(&garbage.concat()), None);
    }
}
