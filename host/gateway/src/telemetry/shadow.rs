//! Shadow requests: a revision answers beside the one that is heard, and the answers are compared.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use eyot_core::Result;
use eyot_engine::FunctionReply;
use eyot_nn::{DataType, InferOptions, NamedTensor, Tensor, TensorElement};
use half::{bf16, f16};
use serde_json::Value;
use tokio::runtime::Handle;

use crate::serving::endpoint::{DeploymentEntry, ServingRevision};
use crate::serving::exchange::observer::{Capture, Observer};
use crate::serving::exchange::{CapturedCall, Exchange, ExchangeKind};

/// How far apart two numbers of different revisions may be and still be the same: another back end
/// or another order of additions moves the last digits.
const RELATIVE_TOLERANCE: f64 = 1e-4;
const ABSOLUTE_TOLERANCE: f64 = 1e-6;

/// Lets a deployment's shadow answer its share of requests, and counts whether it says what was answered.
pub(super) struct ShadowObserver;

impl Observer for ShadowObserver {
    fn interested(&self, exchange: &Exchange) -> Capture {
        let is_worked_on = exchange.is_admitted() && exchange.kind != ExchangeKind::Http;
        let has_turn = |deployment: &Arc<DeploymentEntry>| is_worked_on && deployment.takes_shadow_turn();
        match exchange.deployment().filter(|deployment| has_turn(deployment)).and_then(|_| shadow(exchange)) {
            Some(_) => Capture::Content,
            None => Capture::Nothing,
        }
    }

    fn finished(&self, exchange: &Exchange) {
        let answered = exchange.captured().filter(|call| call.is_answered());
        if let (Some(shadow), Some(call)) = (shadow(exchange), answered) {
            compare(shadow.clone(), call.clone());
        }
    }
}

/// The revision that may answer beside the one that answers.
fn shadow(exchange: &Exchange) -> Option<&Arc<ServingRevision>> {
    let revision = exchange.revision()?;
    exchange.deployment()?.shadow().filter(|shadow| shadow.version != revision.version)
}

/// Asks `shadow` too, if it has room now. Nobody waits for it; what bounds it are the revision's own gate and
/// timeout.
fn compare(shadow: Arc<ServingRevision>, call: Arc<CapturedCall>) {
    // A request that ends with the process ends where nothing can be begun any more.
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        let counts = &shadow.stats.shadowed;
        let Some(permit) = shadow.gate.try_enter() else {
            counts.skipped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let agrees = agrees(&shadow, &call).await;
        drop(permit);
        let counter = match agrees {
            Ok(true) => &counts.same,
            Ok(false) => &counts.different,
            Err(error) => {
                let revision = shadow.revision.revision;
                tracing::debug!(deployment = %shadow.revision.deployment, revision, error = %error.chain(), "a shadow failed");
                &counts.failed
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    });
}

async fn agrees(shadow: &ServingRevision, call: &CapturedCall) -> Result<bool> {
    let deadline = Some(Instant::now() + shadow.revision.timeout);
    match call {
        CapturedCall::Prediction { inputs, outputs } => {
            let predictor = shadow.predictor()?;
            let inputs = predictor.signature().check_inputs(inputs.clone())?;
            let predicted =
                predictor.predict(inputs, InferOptions { deadline, ..InferOptions::default() }).await?;
            Ok(outputs.as_ref().is_some_and(|answered| same(&predicted.outputs, answered)))
        }
        CapturedCall::Function { name, arguments, reply } => {
            let called = shadow.functions()?.call(name, arguments.clone(), deadline).await?;
            Ok(match (&called.reply, reply) {
                (FunctionReply::Value(one), Some(FunctionReply::Value(other))) => alike_json(one, other),
                (one, other) => Some(one) == other.as_ref(),
            })
        }
    }
}

fn alike_json(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => {
            let both = one.as_f64().zip(other.as_f64());
            both.is_some_and(|(one, other)| one == other || close(one, other))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike_json(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let both =
                |(name, one): (&String, &Value)| other.get(name).is_some_and(|other| alike_json(one, other));
            one.len() == other.len() && one.iter().all(both)
        }
        (one, other) => one == other,
    }
}

fn same(outputs: &[NamedTensor], answered: &[NamedTensor]) -> bool {
    let find = |name: &str| answered.iter().find(|output| output.name == name);
    outputs.len() == answered.len()
        && outputs
            .iter()
            .all(|output| find(&output.name).is_some_and(|other| alike(&output.tensor, &other.tensor)))
}

fn alike(one: &Tensor, other: &Tensor) -> bool {
    if one.dtype() != other.dtype() || one.shape() != other.shape() {
        return false;
    }
    match one.dtype() {
        DataType::F16 => near::<f16>(one, other, f64::from),
        DataType::BF16 => near::<bf16>(one, other, f64::from),
        DataType::F32 => near::<f32>(one, other, f64::from),
        DataType::F64 => near::<f64>(one, other, |value| value),
        _ => one.bytes() == other.bytes(),
    }
}

fn near<T: TensorElement>(one: &Tensor, other: &Tensor, wide: impl Fn(T) -> f64) -> bool {
    let read = |bytes: &[u8]| wide(T::read(bytes));
    let size = size_of::<T>();
    one.bytes().chunks_exact(size).zip(other.bytes().chunks_exact(size)).all(|(one, other)| {
        let (one, other) = (read(one), read(other));
        one == other || close(one, other) || one.is_nan() && other.is_nan()
    })
}

fn close(one: f64, other: f64) -> bool {
    other.is_finite() && (one - other).abs() <= ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * other.abs()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_digits_do_not_matter_and_all_else_does() {
        let of = |values: &[f32]| Tensor::of(vec![values.len()], values).unwrap();
        for (one, other, expected) in [
            (of(&[1.0, f32::NAN, f32::INFINITY]), of(&[1.000_05, f32::NAN, f32::INFINITY]), true),
            (of(&[1.0]), of(&[1.001]), false),
            (of(&[f32::INFINITY]), of(&[f32::NEG_INFINITY]), false),
            (of(&[f32::NAN]), of(&[0.0]), false),
            (of(&[1.0]), of(&[1.0, 2.0]), false),
            (of(&[1.0]), Tensor::of(vec![1], &[1.0_f64]).unwrap(), false),
            (Tensor::of(vec![1], &[7_i64]).unwrap(), Tensor::of(vec![1], &[8_i64]).unwrap(), false),
            (
                Tensor::of_strings(vec![1], &["a"]).unwrap(),
                Tensor::of_strings(vec![1], &["a"]).unwrap(),
                true,
            ),
        ] {
            assert_eq!(alike(&one, &other), expected, "{one:?} {other:?}");
        }
    }

    #[test]
    fn values_are_compared_as_tensors_are() {
        for (one, other, expected) in [
            (json!({"p": [0.5, 1], "t": "a"}), json!({"p": [0.500_01, 1], "t": "a"}), true),
            (json!(0.5), json!(0.51), false),
            (json!(100_000), json!(100_001), false),
            (json!(1.0), json!(1), true),
            (json!([1]), json!([1, 2]), false),
            (json!({"a": 1}), json!({"b": 1}), false),
            (json!("NaN"), json!("NaN"), true),
            (json!(null), json!(0), false),
        ] {
            assert_eq!(alike_json(&one, &other), expected, "{one} {other}");
        }
    }
}
