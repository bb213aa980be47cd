//! Whether an output may be nothing but an input. OpenVINO takes operators away that do nothing, and where
//! none is left it looks for the output where an input lies, be it another request's.

use crate::onnx::messages as pb;

/// Operators that may do nothing.
const MOVES: &[&str] = &[
    "Cast",
    "CastLike",
    "Clip",
    "Concat",
    "DepthToSpace",
    "Dropout",
    "Expand",
    "Flatten",
    "Identity",
    "If",
    "Loop",
    "Max",
    "Mean",
    "Min",
    "Optional",
    "OptionalGetElement",
    "Pad",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "Reshape",
    "Resize",
    "Scan",
    "SequenceAt",
    "SequenceConstruct",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Sum",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Upsample",
    "Where",
];
/// And those that do nothing with that number.
const NEUTRAL: &[(&str, f32)] = &[("Add", 0.0), ("Sub", 0.0), ("Mul", 1.0), ("Div", 1.0), ("Pow", 1.0)];

/// The first output that nothing but such operators stands before.
pub(super) fn handed_on(model: &pb::ModelProto) -> Option<&str> {
    let graph = model.graph.as_ref()?;
    let weight = |name: &str| graph.initializer.iter().find(|tensor| tensor.name == name);
    let given = graph.input.iter().map(|input| input.name.as_str()).filter(|name| weight(name).is_none());
    let mut reached: std::collections::HashSet<&str> = given.collect();
    // Nodes stand behind those that they take from.
    for node in &graph.node {
        let idle = MOVES.contains(&node.op_type.as_str())
            || NEUTRAL.iter().any(|(op, neutral)| {
                node.op_type == *op
                    && node.input.iter().filter_map(|name| weight(name)).any(|tensor| is(tensor, *neutral))
            });
        if idle && node.input.iter().any(|name| reached.contains(name.as_str())) {
            reached.extend(node.output.iter().filter(|name| !name.is_empty()).map(String::as_str));
        }
    }
    graph.output.iter().map(|output| output.name.as_str()).find(|name| reached.contains(name))
}

/// Whether all numbers of a weight are that, or are not known here.
fn is(tensor: &pb::TensorProto, number: f32) -> bool {
    match (tensor.data_type, tensor.raw_data.as_slice()) {
        (1, []) => tensor.float_data.iter().all(|value| *value == number),
        (1, raw) => raw.chunks(4).all(|value| value == number.to_le_bytes()),
        (6, raw) if !raw.is_empty() => raw.chunks(4).all(|value| value == (number as i32).to_le_bytes()),
        (7, raw) if !raw.is_empty() => raw.chunks(8).all(|value| value == (number as i64).to_le_bytes()),
        _ => true,
    }
}
