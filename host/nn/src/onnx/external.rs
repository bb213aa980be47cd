//! Weights that lie in files beside the model's. A tensor names a file, and a place in it: only files that came with the
//! model count, by nothing but their names, and no back end is left to open any itself.

use eyot_core::onnx::named_files;
use eyot_core::{Error, Result};

use super::element_codes::STRING_CODE;
use crate::onnx::messages::{self as pb, tensor_proto::DataLocation};
use crate::{DataFile, ModelFiles};

/// What becomes of the tensors that lie beside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExternalData {
    /// All of them lie inside, then.
    Inlined,
    /// Large weights of the graph itself stay where they are.
    Kept,
}

/// Weights up to this size are taken inside in any case: shapes and the like are looked at before a model runs.
const SMALL_BYTES: u64 = 64 << 10;

/// Where a tensor lies.
struct ExternalRange {
    tensor: String,
    file: usize,
    start: u64,
    end: u64,
}

/// Which part of a model a tensor is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TensorPlace {
    /// The graph itself.
    Main,
    /// A graph, a node or a list inside of something.
    Nested,
}

/// Takes inside what lies in the files beside the model. Whether nothing but weights of the graph itself does: then
/// the file as it is can be loaded, too, by who has the files.
///
/// Fails with `Unsupported` for a file that did not come with the model, `Invalid` where a tensor is not what its
/// place in a file holds; both name tensor and file.
pub(super) fn settle(model: &mut pb::ModelProto, files: &ModelFiles, outside: ExternalData) -> Result<bool> {
    let mut claims: Vec<ExternalRange> = Vec::new();
    let mut is_plain = true;
    each_tensor(model, &mut |tensor, part| {
        let Some(claim) = claim(tensor, files)? else { return Ok(()) };
        is_plain &= part == TensorPlace::Main;
        let length = claim.end - claim.start;
        if outside == ExternalData::Inlined || part == TensorPlace::Nested || length <= SMALL_BYTES {
            let bytes = files.data[claim.file].bytes.get(claim.start as usize..claim.end as usize);
            tensor.raw_data = bytes.unwrap_or_default().to_vec();
            tensor.external_data.clear();
            tensor.data_location = None;
        }
        claims.push(claim);
        Ok(())
    })?;
    let mut named: Vec<&str> = claims.iter().map(|claim| files.data[claim.file].name.as_str()).collect();
    named.sort_unstable();
    let mut found = named_files(&files.onnx);
    found.sort_unstable();
    // What lies in a place that is not known here was not looked at.
    if named != found {
        let hidden = found.iter().find(|name| {
            let count = |all: &mut dyn Iterator<Item = &str>| all.filter(|one| one == name).count();
            count(&mut found.iter().map(String::as_str)) != count(&mut named.iter().copied())
        });
        let hidden: String = hidden.map_or("?", String::as_str).chars().take(MAX_SHOWN_CHARACTERS).collect();
        let message =
            format!("something in the model that is no tensor of its graph names the file '{hidden}'");
        return Err(Error::unsupported(message).hint(super::INLINE));
    }
    check_apart(&mut claims, files)?;
    Ok(is_plain)
}

/// Characters of a name from a file that a message shows.
const MAX_SHOWN_CHARACTERS: usize = 200;

/// Fails where two tensors share bytes: so few bytes could be made any number of tensors of.
fn check_apart(claims: &mut [ExternalRange], files: &ModelFiles) -> Result<()> {
    claims.sort_by_key(|claim| (claim.file, claim.start, claim.end));
    let mut before: Option<&ExternalRange> = None;
    for claim in claims.iter().filter(|claim| claim.end > claim.start) {
        if let Some(before) = before.filter(|before| before.file == claim.file && before.end > claim.start) {
            return Err(Error::invalid(format!(
                "the tensors '{}' and '{}' of the model overlap in the file '{}'",
                before.tensor, claim.tensor, files.data[claim.file].name
            ))
            .hint("save the model anew, with onnx.save(model, path, save_as_external_data=True)"));
        }
        before = Some(claim);
    }
    Ok(())
}

/// Where a tensor lies, if it does not lie in the model's file.
fn claim(tensor: &pb::TensorProto, files: &ModelFiles) -> Result<Option<ExternalRange>> {
    let is_outside = tensor.data_location == Some(DataLocation::External as i32);
    if !is_outside && tensor.external_data.is_empty() {
        return Ok(None);
    }
    let name: String = tensor.name.chars().take(MAX_SHOWN_CHARACTERS).collect();
    let entry = |key: &str| -> Result<Option<&str>> {
        let mut found = tensor.external_data.iter().filter(|entry| entry.key == key);
        match (found.next(), found.next()) {
            (found, None) => Ok(found.map(|entry| entry.value.as_str())),
            _ => Err(Error::invalid(format!("the tensor '{name}' of the model has two values for '{key}'"))),
        }
    };
    let location = entry("location")?;
    let location = location.filter(|_| is_outside).ok_or_else(|| {
        Error::invalid(format!(
            "the tensor '{name}' of the model lies half inside and half outside of its file"
        ))
    })?;
    let file = the_only(location, &name, files)?;
    let wrong = |why: &str| {
        Error::invalid(format!(
            "the tensor '{name}' of the model {why} in the file '{}'",
            files.data[file].name
        ))
        .hint("push the model with the file that was written with it")
    };
    let number = |key: &str| -> Result<Option<u64>> {
        let text = entry(key)?.filter(|text| !text.is_empty());
        text.map(|text| text.parse().map_err(|_| wrong(&format!("has no number for its '{key}'"))))
            .transpose()
    };
    let size = bytes_of(tensor).ok_or_else(|| wrong("has a type or a shape that has no place"))?;
    if number("length")?.is_some_and(|length| length != size) {
        return Err(wrong(&format!("has {size} bytes by its shape, and another length")));
    }
    let start = number("offset")?.unwrap_or(0);
    let end = start.checked_add(size).filter(|end| *end <= files.data[file].bytes.len() as u64);
    let end = end.ok_or_else(|| wrong("ends behind the last byte"))?;
    Ok(Some(ExternalRange { tensor: name, file, start, end }))
}

/// The file of exactly that name: a plain one, of which there is one.
fn the_only(location: &str, tensor: &str, files: &ModelFiles) -> Result<usize> {
    let mut found = files.data.iter().enumerate().filter(|(_, file)| file.name == location);
    let shown: String = location.chars().take(MAX_SHOWN_CHARACTERS).collect();
    let message = match (found.next(), found.next()) {
        (Some((file, _)), None) if is_plain_name(location) => return Ok(file),
        (Some(_), None) => {
            format!("the tensor '{tensor}' of the model lies in '{shown}', which is no plain name")
        }
        (Some(_), Some(_)) => {
            format!("the tensor '{tensor}' of the model lies in '{shown}', and two files have that name")
        }
        (None, _) => format!(
            "the tensor '{tensor}' of the model lies in another file, '{shown}', which did not come with it"
        ),
    };
    let known: Vec<String> =
        files.data.iter().take(20).map(|DataFile { name, .. }| format!("'{name}'")).collect();
    let came = if known.is_empty() { String::new() } else { format!("; with it came {}", known.join(", ")) };
    Err(Error::unsupported(message)
        .hint(format!("a model's weights lie beside it, in files without folders in their names{came}")))
}

/// Whether a name leads nowhere else.
pub fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0', ':'])
}

/// Bytes of a tensor's values by its type and shape.
fn bytes_of(tensor: &pb::TensorProto) -> Option<u64> {
    // The numbers of `TensorProto.DataType`; the last ones are narrower than a byte.
    let bits: u64 = match tensor.data_type {
        2 | 3 | 9 | 17..=20 | 24 => 8,
        4 | 5 | 10 | 16 => 16,
        1 | 6 | 12 => 32,
        7 | 11 | 13 | 14 => 64,
        15 => 128,
        21..=23 => 4,
        25 | 26 => 2,
        // Texts have no place in such files.
        STRING_CODE => return None,
        _ => return None,
    };
    let mut dims = tensor.dims.iter().map(|dim| u64::try_from(*dim).ok());
    let count = dims.try_fold(1_u64, |count, dim| count.checked_mul(dim?))?;
    Some(count.checked_mul(bits)?.div_ceil(8))
}

type TensorVisitor<'a> = dyn FnMut(&mut pb::TensorProto, TensorPlace) -> Result<()> + 'a;

/// Every tensor of a model, in all places that the format has today.
fn each_tensor(model: &mut pb::ModelProto, visit: &mut TensorVisitor<'_>) -> Result<()> {
    if let Some(main) = &mut model.graph {
        graph(main, TensorPlace::Main, visit)?;
    }
    for function in &mut model.functions {
        function.node.iter_mut().try_for_each(|inner| node(inner, visit))?;
    }
    for training in &mut model.training_info {
        let graphs = training.initialization.iter_mut().chain(&mut training.algorithm);
        graphs.into_iter().try_for_each(|inner| graph(inner, TensorPlace::Nested, visit))?;
    }
    Ok(())
}

fn graph(graph: &mut pb::GraphProto, part: TensorPlace, visit: &mut TensorVisitor<'_>) -> Result<()> {
    graph.initializer.iter_mut().try_for_each(|tensor| visit(tensor, part))?;
    graph.sparse_initializer.iter_mut().try_for_each(|tensor| sparse(tensor, visit))?;
    graph.node.iter_mut().try_for_each(|inner| node(inner, visit))
}

fn sparse(tensor: &mut pb::SparseTensorProto, visit: &mut TensorVisitor<'_>) -> Result<()> {
    let parts = tensor.values.iter_mut().chain(&mut tensor.indices);
    parts.into_iter().try_for_each(|tensor| visit(tensor, TensorPlace::Nested))
}

fn node(node: &mut pb::NodeProto, visit: &mut TensorVisitor<'_>) -> Result<()> {
    for attribute in &mut node.attribute {
        let tensors = attribute.t.iter_mut().chain(&mut attribute.tensors);
        tensors.into_iter().try_for_each(|tensor| visit(tensor, TensorPlace::Nested))?;
        let lists = attribute.sparse_tensor.iter_mut().chain(&mut attribute.sparse_tensors);
        lists.into_iter().try_for_each(|tensor| sparse(tensor, visit))?;
        let graphs = attribute.g.iter_mut().chain(&mut attribute.graphs);
        graphs.into_iter().try_for_each(|inner| graph(inner, TensorPlace::Nested, visit))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
