//! The files that a model names, wherever the format has tensors and however its bytes are written.

#![allow(clippy::unwrap_used)]

use eyot_core::onnx::first_named_file;
use prost::Message as _;

use crate::graphs::{Graph, Is};
use crate::onnx::messages as pb;
use crate::suite::fixture;
use crate::{DataType, Tensor};

const SECRET: &str = "../../etc/passwd";

fn outside() -> pb::TensorProto {
    let entry = |key: &str, value: &str| pb::StringStringEntryProto { key: key.into(), value: value.into() };
    pb::TensorProto {
        name: "w".into(),
        dims: vec![2],
        data_type: 1,
        data_location: Some(pb::tensor_proto::DataLocation::External as i32),
        external_data: vec![entry("offset", "0"), entry("location", SECRET)],
        ..pb::TensorProto::default()
    }
}

fn plain() -> Graph {
    let graph = Graph::new().input("x", DataType::F32, "n 2").node("Relu", "x", "y");
    graph.output("y", DataType::F32, "n 2")
}

/// A file with the tensor in each of the places that the format has today.
fn places() -> Vec<(&'static str, pb::ModelProto)> {
    let sparse = || pb::SparseTensorProto { values: Some(outside()), ..pb::SparseTensorProto::default() };
    let with = |attribute: pb::AttributeProto| {
        let mut model = plain().model();
        model.graph.as_mut().unwrap().node[0].attribute.push(attribute);
        model
    };
    let graph = || pb::GraphProto { initializer: vec![outside()], ..pb::GraphProto::default() };
    let attribute = pb::AttributeProto::default;
    let in_graph = |change: fn(&mut pb::GraphProto)| {
        let mut model = plain().model();
        change(model.graph.as_mut().unwrap());
        model
    };
    let mut functions = plain().model();
    let node = pb::NodeProto {
        attribute: vec![pb::AttributeProto { t: Some(outside()), ..attribute() }],
        ..pb::NodeProto::default()
    };
    functions.functions.push(pb::FunctionProto { node: vec![node], ..pb::FunctionProto::default() });
    let training = |training: pb::TrainingInfoProto| {
        let mut model = plain().model();
        model.training_info.push(training);
        model
    };
    let info = pb::TrainingInfoProto::default;
    let nested = Graph { proto: graph(), ..Graph::new() };
    let deep = (0..9).fold(nested, |inner, _| {
        Graph::new().with("If", "c", "y", &[("then_branch", Is::Graph(Box::new(inner)))])
    });
    let deep = deep.output("y", DataType::F32, "n 2");
    vec![
        ("initializer", in_graph(|graph| graph.initializer.push(outside()))),
        (
            "sparse initializer",
            in_graph(|graph| {
                let values = Some(outside());
                graph
                    .sparse_initializer
                    .push(pb::SparseTensorProto { values, ..pb::SparseTensorProto::default() });
            }),
        ),
        (
            "sparse indices",
            in_graph(|graph| {
                let indices = Some(outside());
                graph
                    .sparse_initializer
                    .push(pb::SparseTensorProto { indices, ..pb::SparseTensorProto::default() });
            }),
        ),
        ("attribute", with(pb::AttributeProto { t: Some(outside()), ..attribute() })),
        ("attributes", with(pb::AttributeProto { tensors: vec![outside()], ..attribute() })),
        ("sparse attribute", with(pb::AttributeProto { sparse_tensor: Some(sparse()), ..attribute() })),
        ("sparse attributes", with(pb::AttributeProto { sparse_tensors: vec![sparse()], ..attribute() })),
        ("nested graph", with(pb::AttributeProto { g: Some(graph()), ..attribute() })),
        ("nested graphs", with(pb::AttributeProto { graphs: vec![graph()], ..attribute() })),
        ("deep graph", deep.model()),
        ("function", functions),
        ("training", training(pb::TrainingInfoProto { initialization: Some(graph()), ..info() })),
        ("algorithm", training(pb::TrainingInfoProto { algorithm: Some(graph()), ..info() })),
    ]
}

#[test]
fn every_place_of_the_format_that_names_a_file_is_found() {
    for (place, model) in places() {
        let bytes = model.encode_to_vec();
        assert_eq!(first_named_file(&bytes).as_deref(), Some(SECRET), "{place}");
        let refused = crate::onnx::parse(&bytes.into()).unwrap_err();
        assert_eq!(refused.kind(), eyot_core::ErrorKind::Unsupported, "{place}");
        assert!(refused.chain().contains(SECRET), "{place}: {refused:?}");
    }
}

/// Bytes without a pattern, the same in every run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

fn number(mut value: usize, padding: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 && padding == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
        if value == 0 {
            bytes.extend(std::iter::repeat_n(0x80, padding - 1));
            bytes.push(0);
            return bytes;
        }
    }
}

fn field(number_of: usize, content: &[u8], padding: usize) -> Vec<u8> {
    [number(number_of << 3 | 2, padding), number(content.len(), padding), content.to_vec()].concat()
}

/// The tensor as it could be put anywhere by whoever writes the bytes himself: with numbers longer than need
/// be, keys given twice, beside fields of every kind, in groups, and in messages that nobody has heard of.
#[test]
fn wherever_it_is_put_and_however_it_is_written_it_is_found() {
    let mut noise = Noise(7);
    for _ in 0..2000 {
        let pad = noise.below(4);
        let mut entry = field(1, b"location", pad);
        if noise.below(2) == 0 {
            entry = [field(1, b"offset", pad), field(2, b"7", 0), entry].concat();
        }
        entry.extend(field(2, SECRET.as_bytes(), pad));
        let mut message = field(13, &entry, pad);
        for _ in 0..noise.below(12) {
            let before = match noise.below(6) {
                0 => [number(5 << 3, pad), number(noise.below(1 << 20), 0)].concat(),
                1 => [number(6 << 3 | 1, 0), vec![1; 8]].concat(),
                2 => [number(7 << 3 | 5, 0), vec![2; 4]].concat(),
                3 => field(9, &(0..noise.below(40)).map(|_| noise.below(256) as u8).collect::<Vec<_>>(), 0),
                4 => field(8, "a name".as_bytes(), pad),
                _ => [number(30 << 3 | 3, 0), number(4 << 3, 0), vec![9], number(30 << 3 | 4, 0)].concat(),
            };
            message = [before, message].concat();
            match noise.below(3) {
                0 => message = [number(31 << 3 | 3, 0), message, number(31 << 3 | 4, 0)].concat(),
                1 => message = field(1 + noise.below(2000), &message, pad),
                _ => {}
            }
        }
        assert_eq!(first_named_file(&message).as_deref(), Some(SECRET), "{message:?}");
    }
}

#[test]
fn what_names_no_file_passes() {
    for name in ["iris-forest", "digits", "dense", "chain", "two", "same-string", "rows"] {
        assert_eq!(first_named_file(&fixture(name)), None, "{name}");
    }
    // A value that is called so, and weights that are any bytes at all.
    let mut noise = Noise(1);
    let mut graph = plain().input("location", DataType::F32, "n 2").node("Neg", "location", "other");
    graph.proto.value_info.extend(graph.proto.input.clone());
    for weight in 0..200 {
        let bytes: Vec<u8> = (0..1 + noise.below(300)).map(|_| noise.below(256) as u8).collect();
        let tensor = Tensor::of(vec![bytes.len()], &bytes).unwrap();
        graph = graph.weight(&format!("w{weight}"), &tensor);
    }
    let bytes = graph.bytes();
    assert_eq!(first_named_file(&bytes), None);
    crate::onnx::parse(&bytes).unwrap();
    // A path that looks like a type is a path.
    let path = [field(1, &[0x08, 0x01], 0), field(6, b"/../../etc/passwd", 0)].concat();
    assert!(
        first_named_file(&field(13, &[field(1, b"location", 0), field(2, &path, 0)].concat(), 0)).is_some()
    );
}

#[test]
fn a_file_that_is_nothing_but_depth_ends_soon() {
    let deep = (0..100_000).fold(Vec::new(), |inner, level| {
        if level < 200 || inner.len() < 1 << 16 { field(1, &inner, 0) } else { inner }
    });
    assert_eq!(first_named_file(&deep), None);
}
