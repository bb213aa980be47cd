//! ONNX files as tests want them, written here: a graph a case.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use prost::Message as _;

use crate::onnx::messages::{
    self as pb, attribute_proto::AttributeType, tensor_shape_proto::Dimension,
    tensor_shape_proto::dimension::Value as Dim, type_proto,
};
use crate::{DataType, Tensor};

/// A graph that grows by its nodes.
#[derive(Clone)]
pub(crate) struct Graph {
    pub(crate) proto: pb::GraphProto,
    pub(crate) functions: Vec<pb::FunctionProto>,
    pub(crate) opset: i64,
}

/// The value of an attribute.
#[derive(Clone)]
pub(crate) enum Is {
    Int(i64),
    Ints(Vec<i64>),
    Text(&'static str),
    Floats(Vec<f32>),
    Texts(Vec<&'static str>),
    Graph(Box<Graph>),
}

impl Graph {
    pub(crate) fn new() -> Self {
        let proto = pb::GraphProto { name: "test".into(), ..pb::GraphProto::default() };
        Self { proto, functions: Vec::new(), opset: 17 }
    }

    pub(crate) fn opset(mut self, version: i64) -> Self {
        self.opset = version;
        self
    }

    /// Dimensions are sizes, names, or `?`; separated by blanks. `-` is no shape at all.
    pub(crate) fn input(mut self, name: &str, dtype: DataType, dims: &str) -> Self {
        self.proto.input.push(info(name, dtype, dims));
        self
    }

    pub(crate) fn output(mut self, name: &str, dtype: DataType, dims: &str) -> Self {
        self.proto.output.push(info(name, dtype, dims));
        self
    }

    pub(crate) fn weight(mut self, name: &str, tensor: &Tensor) -> Self {
        self.proto.initializer.push(proto(name, tensor));
        self
    }

    /// `inputs` and `outputs` are names with blanks between; `_` leaves one out.
    pub(crate) fn node(self, op: &str, inputs: &str, outputs: &str) -> Self {
        self.with(op, inputs, outputs, &[])
    }

    pub(crate) fn with(mut self, op: &str, inputs: &str, outputs: &str, attributes: &[(&str, Is)]) -> Self {
        let names = |text: &str| {
            text.split_whitespace().map(|name| if name == "_" { "" } else { name }.to_owned()).collect()
        };
        let (domain, op) = op.split_once(':').unwrap_or(("", op));
        self.proto.node.push(pb::NodeProto {
            input: names(inputs),
            output: names(outputs),
            name: format!("node-{}", self.proto.node.len()),
            op_type: op.into(),
            domain: domain.into(),
            attribute: attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
            ..pb::NodeProto::default()
        });
        self
    }

    /// A function of the file's own: its nodes are those of `body`.
    pub(crate) fn function(mut self, name: &str, inputs: &[&str], outputs: &[&str], body: &Graph) -> Self {
        self.functions.push(pb::FunctionProto {
            name: Some(name.into()),
            domain: Some("own".into()),
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: outputs.iter().map(|name| (*name).to_owned()).collect(),
            node: body.proto.node.clone(),
            opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: self.opset }],
            ..pb::FunctionProto::default()
        });
        self
    }

    pub(crate) fn model(&self) -> pb::ModelProto {
        let opset = |domain: &str, version| pb::OperatorSetIdProto { domain: domain.into(), version };
        let mut opset_import = vec![opset("", self.opset), opset("ai.onnx.ml", 3)];
        if !self.functions.is_empty() {
            opset_import.push(opset("own", 1));
        }
        pb::ModelProto {
            ir_version: 8,
            opset_import,
            graph: Some(self.proto.clone()),
            functions: self.functions.clone(),
            ..pb::ModelProto::default()
        }
    }

    pub(crate) fn bytes(&self) -> Bytes {
        self.model().encode_to_vec().into()
    }
}

fn info(name: &str, dtype: DataType, dims: &str) -> pb::ValueInfoProto {
    let dimension = |text: &str| Dimension {
        value: match text.parse() {
            Ok(size) => Some(Dim::DimValue(size)),
            Err(_) => (text != "?").then(|| Dim::DimParam(text.to_owned())),
        },
        ..Dimension::default()
    };
    let shape =
        (dims != "-").then(|| pb::TensorShapeProto { dim: dims.split_whitespace().map(dimension).collect() });
    let tensor = type_proto::TensorType { elem_type: element(dtype), shape };
    let r#type =
        pb::TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..pb::TypeProto::default() };
    pb::ValueInfoProto { name: name.into(), r#type: Some(r#type), ..pb::ValueInfoProto::default() }
}

fn proto(name: &str, tensor: &Tensor) -> pb::TensorProto {
    let mut proto = pb::TensorProto {
        name: name.into(),
        dims: tensor.shape().iter().map(|dim| *dim as i64).collect(),
        data_type: element(tensor.dtype()),
        ..pb::TensorProto::default()
    };
    if tensor.dtype() == DataType::Bytes {
        proto.string_data = tensor.strings().map(<[u8]>::to_vec).collect();
    } else {
        proto.raw_data = tensor.bytes().to_vec();
    }
    proto
}

fn attribute(name: &str, value: &Is) -> pb::AttributeProto {
    let mut attribute = pb::AttributeProto { name: name.into(), ..pb::AttributeProto::default() };
    let kind = match value {
        Is::Int(value) => {
            attribute.i = *value;
            AttributeType::Int
        }
        Is::Ints(values) => {
            attribute.ints.clone_from(values);
            AttributeType::Ints
        }
        Is::Floats(values) => {
            attribute.floats.clone_from(values);
            AttributeType::Floats
        }
        Is::Texts(texts) => {
            attribute.strings = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
            AttributeType::Strings
        }
        Is::Text(text) => {
            attribute.s = text.as_bytes().to_vec();
            AttributeType::String
        }
        Is::Graph(graph) => {
            attribute.g = Some(graph.proto.clone());
            AttributeType::Graph
        }
    };
    attribute.r#type = kind as i32;
    attribute
}

/// The numbers of `TensorProto.DataType` in the ONNX specification.
fn element(dtype: DataType) -> i32 {
    match dtype {
        DataType::F32 => 1,
        DataType::U8 => 2,
        DataType::I8 => 3,
        DataType::U16 => 4,
        DataType::I16 => 5,
        DataType::I32 => 6,
        DataType::I64 => 7,
        DataType::Bytes => 8,
        DataType::Bool => 9,
        DataType::F16 => 10,
        DataType::F64 => 11,
        DataType::U32 => 12,
        DataType::U64 => 13,
        DataType::BF16 => 16,
    }
}
