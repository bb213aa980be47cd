//! What the fuzz targets of `tests/fuzz` call: each takes any bytes, and panics where something that must hold does not.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::http::{check_message_boundaries, grpc_timeout};
use crate::protocol::json::JsonReader;
use crate::protocol::request;

/// A text that may be a number: it is one where serde_json says so, and the one that the standard library reads.
pub fn number(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // White space around it belongs to the value around it.
    if text.trim() != text || text.is_empty() {
        return;
    }
    let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
    let is_number = is_json && text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let mut reader = JsonReader::new(text);
    let found = reader.float::<f64>().filter(|_| reader.remaining() == 0);
    assert_eq!(found.is_some(), is_number, "{text:?}");
    if let Some(found) = found {
        assert_eq!(Some(found.to_bits()), text.parse().ok().map(f64::to_bits), "{text:?}");
        let single = JsonReader::new(text).float::<f32>().map(f32::to_bits);
        assert_eq!(single, text.parse().ok().map(f32::to_bits), "{text:?}");
    }
}

/// The body of an inference in JSON: what is taken is JSON, but for the words that stand for numbers.
pub fn request(bytes: &[u8]) {
    if request::read(&Bytes::copy_from_slice(bytes), None).is_err() {
        return;
    }
    let has_words = ["NaN", "Infinity"].iter().any(|word| String::from_utf8_lossy(bytes).contains(word));
    assert!(has_words || serde_json::from_slice::<IgnoredAny>(bytes).is_ok());
}

/// A body with binary tensors: two bytes say how long its JSON is. No tensor is of bytes that were not sent.
pub fn binary_request(bytes: &[u8]) {
    let Some(([low, high], body)) = bytes.split_first_chunk::<2>().map(|(length, body)| (*length, body))
    else {
        return;
    };
    let header = usize::from(u16::from_le_bytes([low, high]));
    let Ok(asked) = request::read(&Bytes::copy_from_slice(body), Some(header)) else { return };
    let behind: usize = body.len() - header;
    let binary: usize = asked.inputs.iter().map(|input| input.tensor.bytes().len()).sum();
    assert!(binary >= behind, "bytes behind the JSON belong to no tensor");
}

/// The head of a call: the time that its client waits, and where its messages begin and end, however it is cut up.
pub fn call(bytes: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", value);
        let _ = grpc_timeout(&headers);
    }
    check_message_boundaries(bytes);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    /// What was found by chance once, and what it began with, is tried in every run.
    #[test]
    fn the_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus");
        for (target, run) in [
            ("number", super::number as fn(&[u8])),
            ("request", super::request),
            ("binary_request", super::binary_request),
            ("call", super::call),
        ] {
            let files = std::fs::read_dir(corpus.join(target)).unwrap();
            let count = files.map(|file| run(&std::fs::read(file.unwrap().path()).unwrap())).count();
            assert!(count > 0, "{target} has no corpus");
        }
    }
}
