#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use eyot_core::ErrorKind;
use eyot_core::config::BackendChoice;
use prost::Message as _;

use super::*;
use crate::graphs::{Graph, Is};
use crate::suite::{back_ends, installed};
use crate::{DataType, InferenceBackend, ModelSettings, Tensor, independence};

fn all_back_ends() -> Vec<Arc<dyn InferenceBackend>> {
    back_ends().into_iter().chain(installed(BackendChoice::Openvino)).collect()
}

/// Numbers that no kernel rounds when they are added and multiplied.
fn whole(shape: &[usize], seed: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|at| ((at * 7 + seed * 13) % 17) as f32 - 8.0).collect();
    Tensor::of(shape.to_vec(), &values).unwrap()
}

/// `y = x · w + b`, with weights of more than 64 KiB and a few bytes.
fn dense() -> Graph {
    Graph::new()
        .input("x", DataType::F32, "n 160")
        .weight("w", &whole(&[160, 128], 1))
        .weight("b", &whole(&[128], 2))
        .node("MatMul", "x w", "m")
        .node("Add", "m b", "y")
        .output("y", DataType::F32, "n 128")
}

fn entry(key: &str, value: impl ToString) -> pb::StringStringEntryProto {
    pb::StringStringEntryProto { key: key.into(), value: value.to_string() }
}

/// Moves a tensor's values to the end of a file.
fn move_out(tensor: &mut pb::TensorProto, name: &str, data: &mut Vec<u8>) {
    let bytes = std::mem::take(&mut tensor.raw_data);
    tensor.external_data =
        vec![entry("location", name), entry("offset", data.len()), entry("length", bytes.len())];
    tensor.data_location = Some(DataLocation::External as i32);
    data.extend(bytes);
}

/// The model with its weights beside it.
fn outside(graph: &Graph) -> (pb::ModelProto, Vec<u8>) {
    let (mut model, mut data) = (graph.model(), Vec::new());
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        move_out(tensor, "m.data", &mut data);
    }
    (model, data)
}

fn files(model: &pb::ModelProto, data: &[(&str, &[u8])]) -> ModelFiles {
    let file = |(name, bytes): &(&str, &[u8])| DataFile {
        name: (*name).to_owned(),
        bytes: Bytes::copy_from_slice(bytes),
    };
    ModelFiles { onnx: model.encode_to_vec().into(), data: data.iter().map(file).collect() }
}

#[test]
fn weights_beside_a_model_are_its_weights() {
    let (graph, x) = (dense(), whole(&[3, 160], 5));
    let (model, data) = outside(&graph);
    let files = files(&model, &[("m.data", &data)]);
    assert!(files.onnx.len() < 1024 && files.bytes() > 80_000);
    assert_eq!(
        independence::prove(&crate::onnx::parse_files(&files, ExternalData::Kept).unwrap().proto),
        Ok(())
    );
    for backend in all_back_ends() {
        let inline = backend.load(&graph.bytes(), ModelSettings::default()).unwrap();
        let beside = backend.load_files(&files, ModelSettings::default()).unwrap();
        let run = |model: &dyn crate::BackendModel| model.run(std::slice::from_ref(&x)).unwrap();
        assert_eq!(run(&*inline), run(&*beside), "{}", backend.name());
        // By itself the file is no model, whatever lies in the folder that the process runs in.
        let alone = backend.load(&files.onnx, ModelSettings::default()).err().unwrap();
        assert!(alone.kind() == ErrorKind::Unsupported && alone.chain().contains("'m.data'"), "{alone:?}");
    }
}

/// Everywhere else that a tensor can be: inside of nodes, of graphs in nodes, and where ONNX Runtime would open a file.
#[test]
fn weights_of_nodes_and_inner_graphs_may_lie_outside_too() {
    let constant = |value: f32| {
        let mut graph = Graph::new().node("Constant", "", "c").output("c", DataType::F32, "2");
        let mut tensor = pb::TensorProto { dims: vec![2], data_type: 1, ..pb::TensorProto::default() };
        tensor.raw_data = [value, -value].iter().flat_map(|value| value.to_le_bytes()).collect();
        graph.proto.node[0].attribute.push(pb::AttributeProto {
            name: "value".into(),
            t: Some(tensor),
            r#type: pb::attribute_proto::AttributeType::Tensor as i32,
            ..pb::AttributeProto::default()
        });
        graph
    };
    let branches = [
        ("then_branch", Is::Graph(Box::new(constant(3.0)))),
        ("else_branch", Is::Graph(Box::new(constant(5.0)))),
    ];
    let graph = Graph::new()
        .input("x", DataType::F32, "n 2")
        .input("c", DataType::Bool, "")
        .with("If", "c", "k", &branches)
        .node("Mul", "x k", "y")
        .output("y", DataType::F32, "n 2");
    let (mut model, mut data) = (graph.model(), Vec::new());
    for attribute in &mut model.graph.as_mut().unwrap().node[0].attribute {
        let inner = attribute.g.as_mut().unwrap().node[0].attribute[0].t.as_mut().unwrap();
        move_out(inner, "m.data", &mut data);
    }
    let files = files(&model, &[("m.data", &data)]);
    let x = Tensor::of(vec![1, 2], &[1_f32, 2.]).unwrap();
    for backend in all_back_ends() {
        // tract has no branches that it decides while it runs.
        let Ok(inline) = backend.load(&graph.bytes(), ModelSettings::default()) else { continue };
        let beside = backend.load_files(&files, ModelSettings::default()).unwrap();
        for condition in [0, 1] {
            let inputs = [x.clone(), Tensor::new(DataType::Bool, vec![], vec![condition]).unwrap()];
            let (one, other) = (inline.run(&inputs), beside.run(&inputs));
            assert_eq!(one.unwrap(), other.unwrap(), "{}", backend.name());
        }
    }
}

/// What somebody writes who wants another file, other bytes, or more of them.
#[test]
fn nothing_but_the_files_that_came_with_it_is_read() {
    let (model, data) = outside(&dense());
    let size = 160 * 128 * 4;
    let first = |change: &dyn Fn(&mut pb::TensorProto)| {
        let mut model = model.clone();
        change(&mut model.graph.as_mut().unwrap().initializer[0]);
        model
    };
    let says = |key: &str, value: &str| {
        first(&|tensor| {
            let found = tensor.external_data.iter_mut().find(|entry| entry.key == key);
            found.unwrap().value = value.to_owned();
        })
    };
    let whole: &[(&str, &[u8])] = &[("m.data", &data)];
    let up: &[(&str, &[u8])] = &[("m.data", &data), ("../m.data", &data)];
    let below: &[(&str, &[u8])] = &[("m.data", &data), ("dir/m.data", &data)];
    let twice: &[(&str, &[u8])] = &[("m.data", &data), ("m.data", &data)];
    let with_path: &[(&str, &[u8])] = &[("m.data", &data), ("/etc/passwd", &data)];

    // A tensor in an attribute of a function, of a kind that came into the format later.
    let mut bytes = model.encode_to_vec();
    let function = |tensor: Vec<u8>| {
        let field = |number: u8, content: Vec<u8>| {
            let mut all = vec![number << 3 | 2];
            all.extend(varint(content.len()));
            all.extend(content);
            all
        };
        // ModelProto.functions is field 25, FunctionProto.attribute_proto 11, AttributeProto.t 5.
        let attribute = field(11, field(5, tensor));
        let mut all = vec![0xca, 0x01];
        all.extend(varint(attribute.len()));
        all.extend(attribute);
        all
    };
    bytes.extend(function(model.graph.as_ref().unwrap().initializer[1].encode_to_vec()));
    let cases: Vec<(&str, ModelFiles, &str)> = vec![
        (
            "up",
            files(&says("location", "../m.data"), whole),
            "'w' of the model lies in another file, '../m.data'",
        ),
        (
            "up, and a file called so",
            files(&says("location", "../m.data"), up),
            "'../m.data', which is no plain name",
        ),
        ("below", files(&says("location", "dir/m.data"), below), "'dir/m.data', which is no plain name"),
        ("absolute", files(&says("location", "/etc/passwd"), whole), "another file, '/etc/passwd'"),
        (
            "absolute, and a file called so",
            files(&says("location", "/etc/passwd"), with_path),
            "no plain name",
        ),
        ("here", files(&says("location", "./m.data"), whole), "another file, './m.data'"),
        ("nothing", files(&says("location", ""), whole), "another file, ''"),
        ("case", files(&says("location", "M.data"), whole), "another file, 'M.data'"),
        ("the model itself", files(&says("location", "m.onnx"), whole), "another file, 'm.onnx'"),
        ("two of the name", files(&model, twice), "two files have that name"),
        ("past the end", files(&says("offset", &data.len().to_string()), whole), "ends behind the last byte"),
        (
            "far past the end",
            files(&says("offset", &u64::MAX.to_string()), whole),
            "ends behind the last byte",
        ),
        ("one byte past", files(&says("offset", &(data.len() - size + 1).to_string()), whole), "ends behind"),
        ("below zero", files(&says("offset", "-4"), whole), "no number for its 'offset'"),
        ("no number", files(&says("offset", "0x10"), whole), "no number for its 'offset'"),
        ("negative length", files(&says("length", "-1"), whole), "no number for its 'length'"),
        ("too short", files(&says("length", &(size - 4).to_string()), whole), "another length"),
        ("too long", files(&says("length", &(size + 4).to_string()), whole), "another length"),
        (
            "overlapping",
            files(&says("offset", "4"), whole),
            "'w' and 'b' of the model overlap in the file 'm.data'",
        ),
        (
            "a file cut short",
            files(&model, &[("m.data", &data[..data.len() - 1])]),
            "'b' of the model ends behind",
        ),
        ("no file", files(&model, &[("other", &data)]), "with it came 'other'"),
        (
            "a shape below zero",
            files(&first(&|tensor| tensor.dims = vec![-1, -1]), whole),
            "a type or a shape that has no place",
        ),
        (
            "a shape beyond all",
            files(&first(&|tensor| tensor.dims = vec![i64::MAX, i64::MAX]), whole),
            "a type or a shape that has no place",
        ),
        (
            "texts",
            files(&first(&|tensor| tensor.data_type = STRING_CODE), whole),
            "a type or a shape that has no place",
        ),
        (
            "two places",
            files(&first(&|tensor| tensor.external_data.push(entry("location", "m.data"))), whole),
            "two values for 'location'",
        ),
        (
            "half inside",
            files(&first(&|tensor| tensor.data_location = None), whole),
            "half inside and half outside",
        ),
        (
            "no place",
            files(&first(&|tensor| tensor.external_data.clear()), whole),
            "half inside and half outside",
        ),
        (
            "a place that nobody looks at",
            ModelFiles { onnx: bytes.into(), ..files(&model, whole) },
            "no tensor of its graph names the file 'm.data'",
        ),
    ];
    for (what, files, expected) in cases {
        for backend in all_back_ends() {
            let error = backend.load_files(&files, ModelSettings::default()).err().unwrap_or_else(|| {
                panic!("{what} was loaded by {}", backend.name());
            });
            let told = error.chain();
            let told = format!("{told} {}", error.hint_text().unwrap_or_default());
            assert!(told.contains(expected), "{what}, {}: {told}", backend.name());
            assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unsupported), "{what}: {error:?}");
        }
    }
}

/// A name without a folder that reads as a type of the format to who does not know where it stands.
#[test]
fn a_name_that_looks_like_a_type_is_a_name() {
    let name = format!("B0{}", "a".repeat(48));
    let (model, _) = outside(&dense());
    let mut model = model;
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        tensor.external_data[0].value.clone_from(&name);
    }
    assert_eq!(eyot_core::onnx::first_named_file(&model.encode_to_vec()), None);
    for backend in all_back_ends() {
        let error = backend.load(&model.encode_to_vec().into(), ModelSettings::default()).err().unwrap();
        assert!(error.kind() == ErrorKind::Unsupported && error.chain().contains(&name), "{error:?}");
    }
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Tensors are counted in whole bytes, also those of types narrower than that.
#[test]
fn every_type_has_its_size() {
    let size = |data_type: i32, dims: &[i64]| {
        bytes_of(&pb::TensorProto { data_type, dims: dims.to_vec(), ..pb::TensorProto::default() })
    };
    for (data_type, dims, expected) in [
        (1, &[2, 3][..], Some(24)),
        (1, &[], Some(4)),
        (7, &[0, 5], Some(0)),
        (16, &[3], Some(6)),
        (15, &[1], Some(16)),
        (17, &[3], Some(3)),
        (22, &[3], Some(2)),
        (25, &[5], Some(2)),
        (8, &[1], None),
        (0, &[1], None),
        (99, &[1], None),
        (1, &[-1], None),
        (1, &[i64::MAX, 2, 2], None),
    ] {
        assert_eq!(size(data_type, dims), expected, "{data_type} {dims:?}");
    }
}
