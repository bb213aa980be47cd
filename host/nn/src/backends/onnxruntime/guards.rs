//! What ONNX Runtime does not survive, kept away from it.

use bytes::Bytes;
use prost::Message as _;

use crate::onnx::element_codes::INT64_CODE;
use crate::onnx::messages::{self as pb, attribute_proto::AttributeType};

/// Computes over places of which there may be none: then version 1.32 reads through a null pointer, which ends the
/// process. A picture that is too small is enough.
const UNSAFE_OF_NOTHING: &str = "InstanceNormalization";

/// The file with a check before each such operator: of nothing, it fails.
pub(super) fn guarded(mut proto: pb::ModelProto, bytes: Bytes) -> Bytes {
    let graphs = proto.graph.iter_mut().map(|graph| &mut graph.node);
    let bodies = graphs.chain(proto.functions.iter_mut().map(|function| &mut function.node));
    let found: usize = bodies.map(guard).sum();
    if found > 0 { proto.encode_to_vec().into() } else { bytes }
}

/// How many were found.
fn guard(nodes: &mut Vec<pb::NodeProto>) -> usize {
    let mut found = 0;
    for mut node in std::mem::take(nodes) {
        for attribute in &mut node.attribute {
            let graphs = attribute.g.iter_mut().chain(&mut attribute.graphs);
            found += graphs.map(|graph| guard(&mut graph.node)).sum::<usize>();
        }
        let standard = matches!(node.domain.as_str(), "" | "ai.onnx");
        if standard && node.op_type == UNSAFE_OF_NOTHING && !node.input.is_empty() {
            found += 1;
            let of = node.output.first().cloned().unwrap_or_default();
            let (checks, checked) = checks(&node.input[0], &of);
            node.input[0] = checked;
            nodes.extend(checks);
        }
        nodes.push(node);
    }
    found
}

/// Nodes that hand a value on, or fail where it is of no elements: the second of one is not there.
fn checks(value: &str, of: &str) -> (Vec<pb::NodeProto>, String) {
    let name = |what: &str| format!("{of}/eyot-{what}");
    let int = |name: &str, i: i64| pb::AttributeProto {
        name: name.to_owned(),
        i,
        r#type: AttributeType::Int as i32,
        ..pb::AttributeProto::default()
    };
    let node = |op: &str, inputs: &[&str], output: &str, attribute: Vec<pb::AttributeProto>| pb::NodeProto {
        input: inputs.iter().map(|input| (*input).to_owned()).collect(),
        output: vec![output.to_owned()],
        name: output.to_owned(),
        op_type: op.to_owned(),
        attribute,
        ..pb::NodeProto::default()
    };
    let constant = |dims: Vec<i64>, number: i64| {
        let t = Some(pb::TensorProto {
            dims,
            data_type: INT64_CODE,
            int64_data: vec![number],
            ..pb::TensorProto::default()
        });
        let r#type = AttributeType::Tensor as i32;
        vec![pb::AttributeProto { name: "value".to_owned(), t, r#type, ..pb::AttributeProto::default() }]
    };
    let [zero, ones, shape, count, none, place, one, same, checked] =
        ["zero", "ones", "shape", "count", "none", "place", "is-not-empty", "same", "checked"].map(name);
    let nodes = vec![
        node("Constant", &[], &zero, constant(Vec::new(), 0)),
        node("Constant", &[], &ones, constant(vec![1], 1)),
        node("Shape", &[value], &shape, Vec::new()),
        node("ReduceProd", &[&shape], &count, vec![int("keepdims", 0)]),
        node("Equal", &[&count, &zero], &none, Vec::new()),
        node("Cast", &[&none], &place, vec![int("to", INT64_CODE.into())]),
        node("Gather", &[&ones, &place], &one, Vec::new()),
        node("Mul", &[&shape, &one], &same, Vec::new()),
        node("Reshape", &[value, &same], &checked, Vec::new()),
    ];
    (nodes, checked)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_core::config::BackendChoice;

    use crate::graphs::{Graph, Is};
    use crate::suite::installed;
    use crate::{DataType, ModelSettings, Tensor};

    #[test]
    fn what_is_computed_of_nothing_fails_and_ends_nobody() {
        let Some(backend) = installed(BackendChoice::Onnxruntime) else { return };
        let ones = Tensor::of(vec![2], &[1_f32; 2]).unwrap();
        let window = [("kernel_shape", Is::Ints(vec![2]))];
        let graph = Graph::new().input("x", DataType::F32, "n 2 s").weight("w", &ones);
        let graph = graph.with("AveragePool", "x", "a", &window).node("InstanceNormalization", "a w w", "y");
        let model = backend
            .load(&graph.output("y", DataType::F32, "n 2 ?").bytes(), ModelSettings::default())
            .unwrap();
        let run = |places: usize| {
            let values: Vec<f32> = (0..2 * places).map(|at| (at * at) as f32).collect();
            model.run(&[Tensor::of(vec![1, 2, places], &values).unwrap()])
        };
        assert_eq!(run(4).unwrap()[0].shape(), [1, 2, 3]);
        let error = run(1).unwrap_err();
        assert!(error.chain().contains("y/eyot-is-not-empty"), "{error:?}");
        assert_eq!(run(3).unwrap()[0].shape(), [1, 2, 2]);
    }
}
