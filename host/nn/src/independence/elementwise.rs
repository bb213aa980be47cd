//! Each element for itself, or with those at the same place of other values.

use super::size::SymbolicSize;
use super::value::{GraphValue, RowLayout};
use super::{COUNTS, NodeCall, ProofResult};

/// Of one element comes one.
const UNARY: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BitwiseNot",
    "Cast",
    "Ceil",
    "Celu",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Not",
    "Reciprocal",
    "RegexFullMatch",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
];

/// Of elements at the same place comes one.
const BROADCAST: &[&str] = &[
    "Add",
    "And",
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "PRelu",
    "Pow",
    "StringConcat",
    "Sub",
    "Sum",
    "Where",
    "Xor",
];

pub(super) fn outputs<'a>(call: &mut NodeCall<'a, '_>, op: &str) -> ProofResult<Option<GraphValue<'a>>> {
    if UNARY.contains(&op) {
        return match call.input(0)? {
            value if value.layout != RowLayout::Count => Ok(Some(value.emptied())),
            value if op == "Identity" => Ok(Some(value.clone())),
            _ => Err(COUNTS.to_owned()),
        };
    }
    if BROADCAST.contains(&op) {
        let values: Vec<GraphValue<'_>> = call.given().cloned().collect();
        return broadcast(call, &values).map(Some);
    }
    match op {
        // Its bounds are one number each.
        "Clip" => bounded(call).map(Some),
        "CastLike" => of_first(call).map(Some),
        "QuantizeLinear" | "DequantizeLinear" => quantized(call).map(Some),
        _ => Ok(None),
    }
}

/// Operators of ONNX Runtime's own set whose meaning is written down and is one of these.
pub(super) fn of_microsoft<'a>(
    call: &mut NodeCall<'a, '_>,
    op: &str,
) -> ProofResult<Option<Vec<GraphValue<'a>>>> {
    let operands = match op {
        "Gelu" | "QuickGelu" => return of_first(call).map(|value| Some(vec![value])),
        "FastGelu" | "BiasGelu" => call.given().cloned().collect::<Vec<_>>(),
        // A value, its scale and its zero point, twice, and those of the result.
        "QLinearAdd" | "QLinearMul" => {
            for place in [1, 2, 4, 5, 6, 7] {
                one_number(call, place)?;
            }
            vec![call.input(0)?.clone(), call.input(3)?.clone()]
        }
        "QLinearSigmoid" | "QLinearLeakyRelu" => {
            (1..call.inputs.len()).try_for_each(|place| one_number(call, place))?;
            return of_first(call).map(|value| Some(vec![value]));
        }
        _ => return Ok(None),
    };
    broadcast(call, &operands).map(|value| Some(vec![value]))
}

/// As the first input lies, whatever else there is that does not depend on rows.
fn of_first<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    match call.input(0)? {
        value if value.layout == RowLayout::Count => Err(COUNTS.to_owned()),
        value => Ok(value.emptied()),
    }
}

fn bounded<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    call.rest_is_shared(1)?;
    of_first(call)
}

/// Fails unless that input is one number, the same for all.
pub(super) fn one_number(call: &NodeCall<'_, '_>, place: usize) -> ProofResult<()> {
    let Some(value) = call.optional(place) else { return Ok(()) };
    let one = value.is_shared() && value.shape()?.iter().all(|size| size.is(1));
    one.then_some(()).ok_or_else(|| "its scales are not the same for all rows".to_owned())
}

/// Scales along an axis must not be along that of the rows.
fn quantized<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    call.rest_is_shared(1)?;
    let (rows, shape) = call.first()?;
    let Some(rows) = rows else { return Ok(GraphValue::shared(Some(shape))) };
    if call.int("block_size", 0)? != 0 {
        return Err("it computes in blocks".to_owned());
    }
    let apart = super::place(call.int("axis", 1)?, shape.len()).is_ok_and(|axis| axis != rows);
    if !apart {
        one_number(call, 1)?;
        one_number(call, 2)?;
    }
    of_first(call)
}

/// Elements of several values at the same place. Rows of all must lie along the same axis, and what is shared
/// must be one there: were it several, it would fit as many rows, each with another of them.
pub(super) fn broadcast<'a>(
    call: &mut NodeCall<'_, '_>,
    values: &[GraphValue<'a>],
) -> ProofResult<GraphValue<'a>> {
    if values.iter().any(|value| value.layout == RowLayout::Count) {
        return Err(COUNTS.to_owned());
    }
    if values.iter().all(GraphValue::is_shared) && values.iter().any(|value| value.shape.is_none()) {
        return Ok(GraphValue::unknown());
    }
    let (mut rank, mut rows_from_end) = (0, None);
    for value in values {
        rank = rank.max(value.rank()?);
        let Some(axis) = value.row_axis() else { continue };
        let from_end = value.rank()? - axis;
        if *rows_from_end.get_or_insert(from_end) != from_end {
            return Err("rows of one input meet another axis of the other".to_owned());
        }
    }
    let mut shape = Vec::with_capacity(rank);
    for from_end in (1..=rank).rev() {
        let mut size = SymbolicSize::of(1);
        let mut of_rows = None;
        for value in values {
            let own = value.shape()?;
            let Some(own) = own.len().checked_sub(from_end).map(|place| &own[place]) else {
                continue;
            };
            if rows_from_end == Some(from_end) {
                check_rows(value, own, &mut of_rows)?;
            }
            size = wider(call, &size, own);
        }
        shape.push(size);
    }
    GraphValue::along(shape, rows_from_end.map(|from_end| rank - from_end))
}

fn check_rows(
    value: &GraphValue<'_>,
    own: &SymbolicSize,
    of_rows: &mut Option<SymbolicSize>,
) -> ProofResult<()> {
    if value.row_axis().is_none() {
        return match own.is(1) {
            true => Ok(()),
            false => Err("rows meet as many shared values, one each".to_owned()),
        };
    }
    match of_rows.get_or_insert_with(|| own.clone()) == own {
        true => Ok(()),
        false => Err("its inputs have different numbers of rows".to_owned()),
    }
}

/// The size of an axis where two meet.
pub(super) fn wider(call: &mut NodeCall<'_, '_>, one: &SymbolicSize, other: &SymbolicSize) -> SymbolicSize {
    match () {
        () if one == other || other.is(1) => one.clone(),
        () if one.is(1) => other.clone(),
        () if call.walk.is_bounded(one, other) => other.clone(),
        () if call.walk.is_bounded(other, one) => one.clone(),
        () if one.has_rows() || one.known().is_some() => one.clone(),
        () if other.has_rows() || other.known().is_some() => other.clone(),
        () => call.fresh(),
    }
}
