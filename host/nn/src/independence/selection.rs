//! What picks elements by their places.

use super::size::SymbolicSize;
use super::value::{GraphValue, RowLayout};
use super::{COUNTS, NodeCall, ProofResult, numbers, place};

pub(super) fn outputs<'a>(call: &mut NodeCall<'a, '_>, op: &str) -> ProofResult<Option<Vec<GraphValue<'a>>>> {
    let value = match op {
        "Slice" => slice(call),
        "Gather" => gather(call),
        "GatherElements" => gather_elements(call),
        "GatherND" => gather_places(call),
        "ScatterElements" | "Scatter" => scatter(call),
        "OneHot" => one_hot(call),
        _ => return Ok(None),
    };
    value.map(|value| Some(vec![value]))
}

const PICKS: &str = "it picks some of the rows";
const DIFFERENT: &str = "its inputs have different numbers of rows";

fn slice<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    if call.given().skip(1).any(|value| value.row_axis().is_some()) {
        return Err("what it takes depends on the rows".to_owned());
    }
    let (rows, mut shape) = call.first()?;
    for (axis, size) in shape.iter_mut().enumerate() {
        if rows == Some(axis) {
            if !takes_all(numbers::bounds(call, axis)?, size) {
                return Err(PICKS.to_owned());
            }
            continue;
        }
        let Some(bounds) = numbers::bounds(call, axis)? else { continue };
        let (start, end, step) = &bounds;
        if [start, end, step].into_iter().flatten().any(SymbolicSize::has_rows) {
            return Err(COUNTS.to_owned());
        }
        let known = size.known().and_then(|size| usize::try_from(size).ok());
        let range = known.map(|size| numbers::range(call, axis, size)).transpose()?.flatten();
        *size = match range {
            Some((start, end, step)) => {
                let long = if step > 0 { end - start } else { start - end };
                SymbolicSize::of(long.max(0).unsigned_abs().div_ceil(step.unsigned_abs()) as i64)
            }
            None if takes_all(Some(bounds.clone()), size) => size.clone(),
            None => match &bounds {
                (Some(start), Some(end), Some(step)) if start.is(0) && step.is(1) => {
                    call.walk.at_most(end, size)
                }
                _ => call.fresh(),
            },
        };
    }
    GraphValue::along(shape, rows)
}

/// Whether a slice of an axis is all of it, whatever its size.
fn takes_all(bounds: Option<numbers::SliceBounds>, size: &SymbolicSize) -> bool {
    let Some((start, end, step)) = bounds else { return true };
    let is = |number: Option<SymbolicSize>, wanted| number.is_some_and(|number| number.is(wanted));
    let to_the_end = end.is_some_and(|end| {
        // What exporters write for the end; no call has as many rows.
        end == *size || end.known().is_some_and(|end| end >= i64::from(i32::MAX))
    });
    is(start, 0) && to_the_end && is(step, 1)
}

fn gather<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, shape) = call.first()?;
    let places = call.input(1)?;
    let axis = place(call.int("axis", 0)?, shape.len())?;
    let picked = places.shape()?;
    let sizes = [&shape[..axis], picked, &shape[axis + 1..]].concat();
    let of_rows = match (rows, places.layout) {
        (_, RowLayout::Count) => return Err(COUNTS.to_owned()),
        (None, RowLayout::Shared) => None,
        (None, RowLayout::Rows(along)) => Some(axis + along),
        (Some(_), RowLayout::Rows(_)) => return Err("it picks rows by what is in rows".to_owned()),
        (Some(rows), RowLayout::Shared) if rows == axis => return Err(PICKS.to_owned()),
        (Some(rows), RowLayout::Shared) if rows < axis => Some(rows),
        (Some(rows), RowLayout::Shared) => Some(rows + picked.len() - 1),
    };
    GraphValue::along(sizes, of_rows)
}

/// Of each row by what is in that row, or of a table that is shared.
fn gather_elements<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, shape) = call.first()?;
    let places = call.input(1)?;
    let picked = places.shape()?;
    let axis = place(call.int("axis", 0)?, shape.len())?;
    if picked.len() != shape.len() {
        return Err("its inputs have different numbers of axes".to_owned());
    }
    let of_rows = match (rows, places.layout) {
        (None, RowLayout::Shared) => None,
        (None, RowLayout::Rows(along)) if along == axis => Some(along),
        (Some(rows), RowLayout::Rows(along)) if along == rows && rows != axis => {
            (shape[rows] == picked[rows]).then_some(Some(rows)).ok_or(DIFFERENT)?
        }
        _ => return Err(PICKS.to_owned()),
    };
    GraphValue::along(picked.to_vec(), of_rows)
}

fn gather_places<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, shape) = call.first()?;
    let places = call.input(1)?;
    let picked = places.shape()?;
    let batch = usize::try_from(call.int("batch_dims", 0)?).map_err(|_| "its batch_dims is below zero")?;
    let Some((last, found)) = picked.split_last() else { return Err("its places are none".to_owned()) };
    let deep =
        last.known().and_then(|deep| usize::try_from(deep).ok()).ok_or("how deep it picks is not known")?;
    let of_rows = match (rows, places.layout) {
        (None, RowLayout::Shared) => None,
        (None, RowLayout::Rows(along)) if batch == 0 && along < found.len() => Some(along),
        (Some(rows), RowLayout::Rows(along)) if along == rows && rows < batch => {
            (shape[rows] == picked[rows]).then_some(Some(rows)).ok_or(DIFFERENT)?
        }
        _ => return Err(PICKS.to_owned()),
    };
    let rest = shape.get(batch + deep..).ok_or("it picks deeper than there are axes")?;
    GraphValue::along([found, rest].concat(), of_rows)
}

/// Into each row by what is in that row.
fn scatter<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, shape) = call.first()?;
    let axis = place(call.int("axis", 0)?, shape.len())?;
    for other in [call.input(1)?, call.input(2)?] {
        let own = other.shape()?;
        if own.len() != shape.len() || other.row_axis() != rows || other.layout == RowLayout::Count {
            return Err("it writes into some of the rows".to_owned());
        }
        if rows.is_some_and(|rows| rows == axis || own[rows] != shape[rows]) {
            return Err("it writes into some of the rows".to_owned());
        }
    }
    GraphValue::along(shape, rows)
}

fn one_hot<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    call.rest_is_shared(1)?;
    let (rows, mut shape) = call.first()?;
    let axis = place(call.int("axis", -1)?, shape.len() + 1)?;
    let depth = match call.input(1)?.numbers.as_deref() {
        Some([Some(depth)]) if depth.is_size() => depth.clone(),
        _ => call.fresh(),
    };
    shape.insert(axis, depth);
    GraphValue::along(shape, rows.map(|rows| if axis <= rows { rows + 1 } else { rows }))
}
