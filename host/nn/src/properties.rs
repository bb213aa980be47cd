//! Model files that were changed on their way, by a fault or on purpose: each is refused or read, and
//! none ends in a panic.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use bytes::Bytes;
use eyot_core::onnx::first_named_file;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{self, Index};

use crate::graphs::Graph;
use crate::onnx::ExternalData;
use crate::onnx::messages as pb;
use crate::{DataFile, DataType, ModelFiles, independence, onnx};

/// The files of the tests.
fn corpus() -> Vec<Bytes> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/onnx");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    paths.sort();
    let files: Vec<Bytes> = paths.iter().map(|path| std::fs::read(path).unwrap().into()).collect();
    // Large ones are slow to change and hold nothing that small ones do not.
    files.into_iter().filter(|file| file.len() < 64 << 10).collect()
}

/// Everything that reads a model before a back end does.
fn read(file: &Bytes) {
    let named = first_named_file(file);
    if let Ok(model) = onnx::parse(file) {
        assert_eq!(named, None, "a model that names a file was taken");
        let _ = onnx::signature(&model);
        let _ = independence::prove(&model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(3000)))]

    #[test]
    fn a_model_that_was_changed_is_refused_or_read(
        which in any::<Index>(),
        changes in vec((any::<Index>(), any::<u8>()), 0..6),
        cut in proptest::option::of(any::<Index>()),
        doubled in proptest::option::of((any::<Index>(), any::<Index>())),
    ) {
        thread_local! { static CORPUS: Vec<Bytes> = corpus(); }
        let mut file = CORPUS.with(|corpus| which.get(corpus).to_vec());
        for (place, byte) in changes {
            let place = place.index(file.len());
            file[place] = byte;
        }
        if let Some((from, to)) = doubled {
            let (from, to) = (from.index(file.len()), to.index(file.len()));
            let piece = file[from.min(to)..from.max(to)].to_vec();
            file.splice(from..from, piece);
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        read(&file.into());
    }

    /// Whatever a tensor says of where it lies: it gets the bytes of that place in that file, or nothing.
    #[test]
    fn weights_outside_are_those_of_their_place(
        location in sample::select(vec!["m.data", "n.data", "M.data", "../m.data", "/etc/passwd", "", "m.onnx"]),
        offset in proptest::option::of("[0-9]{1,2}|-[0-9]|[0-9]{20}|x|0x4"),
        length in proptest::option::of("[0-9]{1,2}|-[0-9]|[0-9]{20}|x"),
        dims in vec(-1_i64..5, 0..3),
        data_type in sample::select(vec![1, 2, 7, 8, 10, 22, 99]),
    ) {
        let entry = |key: &str, value: &str| pb::StringStringEntryProto { key: key.into(), value: value.into() };
        let mut graph = Graph::new().input("x", DataType::F32, "2").node("Neg", "x", "y");
        graph = graph.output("y", DataType::F32, "2");
        let keys = [("offset", &offset), ("length", &length)];
        let places = keys.iter().filter_map(|(key, value)| Some(entry(key, value.as_deref()?)));
        graph.proto.initializer.push(pb::TensorProto {
            name: "w".into(),
            dims: dims.clone(),
            data_type,
            data_location: Some(pb::tensor_proto::DataLocation::External as i32),
            external_data: std::iter::once(entry("location", location)).chain(places).collect(),
            ..pb::TensorProto::default()
        });
        let contents = [("m.data", (0..32).collect::<Vec<u8>>()), ("n.data", (100..108).collect())];
        let file = |(name, bytes): &(&str, Vec<u8>)| DataFile { name: (*name).into(), bytes: bytes.clone().into() };
        let files = ModelFiles { onnx: graph.bytes(), data: contents.iter().map(file).collect() };
        let found = onnx::parse_files(&files, ExternalData::Inlined).ok();
        let found = found.map(|parsed| parsed.proto.graph.unwrap().initializer[0].raw_data.clone());
        let number = |text: &Option<String>, default| match text {
            Some(text) => text.parse::<usize>().ok(),
            None => Some(default),
        };
        let count = dims.iter().try_fold(1_usize, |count, dim| Some(count * usize::try_from(*dim).ok()?));
        let bits = match data_type {
            1 => Some(32),
            2 => Some(8),
            7 => Some(64),
            10 => Some(16),
            22 => Some(4),
            _ => None,
        };
        let expected = count.zip(bits).and_then(|(count, bits)| {
            let size = (count * bits).div_ceil(8);
            let content = &contents.iter().find(|(name, _)| *name == location)?.1;
            let start = number(&offset, 0)?;
            (number(&length, size)? == size).then_some(())?;
            content.get(start..start.checked_add(size)?).map(<[u8]>::to_vec)
        });
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_model_is_refused(file in vec(any::<u8>(), 0..200)) {
        read(&file.into());
    }
}
