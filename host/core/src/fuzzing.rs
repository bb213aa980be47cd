//! What the fuzz targets of `tests/fuzz` call: each takes any bytes, and panics where something that must hold does not.

use serde_json::Value;

use crate::config::Config;
use crate::interface::Type;
use crate::onnx::OnnxHeader;
use crate::{ByteCount, Digest, Name, Period, Reference, Timestamp};

/// Names, references, digests, sizes and times: what is taken is printed as it is read.
pub fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse::<Reference>().ok(), Some(reference), "{text:?}");
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(name) = text.parse::<Name>() {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(count) = text.parse::<ByteCount>() {
        assert_eq!(
            count.to_string().parse::<ByteCount>().ok().map(|count| count.0),
            Some(count.0),
            "{text:?}"
        );
    }
    if let Ok(period) = text.parse::<Period>() {
        assert_eq!(
            period.to_string().parse::<Period>().ok().map(|period| period.0),
            Some(period.0),
            "{text:?}"
        );
    }
    let _ = Timestamp::parse_rfc3339(text);
}

/// `eyot.toml`: what is taken, printed and read again is the same.
pub fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(config) = toml::from_str::<Config>(text) else { return };
    let printed = config.to_toml();
    // A number that is none equals nothing, itself neither.
    if !printed.contains("nan") {
        assert_eq!(toml::from_str::<Config>(&printed).ok().as_ref(), Some(&config), "{printed}");
    }
}

/// A type in JSON and, on the next line, a value: both are looked through without a panic, and an artifact that is found
/// is one.
pub fn values(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let (ty, value) = bytes.split_at(end);
    let Ok(ty) = serde_json::from_slice::<Type>(ty) else { return };
    let Ok(value) = serde_json::from_slice::<Value>(value) else { return };
    let fits = ty.check(&value).is_ok();
    for place in ty.artifacts_in(&value) {
        let found = value.pointer(&place).and_then(Value::as_str);
        let is_digest = found.is_some_and(|text| text.parse::<Digest>().is_ok());
        assert!(is_digest || !fits, "{ty} {value}: {place}");
    }
}

/// What a model says of itself lies inside of it.
pub fn onnx_header(bytes: &[u8]) {
    let Some(header) = OnnxHeader::read(bytes) else { return };
    let _ = (header.parameters(), header.precision());
    for place in header.weights.iter().filter_map(|weight| weight.place.clone()) {
        assert!(place.start <= place.end && place.end <= bytes.len());
    }
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
            ("texts", super::texts as fn(&[u8])),
            ("settings", super::settings),
            ("values", super::values),
            ("onnx_header", super::onnx_header),
        ] {
            let files = std::fs::read_dir(corpus.join(target)).unwrap();
            let count = files.map(|file| run(&std::fs::read(file.unwrap().path()).unwrap())).count();
            assert!(count > 0, "{target} has no corpus");
        }
    }
}
