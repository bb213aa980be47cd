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
    /// What else there is to say, in the place that the protocol has for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<TensorParameters>,
}

/// What is known of an input beside its type and shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorParameters {
    /// A call may leave it out.
    #[serde(default)]
    pub optional: bool,
    /// What stands where it is left out, as people read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// The inputs a model needs and the outputs it gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSignature {
    /// Those that every call brings.
    pub inputs: Vec<TensorSpec>,
    /// Those that a call may leave out: what the file says stands there, then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optional_inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
    /// Inputs that no call may bring.
    #[serde(skip)]
    pub fixed_inputs: FixedInputs,
}

/// Inputs whose defaults cannot be overridden, and what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FixedInputs {
    pub names: Vec<String>,
    pub hint: &'static str,
}

impl ModelSignature {
    /// Of such inputs, all of which a call brings, and outputs.
    pub fn new(inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>) -> Self {
        Self { inputs, outputs, ..Self::default() }
    }

    /// All that a call may bring, those first that it must.
    pub fn all_inputs(&self) -> impl Iterator<Item = &TensorSpec> {
        self.inputs.iter().chain(&self.optional_inputs)
    }

    /// The inputs in the signature's order, each there once and fitting; behind them those of the optional ones
    /// that are given.
    ///
    /// Fails with `Invalid`, naming the input at fault and what would be right.
    pub fn check_inputs(&self, tensors: Vec<NamedTensor>) -> Result<Vec<NamedTensor>> {
        if let Some(fixed) = tensors.iter().find(|tensor| self.fixed_inputs.names.contains(&tensor.name)) {
            let message = format!("input '{}' is fixed: its default cannot be overridden here", fixed.name);
            return Err(Error::invalid(message).hint(self.fixed_inputs.hint));
        }
        let inputs = check("input", &self.inputs, &self.optional_inputs, tensors)?;
        let (required, optional) = inputs.split_at(self.inputs.len().min(inputs.len()));
        let named = optional.iter().filter_map(|input| Some((self.optional_input(&input.name)?.1, input)));
        check_dimensions(self.inputs.iter().zip(required).chain(named).collect())?;
        Ok(inputs)
    }

    /// The optional input of that name, and its place among them.
    pub(crate) fn optional_input(&self, name: &str) -> Option<(usize, &TensorSpec)> {
        self.optional_inputs.iter().enumerate().find(|(_, spec)| spec.name == name)
    }

    /// The same for outputs.
    pub fn check_outputs(&self, tensors: Vec<NamedTensor>) -> Result<Vec<NamedTensor>> {
        check("output", &self.outputs, &[], tensors)
    }
}

fn check(
    what: &str,
    required: &[TensorSpec],
    optional: &[TensorSpec],
    tensors: Vec<NamedTensor>,
) -> Result<Vec<NamedTensor>> {
    let mut slots: Vec<Option<NamedTensor>> = required.iter().chain(optional).map(|_| None).collect();
    for tensor in tensors {
        let found = required.iter().chain(optional).enumerate().find(|(_, spec)| spec.name == tensor.name);
        let (position, spec) = found.ok_or_else(|| unknown(what, required, optional, &tensor.name))?;
        spec.check(what, &tensor.tensor)?;
        if slots[position].is_some() {
            return Err(Error::invalid(format!("{what} '{}' is given twice", tensor.name)));
        }
        slots[position] = Some(tensor);
    }
    let mut slots = slots.into_iter();
    let whole = required.iter().zip(slots.by_ref());
    let mut whole =
        whole.map(|(spec, slot)| slot.ok_or_else(|| missing(what, spec))).collect::<Result<Vec<_>>>()?;
    whole.extend(slots.flatten());
    Ok(whole)
}

/// Fails with `Invalid` where inputs differ in what has one name.
fn check_dimensions(inputs: Vec<(&TensorSpec, &NamedTensor)>) -> Result<()> {
    let mut known: HashMap<&str, (usize, &str)> = HashMap::new();
    for (spec, input) in &inputs {
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
            let of_name = |spec: &&&TensorSpec| spec.dimensions.iter().flatten().any(|one| one == name);
            let shapes: Vec<String> = inputs
                .iter()
                .map(|(spec, _)| spec)
                .filter(of_name)
                .map(|spec| format!("'{}' {}", spec.name, spec.shown()))
                .collect();
            return Err(Error::invalid(message)
                .hint(format!("a dimension's name is one size in all inputs: {}", shapes.join(", "))));
        }
    }
    Ok(())
}

/// Names that a message lists, at most.
const MAX_SHOWN_NAMES: usize = 40;

fn unknown(what: &str, required: &[TensorSpec], optional: &[TensorSpec], name: &str) -> Error {
    let shown: String = name.chars().take(80).collect();
    let all = required.iter().chain(optional).map(|spec| match spec.is_optional() {
        true => format!("'{}' (optional)", spec.name),
        false => format!("'{}'", spec.name),
    });
    let known: Vec<_> = all.take(MAX_SHOWN_NAMES).collect();
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
        let (name, shape) = (name.into(), shape.into());
        Self { name, dtype, shape, dimensions: Vec::new(), any_shape: false, parameters: None }
    }

    /// The same, which a call may leave out: what stands there then is `default`, as people read it.
    #[must_use]
    pub fn or_default(self, default: String) -> Self {
        Self { parameters: Some(TensorParameters { optional: true, default: Some(default) }), ..self }
    }

    /// Whether a call may leave it out.
    pub fn is_optional(&self) -> bool {
        self.parameters.as_ref().is_some_and(|parameters| parameters.optional)
    }

    /// What stands where it is left out, as people read it.
    pub fn default_value(&self) -> Option<&str> {
        self.parameters.as_ref().and_then(|parameters| parameters.default.as_deref())
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
        let signature = ModelSignature::new(vec![spec("a", &[-1, 2]), spec("b", &[])], vec![]);
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
        let signature = ModelSignature::new(vec![spec("a", &["n", "m", ""]), spec("b", &["n"])], vec![]);
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
        let square = ModelSignature::new(vec![spec("a", &["n", "n"])], vec![]);
        let error = square.check_inputs(vec![named("a", vec![2, 3])]).unwrap_err();
        assert_eq!(error.to_string(), "input 'a' has two sizes for its dimension 'n': 2 and 3");
    }

    #[test]
    fn of_an_input_without_a_shape_any_is_right() {
        let any = TensorSpec { any_shape: true, ..TensorSpec::new("a", DataType::F32, []) };
        let signature = ModelSignature::new(vec![any], vec![]);
        for shape in [vec![], vec![3], vec![2, 0, 4]] {
            signature.check_inputs(vec![named("a", shape)]).unwrap();
        }
        let error = signature.check_inputs(vec![]).unwrap_err();
        assert_eq!(error.hint_text(), Some("it is FP32 of any shape"));
    }
    #[test]
    fn what_has_a_default_may_be_left_out_and_is_checked_where_it_is_given() {
        let spec = |name: &str, shape: &[i64]| TensorSpec::new(name, DataType::F32, shape);
        let named_dimension = |mut spec: TensorSpec| {
            spec.dimensions = vec![Some("n".into())];
            spec
        };
        let mut signature = ModelSignature::new(vec![named_dimension(spec("x", &[-1]))], vec![]);
        signature.optional_inputs = vec![
            named_dimension(spec("y", &[-1])).or_default("[1, 2]".into()),
            spec("z", &[]).or_default("0.5".into()),
        ];
        signature.fixed_inputs = FixedInputs { names: vec!["w".into()], hint: "leave it out" };
        let ordered = |tensors| {
            let inputs = signature.check_inputs(tensors).unwrap();
            inputs.into_iter().map(|tensor| tensor.name).collect::<Vec<_>>()
        };
        let x = || named("x", vec![3]);
        assert_eq!(ordered(vec![x()]), ["x"]);
        assert_eq!(ordered(vec![named("z", vec![]), x()]), ["x", "z"]);
        assert_eq!(ordered(vec![named("z", vec![]), named("y", vec![3]), x()]), ["x", "y", "z"]);
        for (inputs, expected) in [
            (vec![named("z", vec![])], "input 'x' is missing"),
            (vec![x(), named("z", vec![1])], "input 'z' has the shape [], not [1]"),
            (vec![x(), named("z", vec![]), named("z", vec![])], "input 'z' is given twice"),
            (
                vec![x(), named("y", vec![2])],
                "inputs 'x' and 'y' have different sizes for the dimension 'n': 3 and 2",
            ),
            (vec![x(), named("w", vec![])], "input 'w' is fixed: its default cannot be overridden here"),
        ] {
            assert_eq!(signature.check_inputs(inputs).unwrap_err().to_string(), expected);
        }
        let unknown = signature.check_inputs(vec![named("q", vec![])]).unwrap_err();
        assert_eq!(unknown.hint_text(), Some("inputs are 'x', 'y' (optional), 'z' (optional)"));
        assert_eq!(signature.optional_inputs[1].default_value(), Some("0.5"));
        assert!(signature.all_inputs().map(TensorSpec::is_optional).eq([false, true, true]));
    }
}
