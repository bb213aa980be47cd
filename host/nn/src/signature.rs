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
        check("input", &self.inputs, tensors)
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

fn unknown(what: &str, specs: &[TensorSpec], name: &str) -> Error {
    let shown: String = name.chars().take(80).collect();
    let known: Vec<_> = specs.iter().map(|spec| format!("'{}'", spec.name)).collect();
    Error::invalid(format!("there is no {what} '{shown}'")).hint(match known.as_slice() {
        [] => format!("there are no {what}s at all"),
        known => format!("{what}s are {}", known.join(", ")),
    })
}

fn missing(what: &str, spec: &TensorSpec) -> Error {
    Error::invalid(format!("{what} '{}' is missing", spec.name))
        .hint(format!("it is {} of shape {:?}", spec.dtype, spec.shape))
}

impl TensorSpec {
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
        shape.len() == self.shape.len() && self.shape.iter().zip(shape).all(same)
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
        let spec = |name: &str, shape: &[i64]| TensorSpec {
            name: name.into(),
            dtype: DataType::F32,
            shape: shape.into(),
        };
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
}
