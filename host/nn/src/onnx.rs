//! What Eyot reads off an ONNX file itself, before any back end sees it.

pub(crate) mod element_codes;
mod external;
mod maps;
pub(crate) mod messages;
#[cfg(test)]
mod named_files;
pub(crate) mod values;

use std::collections::HashMap;

use bytes::Bytes;
use eyot_core::onnx::first_named_file;
use eyot_core::{Error, Result};
use prost::Message as _;

pub(crate) use self::external::ExternalData;
pub use self::external::is_plain_name;
use self::messages::{self as pb, tensor_shape_proto::dimension::Value as Dim, type_proto};
use crate::{DataType, ModelFiles, ModelSignature, TensorSpec};

/// A model as it is to be loaded.
pub(crate) struct ParsedModel {
    pub(crate) proto: pb::ModelProto,
    /// The file, where it still says the same.
    file: Option<Bytes>,
}

/// The largest message that any parser of the format takes.
const MAX_FILE_BYTES: usize = i32::MAX as usize;

impl ParsedModel {
    /// The file that says what the model is now.
    ///
    /// Fails with `Unsupported` where no file can hold it.
    pub(crate) fn bytes(&self) -> Result<Bytes> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        encode(&self.proto)
    }
}

/// A file that says what a model is.
///
/// Fails with `Unsupported` where no file can hold it.
pub(crate) fn encode(proto: &pb::ModelProto) -> Result<Bytes> {
    match proto.encoded_len() {
        0..=MAX_FILE_BYTES => Ok(proto.encode_to_vec().into()),
        _ => Err(Error::unsupported(
            "with its weights inside the model is larger than 2 GiB, where files of the format end",
        )
        .hint("onnxruntime takes weights from beside the model: --backend onnxruntime")),
    }
}

/// Parses a file that is a model by itself.
#[cfg(test)]
pub(crate) fn parse(bytes: &Bytes) -> Result<pb::ModelProto> {
    parse_files(&bytes.clone().into(), ExternalData::Inlined).map(|parsed| parsed.proto)
}

/// Parses a model and refuses what no back end should be given. Maps are tensors in what comes of it.
pub(crate) fn parse_files(files: &ModelFiles, outside: ExternalData) -> Result<ParsedModel> {
    let bytes = &files.onnx;
    let parsed = pb::ModelProto::decode(bytes.as_ref());
    let mut proto = parsed.map_err(|error| no_model(bytes, &format!("{error:#}")))?;
    if proto.graph.as_ref().is_none_or(|graph| graph.output.is_empty()) {
        return Err(no_model(bytes, "it has no graph with an output"));
    }
    let mut is_unchanged = true;
    if files.data.is_empty() {
        inline(bytes)?;
        // A name that looks like something else to who walks over bytes is one to who knows the format.
        external::settle(&mut proto, files, outside)?;
    } else {
        let is_plain = external::settle(&mut proto, files, outside)?;
        is_unchanged = is_plain && outside == ExternalData::Kept;
    }
    no_foreign_code(bytes, &proto)?;
    is_unchanged &= !maps::to_tensors(&mut proto);
    Ok(ParsedModel { proto, file: is_unchanged.then(|| bytes.clone()) })
}

fn no_model(bytes: &Bytes, why: &str) -> Error {
    let known = match bytes.as_ref() {
        [] => Some("an empty file"),
        [b'\0', b'a', b's', b'm', ..] => Some("a wasm file"),
        [0x80, ..] => Some("a pickle, which is never loaded"),
        [b'P', b'K', ..] => Some("a zip archive"),
        [b'{' | b'[', ..] => Some("JSON"),
        _ => None,
    };
    let message = match known {
        Some(known) => format!("the file is no ONNX model: it is {known}"),
        None => format!("the file is no ONNX model: {why}"),
    };
    Error::invalid(message).hint("export the model to ONNX, as with skl2onnx or torch.onnx.export")
}

/// What to do about weights in files that did not come with the model.
const INLINE: &str = "push the model with the file beside it (eyot push takes both), or save it with its weights inside: onnx.save(model, path, save_as_external_data=False)";

/// A tensor in another file would let a model read whatever file it names.
fn inline(bytes: &[u8]) -> Result<()> {
    let Some(file) = first_named_file(bytes) else { return Ok(()) };
    let shown: String = file.chars().take(200).collect();
    Err(Error::unsupported(format!("a tensor of the model lies in another file, '{shown}'")).hint(INLINE))
}

/// A node that stands for what another tool has compiled can name files of its own, and so can a file of ONNX
/// Runtime's own format under the guise of this one.
fn no_foreign_code(bytes: &[u8], model: &pb::ModelProto) -> Result<()> {
    if bytes.get(4..8) == Some(b"ORTM") {
        return Err(Error::unsupported("the file is a model in ONNX Runtime's own format")
            .hint("deploy the ONNX file that it was made of"));
    }
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    let functions = model.functions.iter().flat_map(|function| &function.node);
    nodes.chain(functions).try_for_each(own_work)
}

/// Fails for a node, or one in its graphs, that names a file of compiled code.
fn own_work(node: &pb::NodeProto) -> Result<()> {
    if node.op_type == "EPContext" {
        return Err(Error::unsupported(format!("node '{}' is compiled code of one machine", node.name))
            .hint("deploy the ONNX file that it was compiled from"));
    }
    let graphs = node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs));
    graphs.flat_map(|graph| &graph.node).try_for_each(own_work)
}

/// Inputs and outputs as the file declares them. What has a default may be left out.
pub(crate) fn signature(model: &pb::ModelProto) -> Result<ModelSignature> {
    let Some(graph) = &model.graph else { return Ok(ModelSignature::default()) };
    let sparse = graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref());
    let sparse = sparse.map(|values| (values.name.as_str(), None));
    let dense = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), Some(tensor)));
    let defaults: HashMap<&str, Option<&pb::TensorProto>> = sparse.chain(dense).collect();
    let mut signature = ModelSignature::default();
    for info in &graph.input {
        let Some(default) = defaults.get(info.name.as_str()) else {
            signature.inputs.push(spec("input", info)?);
            continue;
        };
        match spec("input", info) {
            Ok(spec) if model.ir_version >= DEFAULTS_IR_VERSION => {
                let shown = default.map_or_else(|| "sparse".to_owned(), values::shown);
                signature.optional_inputs.push(spec.or_default(shown));
            }
            _ => signature.fixed_inputs.names.push(info.name.clone()),
        }
    }
    signature.fixed_inputs.hint = ONLY_WEIGHTS;
    signature.outputs = graph.output.iter().map(|info| spec("output", info)).collect::<Result<_>>()?;
    Ok(signature)
}

/// The first version of the format in which a weight need not be listed as an input. Before it all of them are, and
/// nothing tells a default from a constant: ONNX Runtime takes all for constants, and so must every back end here.
const DEFAULTS_IR_VERSION: i64 = 4;
const ONLY_WEIGHTS: &str = "files before IR version 4 have weights, not inputs with defaults: export the model anew, or raise its version with onnx.version_converter";

fn spec(what: &str, info: &pb::ValueInfoProto) -> Result<TensorSpec> {
    let name = info.name.clone();
    let Some(type_proto::Value::TensorType(tensor)) = info.r#type.as_ref().and_then(|ty| ty.value.as_ref())
    else {
        return Err(Error::unsupported(format!("{what} '{name}' is no tensor")).hint(
            "export with tensors only; for scikit-learn: to_onnx(model, x, options={'zipmap': False})",
        ));
    };
    let dtype = data_type(tensor.elem_type).ok_or_else(|| {
        Error::unsupported(format!("{what} '{name}' has elements of ONNX type {}", tensor.elem_type))
    })?;
    let Some(shape) = &tensor.shape else {
        return Ok(TensorSpec { any_shape: true, ..TensorSpec::new(name, dtype, []) });
    };
    let sizes = shape.dim.iter().map(|dim| match dim.value {
        Some(Dim::DimValue(size)) if size > 0 => size,
        // Exporters write 0 for a dimension that they know nothing of.
        Some(Dim::DimValue(_) | Dim::DimParam(_)) | None => -1,
    });
    let sizes: Vec<i64> = sizes.collect();
    let names = shape.dim.iter().map(|dim| dimension_name(dim).map(str::to_owned));
    let names: Vec<_> = names.collect();
    let dimensions = if names.iter().any(Option::is_some) { names } else { Vec::new() };
    Ok(TensorSpec { dimensions, ..TensorSpec::new(name, dtype, sizes) })
}

/// The numbers of `TensorProto.DataType` in the ONNX specification.
fn data_type(number: i32) -> Option<DataType> {
    Some(match number {
        1 => DataType::F32,
        2 => DataType::U8,
        3 => DataType::I8,
        4 => DataType::U16,
        5 => DataType::I16,
        6 => DataType::I32,
        7 => DataType::I64,
        8 => DataType::Bytes,
        9 => DataType::Bool,
        10 => DataType::F16,
        11 => DataType::F64,
        12 => DataType::U32,
        13 => DataType::U64,
        16 => DataType::BF16,
        _ => return None,
    })
}

/// What a dimension is called, where that says something: exporters also write words for not knowing it.
pub(crate) fn dimension_name(dim: &pb::tensor_shape_proto::Dimension) -> Option<&str> {
    match &dim.value {
        Some(Dim::DimParam(name)) if !matches!(name.as_str(), "" | "?" | "-1" | "None") => Some(name),
        _ => None,
    }
}
