//! What made a component, as the `producers` sections of it and of the modules in it say.

use eyot_core::Result;
use wasmparser::{BinaryReader, ProducersSectionReader};

use crate::sections::{CustomSection, custom_sections, unreadable};

/// One entry of a `producers` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// `language`, `processed-by` or `sdk`.
    pub field: String,
    pub name: String,
    pub version: String,
}

/// All entries in their order, with an error in the place of what cannot be read: of a section, the rest of it; of the
/// component, the rest of that.
pub fn producers(wasm: &[u8]) -> impl Iterator<Item = Result<Producer>> {
    let sections = custom_sections(wasm)
        .filter(|section| section.as_ref().map_or(true, |section| section.name == "producers"));
    sections.flat_map(|section| section.map_or_else(|error| vec![Err(error)], |section| entries(&section)))
}

fn entries(section: &CustomSection<'_>) -> Vec<Result<Producer>> {
    let mut all = Vec::new();
    if let Err(error) = read(section, &mut all) {
        all.push(Err(unreadable(&error)));
    }
    all
}

fn read(section: &CustomSection<'_>, all: &mut Vec<Result<Producer>>) -> wasmparser::Result<()> {
    // One that does not even begin as such a section says nothing: anybody may call a section so.
    let Ok(fields) = ProducersSectionReader::new(BinaryReader::new(section.data, section.offset)) else {
        return Ok(());
    };
    for field in fields {
        let field = field?;
        for value in field.values {
            let value = value?;
            all.push(Ok(Producer {
                field: field.name.to_owned(),
                name: value.name.to_owned(),
                version: value.version.to_owned(),
            }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_cannot_be_read_ends_its_section_alone() {
        let wasm = wat::parse_str(
            r#"(component
                (core module (@custom "producers" "\01\08language\7f"))
                (core module (@producers (language "Rust" "") (processed-by "rustc" "1.95.0"))))"#,
        )
        .unwrap();
        let found: Vec<_> = producers(&wasm).collect();
        assert_eq!(found.iter().filter(|one| one.is_err()).count(), 1, "{found:?}");
        let told = found.into_iter().flatten().map(|one| (one.field, one.name, one.version));
        let expected = [("language", "Rust", ""), ("processed-by", "rustc", "1.95.0")];
        let expected =
            expected.map(|(field, name, version)| (field.to_owned(), name.to_owned(), version.to_owned()));
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}
