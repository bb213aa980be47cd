//! Inputs that have defaults, for back ends that take them for constants. What overrides one runs on a second form of
//! the model, in which they are inputs like all others.

use std::collections::HashMap;

use eyot_core::{Error, Result};

use crate::example::ExampleGenerator;
use crate::onnx::messages as pb;
use crate::onnx::values;
use crate::signature::FixedInputs;
use crate::{BackendModel, InputOverride, ModelSignature, RunControl, Tensor, batch, batch_probe};

/// All defaults of a model that are held beside it: larger ones are weights under another name.
const MAX_DEFAULT_BYTES: usize = 16 << 20;
const ELSEWHERE: &str = "onnxruntime lets it be overridden: eyot backend install onnxruntime";

/// The model with both of its forms.
struct OverridableModel {
    plain: Box<dyn BackendModel>,
    /// Its inputs are the required ones, then the optional ones.
    open: Box<dyn BackendModel>,
    defaults: Vec<Tensor>,
    file_bytes: u64,
}

/// A model whose defaults stand.
struct FixedModel {
    plain: Box<dyn BackendModel>,
    signature: ModelSignature,
}

/// The model of that file, with what makes its optional inputs optional. Where the back end cannot compute with
/// them, or comes to other results, they are fixed, and the model is what it is with its defaults.
pub(crate) fn overridable(
    plain: Box<dyn BackendModel>,
    proto: Option<pb::ModelProto>,
    file_bytes: u64,
    load: impl FnOnce(pb::ModelProto) -> Result<Box<dyn BackendModel>>,
) -> Box<dyn BackendModel> {
    let Some(proto) = proto else { return plain };
    match open(&*plain, proto, load) {
        Ok((open, defaults)) => Box::new(OverridableModel { plain, open, defaults, file_bytes }),
        Err(error) => {
            tracing::debug!(error = %error.chain(), "the defaults of a model's inputs are fixed");
            let mut signature = plain.signature().clone();
            let optional = std::mem::take(&mut signature.optional_inputs);
            let fixed = std::mem::take(&mut signature.fixed_inputs).names;
            let names = optional.into_iter().map(|spec| spec.name).chain(fixed).collect();
            signature.fixed_inputs = FixedInputs { names, hint: ELSEWHERE };
            Box::new(FixedModel { plain, signature })
        }
    }
}

/// The file, if it has optional inputs, for [`overridable`].
pub(crate) fn second_form(proto: &pb::ModelProto, signature: &ModelSignature) -> Option<pb::ModelProto> {
    (!signature.optional_inputs.is_empty()).then(|| proto.clone())
}

fn open(
    plain: &dyn BackendModel,
    mut proto: pb::ModelProto,
    load: impl FnOnce(pb::ModelProto) -> Result<Box<dyn BackendModel>>,
) -> Result<(Box<dyn BackendModel>, Vec<Tensor>)> {
    let signature = plain.signature();
    let graph = proto.graph.as_mut().ok_or_else(|| Error::internal("a model without a graph"))?;
    let defaults = taken_out(graph, signature)?;
    let places: HashMap<&str, usize> =
        signature.all_inputs().enumerate().map(|(place, spec)| (spec.name.as_str(), place)).collect();
    graph.input.sort_by_key(|info| places.get(info.name.as_str()).copied().unwrap_or(usize::MAX));
    let open = load(proto)?;
    if !open
        .signature()
        .inputs
        .iter()
        .map(|spec| &spec.name)
        .eq(signature.all_inputs().map(|spec| &spec.name))
    {
        return Err(Error::unsupported("its inputs are not those of the file"));
    }
    // With the defaults both must come to the same.
    if let Some(inputs) = batch_probe::example(plain, &mut ExampleGenerator::new(0), 1) {
        let expected = batch_probe::run(plain, &inputs)?;
        let all: Vec<Tensor> = inputs.into_iter().chain(defaults.iter().cloned()).collect();
        if !batch::same(&batch_probe::run(&*open, &all)?, &expected) {
            return Err(Error::unsupported("with its defaults as inputs it comes to other results"));
        }
    }
    Ok((open, defaults))
}

/// The defaults of the optional inputs, which are inputs without one now.
fn taken_out(graph: &mut pb::GraphProto, signature: &ModelSignature) -> Result<Vec<Tensor>> {
    let mut found: Vec<Option<Tensor>> = vec![None; signature.optional_inputs.len()];
    let mut bytes = 0_usize;
    for initializer in &graph.initializer {
        let Some((place, _)) = signature.optional_input(&initializer.name) else { continue };
        let tensor = values::tensor(initializer)?;
        bytes = bytes.saturating_add(tensor.bytes().len());
        if bytes > MAX_DEFAULT_BYTES {
            return Err(Error::unsupported("its defaults are as large as weights"));
        }
        found[place] = Some(tensor);
    }
    graph.initializer.retain(|tensor| signature.optional_input(&tensor.name).is_none());
    let whole: Option<Vec<Tensor>> = found.into_iter().collect();
    whole.ok_or_else(|| Error::unsupported("a default is sparse"))
}

impl BackendModel for OverridableModel {
    fn signature(&self) -> &ModelSignature {
        self.plain.signature()
    }

    fn provider(&self) -> Option<&'static str> {
        self.plain.provider()
    }

    fn run_while(&self, control: &RunControl, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.plain.run_while(control, inputs)
    }

    fn run_overriding(
        &self,
        control: &RunControl,
        inputs: &[Tensor],
        overrides: &[InputOverride],
    ) -> Result<Vec<Tensor>> {
        if overrides.is_empty() {
            return self.run_while(control, inputs);
        }
        let mut all: Vec<Tensor> = inputs.iter().chain(&self.defaults).cloned().collect();
        for InputOverride { place, tensor } in overrides {
            let slot = all.get_mut(inputs.len() + place);
            *slot.ok_or_else(|| Error::internal("a model has no such optional input"))? = tensor.clone();
        }
        self.open.run_while(control, &all)
    }

    fn further_bytes(&self) -> u64 {
        self.file_bytes
    }
}

impl BackendModel for FixedModel {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    fn provider(&self) -> Option<&'static str> {
        self.plain.provider()
    }

    fn run_while(&self, control: &RunControl, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.plain.run_while(control, inputs)
    }
}

#[cfg(test)]
mod tests;
