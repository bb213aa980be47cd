//! Documents and archives that strangers push: each is refused or read, and none ends in a panic or in
//! more memory than its length allows.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use eyot_core::onnx::OnnxHeader;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::manifest::{IMAGE_MANIFEST, Manifest};
use crate::unpack::{self, ArchiveFormat};
use eyot_core::glob;

fn changed(bytes: &[u8], changes: &[(Index, u8)], cut: Option<Index>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (place, byte) in changes.iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
        let place = place.index(bytes.len());
        bytes[place] = *byte;
    }
    if let Some(cut) = cut.filter(|_| !bytes.is_empty()) {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

fn manifest() -> Value {
    let descriptor = |of: &str| {
        json!({ "mediaType": "application/x", "digest": eyot_core::Digest::of(of), "size": of.len(),
            "annotations": { "org.opencontainers.image.title": of } })
    };
    json!({ "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "artifactType": "application/y",
        "config": descriptor("config"), "layers": [descriptor("one"), descriptor("two")],
        "subject": descriptor("subject"), "annotations": null })
}

fn archive(names: &[String], content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for name in names {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content).unwrap();
    }
    tar.into_inner().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1000)))]

    #[test]
    fn a_manifest_that_was_changed_is_refused_or_read(
        changes in vec((any::<Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let whole = serde_json::to_vec(&manifest()).unwrap();
        prop_assert!(Manifest::admit(&whole, Some(IMAGE_MANIFEST)).is_ok());
        let bytes = changed(&whole, &changes, cut);
        if let Ok((manifest, media_type)) = Manifest::admit(&bytes, None) {
            // What is admitted is JSON that any reader takes, and says its own type.
            let read: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(read["layers"].as_array().map_or(0, Vec::len), manifest.layers.len());
            prop_assert_eq!(read.get("mediaType").and_then(Value::as_str).unwrap_or(&media_type), &media_type);
            let _ = (manifest.content(), manifest.packed(), manifest.describes_component());
        }
    }

    #[test]
    fn an_archive_that_was_changed_is_refused_or_read(
        names in vec("[a-z]{1,8}(/[a-z]{1,120}){0,2}\\.(onnx|txt)", 0..4),
        content in vec(any::<u8>(), 0..2000),
        changes in vec((any::<Index>(), any::<u8>()), 0..8),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let whole = archive(&names, &content);
        let mut found = Vec::new();
        let is_one = unpack::onnx(whole.as_slice(), ArchiveFormat::Tar, whole.len() as u64, |piece| {
            found.extend_from_slice(&piece);
            Ok(())
        });
        let models = names.iter().filter(|name| name.ends_with(".onnx")).count();
        prop_assert_eq!(is_one.unwrap(), models == 1);
        if models == 1 {
            prop_assert_eq!(&found, &content);
        }
        let bytes = changed(&whole, &changes, cut);
        let mut length = 0;
        let _ = unpack::onnx(bytes.as_slice(), ArchiveFormat::Tar, bytes.len() as u64, |piece| {
            length += piece.len();
            Ok(())
        });
        prop_assert!(length <= bytes.len(), "more than there is");
        for packing in [ArchiveFormat::TarGzip, ArchiveFormat::TarZstd] {
            let _ = unpack::onnx(bytes.as_slice(), packing, bytes.len() as u64, |_| Ok(()));
        }
    }

    #[test]
    fn what_a_changed_model_says_of_itself_lies_inside_of_it(
        which in any::<Index>(),
        changes in vec((any::<Index>(), any::<u8>()), 0..6),
        cut in proptest::option::of(any::<Index>()),
    ) {
        thread_local! { static CORPUS: Vec<Vec<u8>> = models(); }
        let bytes = CORPUS.with(|corpus| changed(which.get::<Vec<u8>>(corpus), &changes, cut));
        if let Some(header) = OnnxHeader::read(&bytes) {
            let _ = (header.parameters(), header.precision());
            for place in header.weights.iter().filter_map(|weight| weight.place.clone()) {
                prop_assert!(place.start <= place.end && place.end <= bytes.len());
            }
        }
    }

    #[test]
    fn patterns_match_as_their_parts_do(parts in vec("[a-z/]{0,4}", 1..5), text in "[a-z/]{0,12}") {
        let pattern = parts.join("*");
        let fixed = parts.len() == 1;
        prop_assert_eq!(glob::matches(&pattern, &pattern.replace('*', "")), true);
        if fixed {
            prop_assert_eq!(glob::matches(&pattern, &text), pattern == text);
        }
        if glob::matches(&pattern, &text) {
            prop_assert!(text.len() >= parts.iter().map(String::len).sum());
            prop_assert!(text.starts_with(&parts[0]) && text.ends_with(&parts[parts.len() - 1]));
        }
    }
}

fn models() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/onnx");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    paths.sort();
    let files = paths.iter().map(|path| std::fs::read(path).unwrap());
    files.filter(|file| file.len() < 64 << 10).collect()
}
