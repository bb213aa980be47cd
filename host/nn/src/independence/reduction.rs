//! What computes along axes: right for each row by itself as long as those are not the rows' own.

use super::elementwise::broadcast;
use super::size::SymbolicSize;
use super::value::GraphValue;
use super::{ACROSS, NodeCall, ProofResult, place};

const REDUCTIONS: &[&str] = &[
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
];

pub(super) fn outputs<'a>(call: &mut NodeCall<'a, '_>, op: &str) -> ProofResult<Option<Vec<GraphValue<'a>>>> {
    match op {
        _ if REDUCTIONS.contains(&op) => reduced(call),
        "Softmax" | "LogSoftmax" | "Hardmax" => softmax(call),
        "ArgMax" | "ArgMin" => extreme(call),
        "TopK" => largest(call),
        "CumSum" | "CumProd" => running(call),
        "LpNormalization" => beside_rows(call, &[call.int("axis", -1)?]).map(|value| vec![value]),
        "MeanVarianceNormalization" => {
            let axes = call.ints("axes")?.unwrap_or(&[0, 2, 3]).to_vec();
            beside_rows(call, &axes).map(|value| vec![value])
        }
        "LayerNormalization" | "RMSNormalization" => normalized(call),
        "Dropout" => dropped(call),
        _ => return Ok(None),
    }
    .map(Some)
}

/// As the first input lies, if nothing happens along the axis of its rows.
fn beside_rows<'a>(call: &NodeCall<'a, '_>, axes: &[i64]) -> ProofResult<GraphValue<'a>> {
    let (rows, shape) = call.first()?;
    for axis in axes {
        if Some(place(*axis, shape.len())?) == rows {
            return Err(ACROSS.to_owned());
        }
    }
    GraphValue::along(shape, rows)
}

fn reduced<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Vec<GraphValue<'a>>> {
    let (rows, shape) = call.first()?;
    let mut axes = call.listed("axes", 1)?.unwrap_or_default();
    if axes.is_empty() {
        if call.int("noop_with_empty_axes", 0)? != 0 {
            // Not all of them do nothing then: some still square or take logarithms, each element for itself.
            return Ok(vec![GraphValue::along(shape, rows)?]);
        }
        axes = (0..shape.len() as i64).collect();
    }
    beside_rows(call, &axes)?;
    let axes: Vec<usize> = axes.iter().map(|one| place(*one, shape.len())).collect::<ProofResult<_>>()?;
    without(shape, rows, &axes, call.int("keepdims", 1)? != 0).map(|value| vec![value])
}

/// Axes that become one, or go.
fn without<'a>(
    mut shape: Vec<SymbolicSize>,
    rows: Option<usize>,
    axes: &[usize],
    are_kept: bool,
) -> ProofResult<GraphValue<'a>> {
    axes.iter().for_each(|axis| shape[*axis] = SymbolicSize::of(1));
    if are_kept {
        return GraphValue::along(shape, rows);
    }
    let rows = rows.map(|rows| rows - (0..rows).filter(|axis| axes.contains(axis)).count());
    let left = shape.into_iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
    GraphValue::along(left.map(|(_, size)| size).collect(), rows)
}

fn softmax<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Vec<GraphValue<'a>>> {
    if call.opset >= 13 {
        return beside_rows(call, &[call.int("axis", -1)?]).map(|value| vec![value]);
    }
    // Before, all axes from there on are one.
    let (rows, shape) = call.first()?;
    let from = place(call.int("axis", 1)?, shape.len())?;
    if rows.is_some_and(|rows| from <= rows) {
        return Err(ACROSS.to_owned());
    }
    Ok(vec![GraphValue::along(shape, rows)?])
}

fn extreme<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Vec<GraphValue<'a>>> {
    let axis = call.int("axis", 0)?;
    beside_rows(call, &[axis])?;
    let (rows, shape) = call.first()?;
    let axis = place(axis, shape.len())?;
    without(shape, rows, &[axis], call.int("keepdims", 1)? != 0).map(|value| vec![value])
}

fn largest<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<Vec<GraphValue<'a>>> {
    call.rest_is_shared(1)?;
    let axis = call.int("axis", -1)?;
    beside_rows(call, &[axis])?;
    let (rows, mut shape) = call.first()?;
    let axis = place(axis, shape.len())?;
    let wanted = if call.opset < 10 { Some(call.int("k", 0)?) } else { None };
    let wanted = wanted.map(SymbolicSize::of).or_else(|| match call.optional(1)?.numbers.as_deref()? {
        [number] => number.clone(),
        _ => None,
    });
    shape[axis] = match wanted.filter(SymbolicSize::is_size) {
        Some(wanted) => wanted,
        None => call.fresh(),
    };
    let found = GraphValue::along(shape, rows)?;
    Ok(vec![found.clone(), found])
}

fn running<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Vec<GraphValue<'a>>> {
    let axis = call.listed("axis", 1)?.ok_or("it has no axis")?;
    beside_rows(call, &axis).map(|value| vec![value])
}

fn normalized<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<Vec<GraphValue<'a>>> {
    call.rest_is_shared(1)?;
    let (rows, shape) = call.first()?;
    let from = place(call.int("axis", -1)?, shape.len())?;
    if rows.is_some_and(|rows| from <= rows) {
        return Err(ACROSS.to_owned());
    }
    let input = call.input(0)?.emptied();
    for weights in [call.optional(1), call.optional(2)].into_iter().flatten().cloned().collect::<Vec<_>>() {
        broadcast(call, &[input.clone(), weights])?;
    }
    let axes: Vec<usize> = (from..shape.len()).collect();
    let figures = without(shape, rows, &axes, true)?;
    Ok(vec![input, figures.clone(), figures])
}

/// From version 12 on it may be told to train, and drops by chance.
fn dropped<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Vec<GraphValue<'a>>> {
    let trains = call.optional(2).map(|value| value.known_numbers());
    if trains.is_some_and(|trains| trains.as_deref() != Some(&[0])) {
        return Err("it may drop by chance".to_owned());
    }
    call.rest_is_shared(1)?;
    let (rows, shape) = call.first()?;
    let value = GraphValue::along(shape, rows)?;
    Ok(vec![value.clone(), value])
}
