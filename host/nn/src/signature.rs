use std::collections::HashMap;

use eyot_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{DataType, NamedTensor, Tensor};

/// What is known of an input or output before it exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    pub name: String,
    #[serde(rename = "datatype")]
    pub dtype: DataType,
    /// The size of each dimension, `-1` where it may vary.
    pub shape: Vec<i64>,
    /// What each dimension is called, where it varies and has a name: one name is one size in all inputs of a call.
    /// Empty where none has. The protocol has no place for it.
    #[serde(skip)]
    pub dimensions: Vec<Option<String>>,
    /// Nothing is known of the shape, not even how many dimensions there are; `shape` is empty then.
    #[serde(skip)]
    pub any_shape: bool,
}

/// The inputs a model needs and the outputs it gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
}

impl Signature {
    /// The inputs in the signature's order, each there once and fitting.
    ///
    /// Fails with `Invalid`, naming the input at fault and what would be right.
    pub fn check_inputs(&self, tensors: Vec<NamedTensor>) -> Result<Vec<NamedTensor>> {
        let inputs = check("input", &self.inputs, tensors)?;
        check_dimensions(&self.inputs, &inputs)?;
        Ok(inputs)
    }

    /// The same for outputs.
    pub fn check_outputs(&self, tensors: Vec<NamedTensor>) -> Result<Vec<NamedTensor>> {
        check("output", &self.outputs, tensors)
    }
}

fn check(what: &str, specs: &[TensorSpec], tensors: Vec<NamedTensor>) -> Result<Vec<NamedTensor>> {
    let mut slots: Vec<Option<NamedTensor>> = specs.iter().map(|_| None).collect();
    for tensor in tensors {
        let position = specs.iter().position(|spec| spec.name == tensor.name);
        let position = position.ok_or_else(|| unknown(what, specs, &tensor.name))?;
        specs[position].check(what, &tensor.tensor)?;
        if slots[position].is_some() {
            return Err(Error::invalid(format!("{what} '{}' is given twice", tensor.name)));
        }
        slots[position] = Some(tensor);
    }
    let whole = slots.into_iter().zip(specs);
    whole.map(|(slot, spec)| slot.ok_or_else(|| missing(what, spec))).collect()
}

/// Fails with `Invalid` where inputs differ in what has one name.
fn check_dimensions(specs: &[TensorSpec], inputs: &[NamedTensor]) -> Result<()> {
    let mut known: HashMap<&str, (usize, &str)> = HashMap::new();
    for (spec, input) in specs.iter().zip(inputs) {
        let sizes = spec.dimensions.iter().zip(input.tensor.shape());
        for (name, size) in sizes.filter_map(|(name, size)| Some((name.as_deref()?, *size))) {
            let (other, first) = *known.entry(name).or_insert((size, &spec.name));
            if other == size {
                continue;
            }
            let message = match first == spec.name {
                true => {
                    format!("input '{first}' has two sizes for its dimension '{name}': {other} and {size}")
                }
                false => format!(
                    "inputs '{first}' and '{}' have different sizes for the dimension '{name}': {other} and {size}",
                    spec.name
                ),
            };
            let of_name = |spec: &&TensorSpec| spec.dimensions.iter().flatten().any(|one| one == name);
            let shapes: Vec<String> = specs
                .iter()
                .filter(of_name)
                .map(|spec| format!("'{}' {}", spec.name, spec.shown()))
                .collect();
            return Err(Error::invalid(message)
                .hint(format!("a dimension's name is one size in all inputs: {}", shapes.join(", "))));
        }
    }
    Ok(())
}

fn unknown(what: &str, specs: &[TensorSpec], name: &str) -> Error {
    let shown: String = name.chars().take(80).collect();
    let known: Vec<_> = specs.iter().map(|spec| format!("'{}'", spec.name)).collect();
    Error::invalid(format!("there is no {what} '{shown}'")).hint(match known.as_slice() {
        [] => format!("there are no {what}s at all"),
        known => format!("{what}s are {}", known.join(", ")),
    })
}

fn missing(what: &str, spec: &TensorSpec) -> Error {
    Error::invalid(format!("{what} '{}' is missing", spec.name)).hint(match spec.any_shape {
        true => format!("it is {} of any shape", spec.dtype),
        false => format!("it is {} of shape {:?}", spec.dtype, spec.shape),
    })
}

impl TensorSpec {
    /// Of that shape, whose dimensions have no names.
    pub fn new(name: impl Into<String>, dtype: DataType, shape: impl Into<Vec<i64>>) -> Self {
        Self { name: name.into(), dtype, shape: shape.into(), dimensions: Vec::new(), any_shape: false }
    }

    /// Its shape with names: `[n, 3]`.
    fn shown(&self) -> String {
        let name = |at: usize| self.dimensions.get(at).and_then(Option::as_deref);
        let one = |(at, size): (usize, &i64)| name(at).map_or_else(|| size.to_string(), str::to_owned);
        format!("[{}]", self.shape.iter().enumerate().map(one).collect::<Vec<_>>().join(", "))
    }

    fn check(&self, what: &str, tensor: &Tensor) -> Result<()> {
        if tensor.dtype() != self.dtype {
            return Err(Error::invalid(format!(
                "{what} '{}' is {}, not {}",
                self.name,
                self.dtype,
                tensor.dtype()
            )));
        }
        if self.fits(tensor.shape()) {
            return Ok(());
        }
        let message =
            format!("{what} '{}' has the shape {:?}, not {:?}", self.name, self.shape, tensor.shape());
        Err(Error::invalid(message).hint("-1 stands for any size"))
    }

    /// Whether a shape is one that this allows.
    pub fn fits(&self, shape: &[usize]) -> bool {
        let same =
            |(wanted, found): (&i64, &usize)| *wanted == -1 || u64::try_from(*wanted) == Ok(*found as u64);
        self.any_shape || (shape.len() == self.shape.len() && self.shape.iter().zip(shape).all(same))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn named(name: &str, shape: Vec<usize>) -> NamedTensor {
        let count: usize = shape.iter().product();
        NamedTensor { name: name.into(), tensor: Tensor::of(shape, &vec![0_f32; count]).unwrap() }
    }

    #[test]
    fn inputs_are_ordered_and_everything_else_is_named() {
        let spec = |name: &str, shape: &[i64]| TensorSpec::new(name, DataType::F32, shape);
        let signature = Signature { inputs: vec![spec("a", &[-1, 2]), spec("b", &[])], outputs: vec![] };
        let ordered = signature.check_inputs(vec![named("b", vec![]), named("a", vec![7, 2])]).unwrap();
        assert_eq!(ordered.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let wrong_type = NamedTensor { name: "b".into(), tensor: Tensor::of(vec![], &[0_i32]).unwrap() };
        for (inputs, expected) in [
            (vec![], "input 'a' is missing"),
            (vec![named("c", vec![])], "there is no input 'c'"),
            (vec![named("b", vec![]), named("b", vec![])], "input 'b' is given twice"),
            (vec![named("a", vec![1, 3])], "input 'a' has the shape [-1, 2], not [1, 3]"),
            (vec![named("a", vec![2])], "input 'a' has the shape [-1, 2], not [2]"),
            (vec![wrong_type], "input 'b' is FP32, not INT32"),
        ] {
            assert_eq!(signature.check_inputs(inputs).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn one_name_is_one_size() {
        let spec = |name: &str, dimensions: &[&str]| {
            let names = dimensions.iter().map(|name| (!name.is_empty()).then(|| (*name).to_owned()));
            let dimensions: Vec<_> = names.collect();
            let count = dimensions.len();
            TensorSpec { dimensions, ..TensorSpec::new(name, DataType::F32, vec![-1; count]) }
        };
        let signature =
            Signature { inputs: vec![spec("a", &["n", "m", ""]), spec("b", &["n"])], outputs: vec![] };
        signature.check_inputs(vec![named("a", vec![4, 2, 3]), named("b", vec![4])]).unwrap();
        let error = signature.check_inputs(vec![named("b", vec![5]), named("a", vec![4, 2, 3])]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "inputs 'a' and 'b' have different sizes for the dimension 'n': 4 and 5"
        );
        assert_eq!(
            error.hint_text(),
            Some("a dimension's name is one size in all inputs: 'a' [n, m, -1], 'b' [n]")
        );
        let square = Signature { inputs: vec![spec("a", &["n", "n"])], outputs: vec![] };
        let error = square.check_inputs(vec![named("a", vec![2, 3])]).unwrap_err();
        assert_eq!(error.to_string(), "input 'a' has two sizes for its dimension 'n': 2 and 3");
    }

    #[test]
    fn of_an_input_without_a_shape_any_is_right() {
        let any = TensorSpec { any_shape: true, ..TensorSpec::new("a", DataType::F32, []) };
        let signature = Signature { inputs: vec![any], outputs: vec![] };
        for shape in [vec![], vec![3], vec![2, 0, 4]] {
            signature.check_inputs(vec![named("a", shape)]).unwrap();
        }
        let error = signature.check_inputs(vec![]).unwrap_err();
        assert_eq!(error.hint_text(), Some("it is FP32 of any shape"));
    }
}
