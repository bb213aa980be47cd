//! A handler of preview 1 that finds its model by name through the crate wasi-nn.
#![cfg(target_family = "wasm")]

use eyot_guest::{Error, Result, Tensor};
use wasi_nn::{ExecutionTarget, GraphBuilder, GraphEncoding, TensorType};

/// Answers what the model granted as `add` makes of `x`; asked for no row, what comes of a name that was not
/// granted.
#[eyot_guest::handler(inputs("x: FP32[-1, 2]"), outputs("y: FP32[-1, 2]"))]
fn predict(inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let (shape, values) = (inputs[0].shape(), inputs[0].to_vec::<f32>()?);
    let name = if values.is_empty() { "other" } else { "add" };
    let sums = infer(name, &shape, &values).map_err(Error::invalid)?;
    Ok(vec![Tensor::of("y", &shape, &sums)])
}

fn infer(name: &str, shape: &[usize], values: &[f32]) -> std::result::Result<Vec<f32>, wasi_nn::Error> {
    let graph = GraphBuilder::new(GraphEncoding::Onnx, ExecutionTarget::CPU).build_from_cache(name)?;
    let mut context = graph.init_execution_context()?;
    context.set_input(0, TensorType::F32, shape, values)?;
    context.compute()?;
    let mut sums = vec![0_f32; values.len()];
    context.get_output(0, &mut sums)?;
    Ok(sums)
}
