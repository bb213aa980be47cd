//! What Eyot has read off a file, as tract's own types of the same messages. Everything is moved: a model's weights
//! are there once.

use tract_onnx::pb;

use crate::onnx::messages as read;

pub(super) fn model(model: read::ModelProto) -> pb::ModelProto {
    pb::ModelProto {
        ir_version: model.ir_version,
        opset_import: all(model.opset_import, operator_set),
        producer_name: model.producer_name,
        producer_version: model.producer_version,
        domain: model.domain,
        model_version: model.model_version,
        doc_string: model.doc_string,
        graph: model.graph.map(graph),
        metadata_props: all(model.metadata_props, entry),
        training_info: all(model.training_info, training),
        functions: all(model.functions, function),
    }
}

fn all<T, U>(items: Vec<T>, one: impl Fn(T) -> U) -> Vec<U> {
    items.into_iter().map(one).collect()
}

fn graph(graph: read::GraphProto) -> pb::GraphProto {
    pb::GraphProto {
        node: all(graph.node, node),
        name: graph.name,
        initializer: all(graph.initializer, tensor),
        sparse_initializer: all(graph.sparse_initializer, sparse),
        doc_string: graph.doc_string,
        input: all(graph.input, value),
        output: all(graph.output, value),
        value_info: all(graph.value_info, value),
        quantization_annotation: all(graph.quantization_annotation, annotation),
    }
}

fn node(node: read::NodeProto) -> pb::NodeProto {
    pb::NodeProto {
        input: node.input,
        output: node.output,
        name: node.name,
        op_type: node.op_type,
        domain: node.domain,
        attribute: all(node.attribute, attribute),
        doc_string: node.doc_string,
    }
}

fn attribute(attribute: read::AttributeProto) -> pb::AttributeProto {
    pb::AttributeProto {
        name: attribute.name,
        ref_attr_name: attribute.ref_attr_name,
        doc_string: attribute.doc_string,
        r#type: attribute.r#type,
        f: attribute.f,
        i: attribute.i,
        s: attribute.s,
        t: attribute.t.map(tensor),
        g: attribute.g.map(graph),
        sparse_tensor: attribute.sparse_tensor.map(sparse),
        floats: attribute.floats,
        ints: attribute.ints,
        strings: attribute.strings,
        tensors: all(attribute.tensors, tensor),
        graphs: all(attribute.graphs, graph),
        sparse_tensors: all(attribute.sparse_tensors, sparse),
        type_protos: all(attribute.type_protos, kind),
    }
}

fn tensor(tensor: read::TensorProto) -> pb::TensorProto {
    let segment =
        |one: read::tensor_proto::Segment| pb::tensor_proto::Segment { begin: one.begin, end: one.end };
    pb::TensorProto {
        dims: tensor.dims,
        data_type: tensor.data_type,
        segment: tensor.segment.map(segment),
        float_data: tensor.float_data,
        int32_data: tensor.int32_data,
        string_data: tensor.string_data,
        int64_data: tensor.int64_data,
        name: tensor.name,
        doc_string: tensor.doc_string,
        raw_data: tensor.raw_data,
        double_data: tensor.double_data,
        uint64_data: tensor.uint64_data,
        data_location: tensor.data_location,
        external_data: all(tensor.external_data, entry),
    }
}

fn sparse(sparse: read::SparseTensorProto) -> pb::SparseTensorProto {
    pb::SparseTensorProto {
        values: sparse.values.map(tensor),
        indices: sparse.indices.map(tensor),
        dims: sparse.dims,
    }
}

fn value(value: read::ValueInfoProto) -> pb::ValueInfoProto {
    pb::ValueInfoProto { name: value.name, r#type: value.r#type.map(kind), doc_string: value.doc_string }
}

fn kind(kind: read::TypeProto) -> pb::TypeProto {
    let value = kind.value.map(|read::type_proto::Value::TensorType(tensor)| {
        let dim = |shape: read::TensorShapeProto| pb::TensorShapeProto { dim: all(shape.dim, dimension) };
        let shape = tensor.shape.map(dim);
        pb::type_proto::Value::TensorType(pb::type_proto::Tensor { elem_type: tensor.elem_type, shape })
    });
    pb::TypeProto { denotation: kind.denotation, value }
}

fn dimension(dimension: read::tensor_shape_proto::Dimension) -> pb::tensor_shape_proto::Dimension {
    use pb::tensor_shape_proto::dimension::Value;
    use read::tensor_shape_proto::dimension::Value as Read;

    let value = dimension.value.map(|value| match value {
        Read::DimValue(size) => Value::DimValue(size),
        Read::DimParam(name) => Value::DimParam(name),
    });
    pb::tensor_shape_proto::Dimension { denotation: dimension.denotation, value }
}

fn annotation(annotation: read::TensorAnnotation) -> pb::TensorAnnotation {
    pb::TensorAnnotation {
        tensor_name: annotation.tensor_name,
        quant_parameter_tensor_names: all(annotation.quant_parameter_tensor_names, entry),
    }
}

fn entry(entry: read::StringStringEntryProto) -> pb::StringStringEntryProto {
    pb::StringStringEntryProto { key: entry.key, value: entry.value }
}

fn operator_set(set: read::OperatorSetIdProto) -> pb::OperatorSetIdProto {
    pb::OperatorSetIdProto { domain: set.domain, version: set.version }
}

fn training(training: read::TrainingInfoProto) -> pb::TrainingInfoProto {
    pb::TrainingInfoProto {
        initialization: training.initialization.map(graph),
        algorithm: training.algorithm.map(graph),
        initialization_binding: all(training.initialization_binding, entry),
        update_binding: all(training.update_binding, entry),
    }
}

fn function(function: read::FunctionProto) -> pb::FunctionProto {
    pb::FunctionProto {
        name: function.name,
        input: function.input,
        output: function.output,
        attribute: function.attribute,
        node: all(function.node, node),
        doc_string: function.doc_string,
        opset_import: all(function.opset_import, operator_set),
        domain: function.domain,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use prost::Message as _;

    use super::*;

    /// Both types read every file of the tests alike, and write it alike.
    #[test]
    fn nothing_is_lost_on_the_way_to_tract() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/onnx");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut count = 0;
        for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "onnx")) {
            let bytes = std::fs::read(&file).unwrap();
            let ours = read::ModelProto::decode(bytes.as_slice()).unwrap();
            let theirs = pb::ModelProto::decode(bytes.as_slice()).unwrap();
            assert_eq!(ours.encode_to_vec(), theirs.encode_to_vec(), "{}", file.display());
            assert!(model(ours) == theirs, "{}", file.display());
            count += 1;
        }
        assert!(count > 5, "only {count} files");
    }
}
