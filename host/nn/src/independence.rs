//! Whether a graph gives each row what it would give that row alone: proved by walking it, never by trying.
//! What an operator does to rows is known here or it is not, and what is not known is a no.
//!
//! Rows lie along the first axis of every input. Calls are joined only where they are alike in everything
//! but their number of rows, so whatever does not depend on that number or on the rows is the same for all
//! of them. The walk follows, for each value, whether it is shared like that, or rows along one axis, of
//! which each (or each few in a row) comes of one row of the inputs, or numbers that tell how many rows
//! there are.

mod elementwise;
mod layout;
mod linear;
mod numbers;
mod operators;
mod reduction;
mod selection;
mod size;
mod tables;
mod value;
mod windows;

use std::collections::{BTreeSet, HashMap, HashSet};

use self::size::SymbolicSize;
use self::value::{GraphValue, RowLayout};

use crate::onnx::messages::{self as pb, tensor_shape_proto::dimension::Value as Dim, type_proto};

/// What a step of the walk finds, or why the graph is no matter of rows.
type ProofResult<T> = Result<T, String>;

/// Values by their names.
type ValueMap<'a> = HashMap<&'a str, GraphValue<'a>>;

/// Functions of a file may call each other, as deep as this.
const MAX_FUNCTION_DEPTH: usize = 16;
/// Operators before this version broadcast in their own ways.
const OLDEST_OPSET_VERSION: i64 = 7;
/// The newest version whose operators were looked at.
const NEWEST_OPSET_VERSION: i64 = 26;

/// Fails with the reason for which calls must not be joined, which names the node.
pub(crate) fn prove(model: &pb::ModelProto) -> Result<(), String> {
    let graph = model.graph.as_ref().ok_or("the file has no graph")?;
    let mut walk = GraphWalk { model, fresh: 0, bounded: HashMap::new(), depth: 0 };
    let mut values = ValueMap::new();
    for tensor in &graph.initializer {
        values.insert(&tensor.name, numbers::weight(tensor));
    }
    for tensor in graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref()) {
        values.insert(&tensor.name, GraphValue::unknown());
    }
    // Those with a default are asked for by nobody.
    let inputs: Vec<_> =
        graph.input.iter().filter(|input| !values.contains_key(input.name.as_str())).collect();
    walk.inputs(&inputs, &mut values)?;
    let wanted = graph.output.iter().map(|output| output.name.as_str()).collect();
    walk.nodes(&graph.node, wanted, opset(&model.opset_import)?, &mut values)?;
    for output in &graph.output {
        let value = values.get(output.name.as_str());
        let value = value.ok_or_else(|| format!("nothing gives output '{}'", output.name))?;
        if !value.is_row_for_row() {
            return Err(format!("output '{}' has not one row for each row of the inputs", output.name));
        }
    }
    Ok(())
}

/// The version of the standard's own operators.
fn opset(imports: &[pb::OperatorSetIdProto]) -> ProofResult<i64> {
    let standard = imports.iter().filter(|import| matches!(import.domain.as_str(), "" | "ai.onnx"));
    let mut versions: Vec<i64> = standard.map(|import| import.version).collect();
    versions.dedup();
    match versions.as_slice() {
        // Operators of other sets only.
        [] => Ok(OLDEST_OPSET_VERSION),
        [version] if (OLDEST_OPSET_VERSION..=NEWEST_OPSET_VERSION).contains(version) => Ok(*version),
        [version] => Err(format!("operators of version {version} are not known")),
        _ => Err("its operators are of several versions".to_owned()),
    }
}

struct GraphWalk<'a> {
    model: &'a pb::ModelProto,
    /// Sizes that are not known have names of their own.
    fresh: u32,
    /// Sizes that are the lesser of that one and of another that is no less than one.
    bounded: HashMap<u32, SymbolicSize>,
    depth: usize,
}

impl<'a> GraphWalk<'a> {
    fn fresh(&mut self) -> SymbolicSize {
        self.fresh += 1;
        SymbolicSize::named(self.fresh)
    }

    /// What a slice from the start to `end` takes of so many: not more than there are.
    fn at_most(&mut self, end: &SymbolicSize, many: &SymbolicSize) -> SymbolicSize {
        let fresh = self.fresh();
        if let Some(name) = fresh.name().filter(|_| many.is_more_than_zero() && end.is_size()) {
            self.bounded.insert(name, end.clone());
        }
        fresh
    }

    /// Whether `one` is the lesser of `other` and of something. Broadcast against each other they come to
    /// `other`: they are equal, or the lesser is one, or both are.
    fn is_bounded(&self, one: &SymbolicSize, other: &SymbolicSize) -> bool {
        one.name().and_then(|name| self.bounded.get(&name)) == Some(other)
    }

    fn inputs(&mut self, inputs: &[&'a pb::ValueInfoProto], values: &mut ValueMap<'a>) -> ProofResult<()> {
        // One name is one size, which is checked when a call comes in.
        let mut named: HashMap<&str, SymbolicSize> = HashMap::new();
        let mut firsts: BTreeSet<&str> = BTreeSet::new();
        for input in inputs {
            let name = &input.name;
            let of_type = input.r#type.as_ref().and_then(|of_type| of_type.value.as_ref());
            let Some(type_proto::Value::TensorType(tensor)) = of_type else {
                return Err(format!("input '{name}' is no tensor"));
            };
            let shape = tensor.shape.as_ref().ok_or_else(|| format!("input '{name}' has no shape"))?;
            let mut sizes = Vec::with_capacity(shape.dim.len());
            for (place, dim) in shape.dim.iter().enumerate() {
                let called = crate::onnx::dimension_name(dim);
                sizes.push(match (&dim.value, called) {
                    (Some(Dim::DimValue(size)), _) if *size > 0 => SymbolicSize::of(*size),
                    (_, called) if place == 0 => {
                        firsts.extend(called);
                        SymbolicSize::rows()
                    }
                    (_, Some(called)) => named.entry(called).or_insert_with(|| self.fresh()).clone(),
                    (_, None) => self.fresh(),
                });
            }
            let value = GraphValue::rows(sizes, 0);
            values
                .insert(name, value.map_err(|_| format!("the first dimension of input '{name}' is fixed"))?);
        }
        match firsts.iter().find(|first| named.contains_key(*first)) {
            Some(both) => Err(format!("dimension '{both}' is the number of rows and another size too")),
            None if inputs.is_empty() => Err("it has no inputs".to_owned()),
            None => Ok(()),
        }
    }

    /// Nodes whose results nobody wants are left out: exporters leave some behind.
    fn nodes(
        &mut self,
        nodes: &'a [pb::NodeProto],
        mut wanted: HashSet<&'a str>,
        opset: i64,
        values: &mut ValueMap<'a>,
    ) -> ProofResult<()> {
        let mut needed = vec![false; nodes.len()];
        for (node, needed) in nodes.iter().zip(&mut needed).rev() {
            *needed = node.output.iter().any(|name| wanted.contains(name.as_str()));
            if *needed {
                wanted.extend(node.input.iter().map(String::as_str));
            }
        }
        for (node, _) in nodes.iter().zip(needed).filter(|(_, needed)| *needed) {
            let outputs = self.node(node, opset, values).map_err(|why| format!("{}: {why}", title(node)))?;
            for (name, value) in node.output.iter().zip(outputs).filter(|(name, _)| !name.is_empty()) {
                if values.insert(name, value).is_some() {
                    return Err(format!("{}: '{name}' is given twice", title(node)));
                }
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        node: &'a pb::NodeProto,
        opset: i64,
        values: &ValueMap<'a>,
    ) -> ProofResult<Vec<GraphValue<'a>>> {
        let find = |name: &String| match name.as_str() {
            "" => Ok(None),
            name => values.get(name).cloned().map(Some).ok_or_else(|| format!("nothing gives '{name}'")),
        };
        let inputs = node.input.iter().map(find).collect::<ProofResult<Vec<_>>>()?;
        if node.attribute.iter().any(|one| one.g.is_some() || !one.graphs.is_empty()) {
            return Err("graphs inside of nodes are not looked at".to_owned());
        }
        let mut call = NodeCall { node, inputs, opset, walk: self };
        if let Some(function) = call.walk.function(node)? {
            return call.function(function);
        }
        let outputs = operators::outputs(&mut call)?;
        // One that is left out at the end is not asked for.
        let asked = node.output.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
        if outputs.len() < asked {
            return Err("what its further outputs have to do with rows is not known".to_owned());
        }
        Ok(outputs)
    }

    /// The function of the file that a node stands for.
    fn function(&self, node: &pb::NodeProto) -> ProofResult<Option<&'a pb::FunctionProto>> {
        let model: &'a pb::ModelProto = self.model;
        let is_it = |function: &&pb::FunctionProto| {
            function.name.as_deref() == Some(node.op_type.as_str())
                && function.domain.as_deref().unwrap_or_default() == node.domain
        };
        let mut found = model.functions.iter().filter(is_it);
        match (found.next(), found.next()) {
            (found, None) => Ok(found),
            _ => Err("the file has two functions of that name".to_owned()),
        }
    }
}

/// A node as a message names it.
fn title(node: &pb::NodeProto) -> String {
    let shown = |text: &str| text.chars().take(80).collect::<String>();
    let domain = if node.domain.is_empty() { String::new() } else { format!("{}:", shown(&node.domain)) };
    let operator = format!("{domain}{}", shown(&node.op_type));
    let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
    name.map_or(operator.clone(), |name| format!("node '{}' ({operator})", shown(name)))
}

/// A node, and what is known of its inputs.
struct NodeCall<'a, 'w> {
    node: &'a pb::NodeProto,
    inputs: Vec<Option<GraphValue<'a>>>,
    opset: i64,
    walk: &'w mut GraphWalk<'a>,
}

impl<'a> NodeCall<'a, '_> {
    /// The inputs that are there.
    fn given(&self) -> impl Iterator<Item = &GraphValue<'a>> {
        self.inputs.iter().flatten()
    }

    fn optional(&self, place: usize) -> Option<&GraphValue<'a>> {
        self.inputs.get(place).and_then(Option::as_ref)
    }

    fn input(&self, place: usize) -> ProofResult<&GraphValue<'a>> {
        self.optional(place).ok_or_else(|| format!("its input {place} is missing"))
    }

    /// The first input's shape, and the axis along which its rows lie, if it has rows.
    fn first(&self) -> ProofResult<(Option<usize>, Vec<SymbolicSize>)> {
        let input = self.input(0)?;
        match input.layout {
            RowLayout::Rows(axis) => Ok((Some(axis), input.shape()?.to_vec())),
            RowLayout::Shared => Ok((None, input.shape()?.to_vec())),
            RowLayout::Count => Err(COUNTS.to_owned()),
        }
    }

    /// Fails unless all inputs from that place on are shared.
    fn rest_is_shared(&self, from: usize) -> ProofResult<()> {
        match self.inputs.iter().skip(from).flatten().all(GraphValue::is_shared) {
            true => Ok(()),
            false => Err("what it computes with depends on the rows".to_owned()),
        }
    }

    fn attribute(&self, name: &str) -> ProofResult<Option<&'a pb::AttributeProto>> {
        let found = self.node.attribute.iter().find(|attribute| attribute.name == name);
        match found {
            Some(found) if !found.ref_attr_name.is_empty() => {
                Err(format!("its attribute '{name}' is given from outside"))
            }
            found => Ok(found),
        }
    }

    fn int(&self, name: &str, default: i64) -> ProofResult<i64> {
        Ok(self.attribute(name)?.map_or(default, |attribute| attribute.i))
    }

    fn ints(&self, name: &str) -> ProofResult<Option<&'a [i64]>> {
        Ok(self.attribute(name)?.map(|attribute| attribute.ints.as_slice()))
    }

    fn text(&self, name: &str, default: &'static str) -> ProofResult<&'a str> {
        let Some(attribute) = self.attribute(name)? else { return Ok(default) };
        std::str::from_utf8(&attribute.s).map_err(|_| format!("its attribute '{name}' is no text"))
    }

    /// Numbers that are known, of an attribute or, in newer versions, of an input.
    fn listed(&self, name: &str, place: usize) -> ProofResult<Option<Vec<i64>>> {
        if let Some(ints) = self.ints(name)? {
            return Ok(Some(ints.to_vec()));
        }
        let Some(value) = self.optional(place) else { return Ok(None) };
        let known = value.known_numbers();
        known.map(Some).ok_or_else(|| format!("its '{name}' is not known before it runs"))
    }

    fn fresh(&mut self) -> SymbolicSize {
        self.walk.fresh()
    }

    /// What its body does, with the inputs that it is called with.
    fn function(&mut self, function: &'a pb::FunctionProto) -> ProofResult<Vec<GraphValue<'a>>> {
        if matches!(self.node.domain.as_str(), "" | "ai.onnx" | "ai.onnx.ml") {
            return Err("the file has a meaning of its own for it".to_owned());
        }
        if self.walk.depth >= MAX_FUNCTION_DEPTH {
            return Err("functions call each other too deep".to_owned());
        }
        let mut values = ValueMap::new();
        for (name, value) in function.input.iter().zip(&self.inputs) {
            if let Some(value) = value {
                values.insert(name, value.clone());
            }
        }
        let wanted = function.output.iter().map(String::as_str).collect();
        self.walk.depth += 1;
        let walked = self.walk.nodes(&function.node, wanted, opset(&function.opset_import)?, &mut values);
        self.walk.depth -= 1;
        walked?;
        let output = |name: &String| values.get(name.as_str()).cloned();
        let outputs = function.output.iter().map(output).collect::<Option<_>>();
        outputs.ok_or_else(|| "nothing gives its output".to_owned())
    }
}

/// A place among so many axes, counted from the front or, where it is negative, from behind.
fn place(axis: i64, rank: usize) -> ProofResult<usize> {
    let from_front = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    let found = from_front.and_then(|axis| usize::try_from(axis).ok()).filter(|axis| *axis < rank);
    found.ok_or_else(|| format!("there is no axis {axis}"))
}

/// Why rows depend on each other, where several operators have the same reason.
const ACROSS: &str = "it computes across rows";
const COUNTS: &str = "it computes with the number of rows";

#[cfg(test)]
mod tests;
