//! Custom sections of wasm, as they are written behind a component.

/// A custom section: 0, its length, the length of its name, its name, its content.
pub(crate) fn section(name: &str, content: &[u8]) -> Vec<u8> {
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
