//! Custom sections of wasm: those of a component at any depth, and how one is written behind a component.

use eyot_core::{Error, Result};
use wasmparser::{Parser, Payload};

/// A custom section as it lies in a component.
#[derive(Clone, Copy, Debug)]
pub struct CustomSection<'a> {
    pub name: &'a str,
    pub data: &'a [u8],
    /// Where the data begins in the component.
    pub(crate) offset: usize,
    /// Whether it belongs to the component itself, and not to something inside of it.
    pub is_outermost: bool,
}

/// The custom sections of a component and of all that is in it, in their order; an error ends them.
pub fn custom_sections(wasm: &[u8]) -> impl Iterator<Item = Result<CustomSection<'_>>> {
    let mut depth = 0_usize;
    let mut payloads = Parser::new(0).parse_all(wasm);
    let mut is_over = false;
    std::iter::from_fn(move || {
        while !is_over {
            match payloads.next()? {
                Ok(Payload::Version { .. }) => depth += 1,
                Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
                Ok(Payload::CustomSection(section)) => {
                    return Some(Ok(CustomSection {
                        name: section.name(),
                        data: section.data(),
                        offset: section.data_offset(),
                        is_outermost: depth == 1,
                    }));
                }
                Ok(_) => {}
                Err(error) => {
                    is_over = true;
                    return Some(Err(unreadable(&error)));
                }
            }
        }
        None
    })
}

pub(crate) fn unreadable(error: &wasmparser::BinaryReaderError) -> Error {
    Error::invalid(format!("the component's sections cannot be read: {error}"))
}

/// A custom section: 0, its length, the length of its name, its name, its content.
pub fn custom_section(name: &str, content: &[u8]) -> Vec<u8> {
    let mut inside = Vec::new();
    leb128(&mut inside, name.len());
    inside.extend_from_slice(name.as_bytes());
    inside.extend_from_slice(content);
    let mut section = vec![0];
    leb128(&mut section, inside.len());
    section.extend_from_slice(&inside);
    section
}

fn leb128(into: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        into.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_written_behind_a_component_is_read_with_its_place() {
        let mut wasm = wat::parse_str(r#"(component (core module (@custom "inside" "a")))"#).unwrap();
        for length in [0, 127, 128, 70_000] {
            wasm.extend(custom_section("outside", &vec![7; length]));
        }
        let found: Vec<_> = custom_sections(&wasm).map(Result::unwrap).collect();
        let told: Vec<_> = found.iter().map(|one| (one.name, one.data.len(), one.is_outermost)).collect();
        let outside = |length| ("outside", length, true);
        assert_eq!(told, [("inside", 1, false), outside(0), outside(127), outside(128), outside(70_000)]);
        for section in &found {
            assert_eq!(&wasm[section.offset..section.offset + section.data.len()], section.data);
        }
        // What was cut off is one error, and nothing after it.
        let cut: Vec<_> = custom_sections(&wasm[..wasm.len() - 1]).collect();
        assert_eq!((cut.len(), cut.iter().filter(|one| one.is_err()).count()), (5, 1));
    }
}
