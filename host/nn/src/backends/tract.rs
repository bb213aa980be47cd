//! Pure Rust, always compiled in: the back end that is there on every machine.

mod messages;
mod operators;
mod trees;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use eyot_core::{Error, ErrorKind, Result};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::plan::EvalContext;
use tract_onnx::tract_hir::infer::Factoid as _;

use crate::example::{ExampleGenerator, ExampleKind};
use crate::onnx::ExternalData;
use crate::{
    BackendModel, DataType, InferenceBackend, ModelFiles, ModelSettings, ModelSignature, RunControl, Target,
    Tensor, batch_probe, defaults, onnx,
};

pub(crate) struct TractBackend;

struct TractModel {
    signature: ModelSignature,
    plan: Arc<TypedRunnableModel>,
}

impl InferenceBackend for TractBackend {
    fn name(&self) -> &'static str {
        "tract"
    }

    fn version(&self) -> &str {
        "0.23"
    }

    fn targets(&self) -> Vec<Target> {
        vec![Target::Cpu]
    }

    fn load_files(&self, files: &ModelFiles, settings: ModelSettings) -> Result<Box<dyn BackendModel>> {
        if settings.target != Target::Cpu {
            return Err(Error::unsupported(format!("tract does not compute on {}", settings.target))
                .hint("it computes on cpu"));
        }
        settings.full_precision_only("tract")?;
        let proto = onnx::parse_files(files, ExternalData::Inlined)?.proto;
        let signature = onnx::signature(&proto)?;
        let second = defaults::second_form(&proto, &signature);
        let plain = Box::new(TractModel::new(proto)?);
        Ok(defaults::overridable(plain, second, files.bytes(), |proto| Ok(Box::new(TractModel::new(proto)?))))
    }
}

impl TractModel {
    fn new(proto: onnx::messages::ModelProto) -> Result<Self> {
        let signature = onnx::signature(&proto)?;
        let mut proto = messages::model(proto);
        let onnx = operators::onnx();
        operators::check(&proto, &onnx.op_register)?;
        copy_what_passes_through(&mut proto);
        operators::keep_axes(&mut proto);
        operators::zeros_of_shape(&mut proto);
        let plan = guarded(ErrorKind::Unsupported, "tract cannot load this model", || {
            let mut model = onnx.model_for_proto_model(&proto)?;
            name_variable_dimensions(&mut model)?;
            model.into_optimized()?.into_runnable()
        });
        let plan = plan.map_err(|error| error.hint(operators::ELSEWHERE))?;
        let plan = TractModel { signature, plan };
        plan.check_types()?;
        plan.check_wide_numbers()?;
        Ok(plan)
    }

    /// What would be answered in another type than the file says is no answer.
    fn check_types(&self) -> Result<()> {
        for (place, spec) in self.signature.outputs.iter().enumerate() {
            let Ok(fact) = self.plan.model().output_fact(place) else { continue };
            let found = match fact.datum_type {
                DatumType::String => Some(DataType::Bytes),
                other => data_type(other),
            };
            if let Some(found) = found.filter(|found| *found != spec.dtype) {
                let message = format!("tract gives output '{}' as {found}, not as {}", spec.name, spec.dtype);
                return Err(Error::unsupported(message).hint(operators::ELSEWHERE));
            }
        }
        Ok(())
    }

    /// Some operators compute in numbers of 32 bits alone, which they say when they run.
    fn check_wide_numbers(&self) -> Result<()> {
        if self.signature.inputs.iter().all(|input| input.dtype != DataType::F64) {
            return Ok(());
        }
        let mut examples = ExampleGenerator::new(0);
        let tried = batch_probe::OPEN_SIZES.iter().filter_map(|open| {
            let inputs = examples.inputs(&self.signature, 1, *open, ExampleKind::Plain)?;
            self.run(&inputs).err().filter(|error| error.chain().contains("does not support F64"))
        });
        match tried.last() {
            Some(error) => Err(error.with_kind(ErrorKind::Unsupported).hint(operators::ELSEWHERE)),
            None => Ok(()),
        }
    }
}

impl BackendModel for TractModel {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    fn run_while(&self, control: &RunControl, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let inputs = inputs.iter().map(to_tract).collect::<Result<TVec<TValue>>>()?;
        let mut refused = None;
        let outputs = guarded(ErrorKind::Failed, "the model failed in tract", || {
            self.plan.spawn()?.run_plan_with_eval(inputs, |context, state, node, inputs| {
                if control.stop_reason().is_some() {
                    return Err(TractError::msg("stopped"));
                }
                if let Err(error) = check_values(control, context, node, &inputs) {
                    refused = Some(error);
                    return Err(TractError::msg("too large"));
                }
                tract_onnx::tract_core::plan::eval(context, state, node, inputs)
            })
        });
        let outputs = outputs.map_err(|error| refused.unwrap_or(error))?;
        outputs.into_iter().map(from_tract).collect()
    }
}

/// Fails when an operator is about to make a value of more bytes than a run may: what it makes is known from
/// the shapes of the model, or, where they depend on what the inputs say, from these.
fn check_values(
    control: &RunControl,
    context: &EvalContext<'_>,
    node: &TypedNode,
    inputs: &[TValue],
) -> Result<()> {
    let bytes = |fact: &TypedFact| {
        let shape = fact.shape.eval_to_usize(context.symbols).ok()?;
        let count = shape.iter().try_fold(fact.datum_type.size_of(), |bytes, dim| bytes.checked_mul(*dim));
        Some(count.map_or(u64::MAX, |count| count as u64))
    };
    for output in &node.outputs {
        let found = bytes(&output.fact).or_else(|| made_of(node, inputs).iter().filter_map(bytes).max());
        let what = || format!("what {} '{}' makes", node.op.name(), node.name);
        control.check_value_bytes(what, found.unwrap_or_default())?;
    }
    Ok(())
}

/// What an operator makes of these values, which it is shown where they are few: sizes, say.
fn made_of(node: &TypedNode, inputs: &[TValue]) -> TVec<TypedFact> {
    let fact = |input: &TValue| {
        if input.len() <= MAX_SHOWN_ELEMENTS
            && let Ok(fact) = TypedFact::try_from(input.clone().into_arc_tensor())
        {
            return fact;
        }
        input.datum_type().fact(input.shape())
    };
    let facts: Vec<TypedFact> = inputs.iter().map(fact).collect();
    node.op.output_facts(&facts.iter().collect::<TVec<_>>()).unwrap_or_default()
}

/// More numbers than a shape has.
const MAX_SHOWN_ELEMENTS: usize = 64;

/// An output that is an input is a copy of it: what tract learns of the output would be all that it knows of
/// the input.
fn copy_what_passes_through(proto: &mut tract_onnx::pb::ModelProto) {
    let Some(graph) = &mut proto.graph else { return };
    for place in 0..graph.output.len() {
        let name = graph.output[place].name.clone();
        if graph.input.iter().all(|input| input.name != name) {
            continue;
        }
        let copy = format!("{name}/eyot-copy-{place}");
        graph.output[place].name.clone_from(&copy);
        graph.node.push(tract_onnx::pb::NodeProto {
            input: vec![name],
            output: vec![copy.clone()],
            name: copy,
            op_type: "Identity".to_owned(),
            ..tract_onnx::pb::NodeProto::default()
        });
    }
}

/// A dimension that the file leaves open without naming it, as scikit-learn's exporter does, becomes
/// a symbol of its own: tract reasons about symbols, not about nothing.
fn name_variable_dimensions(model: &mut InferenceModel) -> TractResult<()> {
    for input in 0..model.inputs.len() {
        let mut fact = model.input_fact(input)?.clone();
        if fact.shape.rank().concretize().is_none() {
            continue;
        }
        let open: Vec<_> = fact.shape.dims().map(|dim| dim.concretize()).collect();
        let dims =
            open.into_iter().map(|dim| dim.unwrap_or_else(|| model.symbols.new_with_prefix("open").into()));
        fact.shape = dims.collect::<TVec<TDim>>().into_iter().collect();
        model.set_input_fact(input, fact)?;
    }
    Ok(())
}

/// tract reports most of what is wrong with a model as an error and the rest as a panic.
fn guarded<T>(kind: ErrorKind, what: &str, work: impl FnOnce() -> TractResult<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Error::new(kind, format!("{what}: {error:#}"))),
        Err(_) => Err(Error::new(kind, format!("{what}: it met a case that tract does not handle"))),
    }
}

macro_rules! pairs {
    ($($ours:ident <=> $tract:ident),* $(,)?) => {
        fn datum_type(dtype: DataType) -> Option<DatumType> {
            match dtype { $(DataType::$ours => Some(DatumType::$tract),)* _ => None }
        }

        fn data_type(datum: DatumType) -> Option<DataType> {
            match datum { $(DatumType::$tract => Some(DataType::$ours),)* DatumType::TDim => Some(DataType::I64), _ => None }
        }
    };
}

pairs! {
    Bool <=> Bool, U8 <=> U8, U16 <=> U16, U32 <=> U32, U64 <=> U64,
    I8 <=> I8, I16 <=> I16, I32 <=> I32, I64 <=> I64,
    F16 <=> F16, F32 <=> F32, F64 <=> F64,
}

fn to_tract(tensor: &Tensor) -> Result<TValue> {
    let wrong = |error: TractError| Error::internal(format!("a tensor cannot be handed to tract: {error:#}"));
    if tensor.dtype() == DataType::Bytes {
        let texts = tensor.strings().map(|text| std::str::from_utf8(text).map(str::to_owned));
        let texts: Vec<String> = texts
            .collect::<Result<_, _>>()
            .map_err(|_| Error::invalid("a string tensor holds bytes that are no UTF-8"))?;
        let array = tract_ndarray::ArrayD::from_shape_vec(tensor.shape(), texts);
        return array.map(|array| array.into_tensor().into()).map_err(|error| wrong(error.into()));
    }
    let datum = datum_type(tensor.dtype()).ok_or_else(|| {
        Error::unsupported(format!("tract has no {} tensors", tensor.dtype()))
            .hint("eyot backend install onnxruntime")
    })?;
    // SAFETY: every pattern of bits is a value of these types; for booleans `Tensor::new` has checked it.
    let made = unsafe { tract_onnx::prelude::Tensor::from_raw_dt(datum, tensor.shape(), tensor.bytes()) };
    made.map(Into::into).map_err(wrong)
}

fn from_tract(value: TValue) -> Result<Tensor> {
    let datum = value.datum_type();
    let unsupported = || Error::unsupported(format!("tract gave a tensor of type {datum:?}"));
    if datum == DatumType::String {
        let texts = value.to_plain_array_view::<String>().map_err(|_| unsupported())?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        return Tensor::of_strings(value.shape().to_vec(), &texts);
    }
    let dtype = data_type(datum).ok_or_else(unsupported)?;
    let shape = value.shape().to_vec();
    let plain = if datum == DatumType::TDim {
        value.cast_to_dt(DatumType::I64).map_err(|_| unsupported())?.into_owned().into_arc_tensor()
    } else {
        value.into_arc_tensor()
    };
    // The bytes stay where tract put them.
    Tensor::new(dtype, shape, Bytes::from_owner(PlainTensor(plain)))
}

struct PlainTensor(Arc<tract_onnx::prelude::Tensor>);

impl AsRef<[u8]> for PlainTensor {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests;
