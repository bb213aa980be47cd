//! scikit-learn's exporter has classifiers answer with a list of maps, from class to probability. No protocol has
//! those, and all that is in them is in the tensor that they are made of: a column a class, in the classes' order.

use super::element_codes::FLOAT_CODE;
use crate::onnx::messages::{
    self as pb, tensor_shape_proto::Dimension, tensor_shape_proto::dimension::Value as Dim, type_proto,
};

/// What knows `Identity` in the form that is written here.
const OPSET_VERSION: i64 = 13;

/// Outputs that are such lists become the tensors. Whether there were any.
pub(super) fn to_tensors(model: &mut pb::ModelProto) -> bool {
    let Some(graph) = &mut model.graph else { return false };
    let mut found = false;
    for output in &mut graph.output {
        // What else reads the list wants a list.
        if graph.node.iter().any(|node| node.input.contains(&output.name)) {
            continue;
        }
        let maker = graph.node.iter_mut().find(|node| node.output.contains(&output.name));
        let Some(node) = maker.filter(|node| node.op_type == "ZipMap" && node.domain == "ai.onnx.ml") else {
            continue;
        };
        let labels = node.attribute.iter().map(|attribute| attribute.ints.len().max(attribute.strings.len()));
        output.r#type = Some(table(labels.max().unwrap_or_default()));
        node.op_type = "Identity".to_owned();
        node.domain.clear();
        node.attribute.clear();
        found = true;
    }
    let standard = |import: &pb::OperatorSetIdProto| matches!(import.domain.as_str(), "" | "ai.onnx");
    if found && !model.opset_import.iter().any(standard) {
        model.opset_import.push(pb::OperatorSetIdProto { domain: String::new(), version: OPSET_VERSION });
    }
    found
}

/// Any number of rows, of so many columns where that is known.
fn table(columns: usize) -> pb::TypeProto {
    let columns = (columns > 0).then_some(Dim::DimValue(columns as i64));
    let dim = [None, columns].map(|value| Dimension { value, ..Dimension::default() }).to_vec();
    let tensor = type_proto::TensorType { elem_type: FLOAT_CODE, shape: Some(pb::TensorShapeProto { dim }) };
    pb::TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..pb::TypeProto::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::graphs::{Graph, Is};
    use crate::suite::back_ends;
    use crate::{DataType, ModelSettings, Tensor, TensorSpec, independence, onnx};

    #[test]
    fn lists_of_maps_are_tables() {
        let labels = [("classlabels_strings", Is::Texts(vec!["no", "yes"]))];
        let graph = Graph::new().input("x", DataType::F32, "n 2").node("Neg", "x", "a");
        let graph = graph.with("ai.onnx.ml:ZipMap", "a", "y", &labels).output("y", DataType::I64, "");
        let x = Tensor::of(vec![3, 2], &[1_f32, 2., 3., 4., 5., 6.]).unwrap();
        let negated = Tensor::of(vec![3, 2], &[-1_f32, -2., -3., -4., -5., -6.]).unwrap();
        assert_eq!(independence::prove(&onnx::parse(&graph.bytes()).unwrap()), Ok(()));
        for backend in back_ends() {
            let model = backend.load(&graph.bytes(), ModelSettings::default()).unwrap();
            assert_eq!(model.signature().outputs, [TensorSpec::new("y", DataType::F32, [-1, 2])]);
            assert_eq!(
                model.run(std::slice::from_ref(&x)).unwrap(),
                std::slice::from_ref(&negated),
                "{}",
                backend.name()
            );
        }
    }
}
