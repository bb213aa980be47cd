//! What moves elements and computes nothing.

use super::elementwise::wider;
use super::size::SymbolicSize;
use super::value::{GraphValue, RowLayout};
use super::{NodeCall, ProofResult, place};

pub(super) fn outputs<'a>(call: &mut NodeCall<'a, '_>, op: &str) -> ProofResult<Option<Vec<GraphValue<'a>>>> {
    let value = match op {
        "Reshape" => reshape(call),
        "Flatten" => flatten(call),
        "Squeeze" => squeeze(call),
        "Unsqueeze" => unsqueeze(call),
        "Transpose" => transpose(call),
        "Expand" => expand(call),
        "Tile" => tile(call),
        "Concat" => concat(call),
        "ConstantOfShape" => filled(call),
        "Pad" => pad(call),
        "DepthToSpace" | "SpaceToDepth" => blocks(call),
        "Trilu" => triangle(call),
        "Split" => return split(call).map(Some),
        _ => return Ok(None),
    };
    value.map(|value| Some(vec![value]))
}

const UNKNOWN: &str = "the sizes that it makes are not known before it runs";
const FOLDED: &str = "it folds rows together with something else";

fn reshape<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, shape) = call.first()?;
    let Some(wanted) = call.input(1)?.numbers.clone() else { return Err(UNKNOWN.to_owned()) };
    let copies = call.int("allowzero", 0)? == 0;
    let mut sizes: Vec<Option<SymbolicSize>> = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (at, number) in wanted.into_iter().enumerate() {
        sizes.push(match number {
            Some(number) if number.is(0) && copies => {
                Some(shape.get(at).ok_or("it copies a size that is not there")?.clone())
            }
            Some(number) if number.is(-1) && open.is_none() => {
                open = Some(at);
                None
            }
            number => number,
        });
    }
    if let Some(open) = open {
        let others = sizes.iter().enumerate().filter(|(at, _)| *at != open).map(|(_, size)| size.as_ref());
        let others: Option<Vec<&SymbolicSize>> = others.collect();
        let others = others.and_then(SymbolicSize::product);
        sizes[open] = SymbolicSize::product(&shape).zip(others).and_then(|(all, others)| all.over(&others));
    }
    if rows.is_none() {
        let sizes =
            sizes.into_iter().map(|size| size.filter(SymbolicSize::is_size).unwrap_or_else(|| call.fresh()));
        return GraphValue::along(sizes.collect(), None);
    }
    let sizes: Option<Vec<SymbolicSize>> = sizes.into_iter().collect();
    reshaped(&shape, rows, sizes.ok_or(UNKNOWN)?)
}

/// Rows stay apart if as much lies before their axis as before, and as much of each in all.
fn reshaped<'a>(
    shape: &[SymbolicSize],
    rows: Option<usize>,
    sizes: Vec<SymbolicSize>,
) -> ProofResult<GraphValue<'a>> {
    let Some(rows) = rows else { return GraphValue::along(sizes, None) };
    let axis = sizes.iter().position(SymbolicSize::has_rows).ok_or(FOLDED)?;
    let (before, after) = (SymbolicSize::product(&shape[..rows]), SymbolicSize::product(&sizes[..axis]));
    let (all, made) = (SymbolicSize::product(shape), SymbolicSize::product(&sizes));
    let apart = before.is_some() && before == after && all.is_some() && all == made;
    if !apart || all.is_some_and(|all| all.is(0)) {
        return Err(FOLDED.to_owned());
    }
    GraphValue::rows(sizes, axis)
}

fn flatten<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, shape) = call.first()?;
    // The end is a place, too.
    let axis = match call.int("axis", 1)? {
        axis if axis == shape.len() as i64 => shape.len(),
        axis => place(axis, shape.len())?,
    };
    let sizes = [SymbolicSize::product(&shape[..axis]), SymbolicSize::product(&shape[axis..])];
    let sizes: Option<Vec<SymbolicSize>> = sizes.into_iter().collect();
    reshaped(&shape, rows, sizes.ok_or(UNKNOWN)?)
}

fn squeeze<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, shape) = call.first()?;
    let axes = match call.listed("axes", 1)? {
        Some(axes) => axes.iter().map(|one| place(*one, shape.len())).collect::<ProofResult<Vec<_>>>()?,
        // A size that is not known may be one, and the number of rows is one sometimes.
        None if shape.iter().all(|size| size.known().is_some()) => {
            (0..shape.len()).filter(|axis| shape[*axis].is(1)).collect()
        }
        None => return Err("which axes it takes away depends on sizes".to_owned()),
    };
    if axes.iter().any(|axis| Some(*axis) == rows) {
        return Err("it takes the axis of the rows away".to_owned());
    }
    let rows = rows.map(|rows| rows - (0..rows).filter(|axis| axes.contains(axis)).count());
    let left = shape.into_iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
    GraphValue::along(left.map(|(_, size)| size).collect(), rows)
}

fn unsqueeze<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (mut rows, mut shape) = call.first()?;
    let axes = call.listed("axes", 1)?.ok_or("it has no axes")?;
    let rank = shape.len() + axes.len();
    let mut axes = axes.iter().map(|one| place(*one, rank)).collect::<ProofResult<Vec<_>>>()?;
    axes.sort_unstable();
    for axis in axes {
        if axis > shape.len() {
            return Err("an axis of its is given twice".to_owned());
        }
        shape.insert(axis, SymbolicSize::of(1));
        rows = rows.map(|rows| if axis <= rows { rows + 1 } else { rows });
    }
    GraphValue::along(shape, rows)
}

fn transpose<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, shape) = call.first()?;
    let order: Vec<usize> = match call.ints("perm")? {
        Some(order) => order.iter().map(|one| place(*one, shape.len())).collect::<ProofResult<_>>()?,
        None => (0..shape.len()).rev().collect(),
    };
    let mut seen = order.clone();
    seen.sort_unstable();
    if !seen.iter().copied().eq(0..shape.len()) {
        return Err("its axes are not each there once".to_owned());
    }
    let sizes = order.iter().map(|axis| shape[*axis].clone()).collect();
    GraphValue::along(sizes, rows.and_then(|rows| order.iter().position(|axis| *axis == rows)))
}

/// To as many as are wanted: of one that is shared also to as many as there are rows.
fn expand<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, shape) = call.first()?;
    let Some(wanted) = call.input(1)?.numbers.clone() else { return Err(UNKNOWN.to_owned()) };
    let rank = shape.len().max(wanted.len());
    let mut axis = rows.map(|rows| rows + rank - shape.len());
    let mut sizes = Vec::with_capacity(rank);
    for at in 0..rank {
        let own = at.checked_sub(rank - shape.len()).map_or(SymbolicSize::of(1), |at| shape[at].clone());
        let wanted = match at.checked_sub(rank - wanted.len()) {
            None => Some(SymbolicSize::of(1)),
            Some(at) => wanted[at].clone().filter(SymbolicSize::is_size),
        };
        let many = wanted.as_ref().is_some_and(SymbolicSize::has_rows);
        if axis == Some(at) || many {
            // Rows must stay as many as they are, and only one thing can become rows.
            let same = wanted.as_ref().is_some_and(|wanted| wanted.is(1) || *wanted == own);
            let made = many && axis.is_none() && own.is(1);
            if !same && !made {
                return Err(FOLDED.to_owned());
            }
            axis = Some(at);
        }
        sizes.push(match wanted {
            Some(wanted) => wider(call, &own, &wanted),
            None => call.fresh(),
        });
    }
    GraphValue::along(sizes, axis)
}

fn tile<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, shape) = call.first()?;
    let times = call.input(1)?.numbers.clone().filter(|times| times.len() == shape.len()).ok_or(UNKNOWN)?;
    let mut axis = rows;
    let mut sizes = Vec::with_capacity(shape.len());
    for (at, (own, times)) in shape.iter().zip(times).enumerate() {
        let times = times.filter(SymbolicSize::is_size);
        let many = times.as_ref().is_some_and(SymbolicSize::has_rows);
        let is_kept = rows == Some(at) && times.as_ref().is_some_and(|times| times.is(1));
        if (rows == Some(at) && !is_kept) || (many && axis.is_some()) {
            return Err("it repeats rows".to_owned());
        }
        if many {
            axis = Some(at);
        }
        sizes.push(match times.and_then(|times| own.times(&times)) {
            Some(size) => size,
            None if many => return Err(UNKNOWN.to_owned()),
            None => call.fresh(),
        });
    }
    GraphValue::along(sizes, axis)
}

fn concat<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, mut shape) = call.first()?;
    let along = place(call.int("axis", 1)?, shape.len())?;
    if Some(along) == rows {
        return Err("it puts rows behind others".to_owned());
    }
    for value in call.given().skip(1).cloned().collect::<Vec<_>>() {
        let own = value.shape()?;
        if value.row_axis() != rows || value.layout == RowLayout::Count || own.len() != shape.len() {
            return Err("not all of what it puts together is rows along the same axis".to_owned());
        }
        for (at, (size, own)) in shape.iter_mut().zip(own).enumerate() {
            if rows == Some(at) && size != own {
                return Err("its inputs have different numbers of rows".to_owned());
            }
            if at == along {
                *size = size.plus(own).unwrap_or_else(|| call.fresh());
            } else if size.known().is_none() {
                // They are equal, and of one it may be known how much that is.
                *size = own.clone();
            }
        }
    }
    GraphValue::along(shape, rows)
}

fn split<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<Vec<GraphValue<'a>>> {
    let (rows, shape) = call.first()?;
    let along = place(call.int("axis", 0)?, shape.len())?;
    if Some(along) == rows {
        return Err("it splits rows from each other".to_owned());
    }
    let parts = call.node.output.len();
    let sizes: Vec<Option<SymbolicSize>> = match call.ints("split")? {
        Some(sizes) => sizes.iter().map(|size| Some(SymbolicSize::of(*size))).collect(),
        None => match call.optional(1) {
            Some(sizes) => sizes.numbers.clone().unwrap_or_default(),
            // The last may be smaller where that does not come out even.
            None => vec![shape[along].over(&SymbolicSize::of(parts as i64)); parts],
        },
    };
    let part = |at: usize, call: &mut NodeCall<'a, '_>| {
        let mut shape = shape.clone();
        let size = sizes.get(at).cloned().flatten().filter(SymbolicSize::is_size);
        shape[along] = size.unwrap_or_else(|| call.fresh());
        GraphValue::along(shape, rows)
    };
    (0..parts).map(|at| part(at, call)).collect()
}

/// The same number everywhere: also for each row, where it makes as many as there are.
fn filled<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let Some(wanted) = call.input(0)?.numbers.clone() else { return Err(UNKNOWN.to_owned()) };
    let sizes: Vec<SymbolicSize> = wanted
        .into_iter()
        .map(|size| size.filter(SymbolicSize::is_size).unwrap_or_else(|| call.fresh()))
        .collect();
    let axis = sizes.iter().position(SymbolicSize::has_rows);
    GraphValue::along(sizes, axis)
}

fn pad<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    call.rest_is_shared(1)?;
    let (rows, mut shape) = call.first()?;
    let pads = match call.ints("pads")? {
        Some(pads) => pads.iter().map(|pad| Some(SymbolicSize::of(*pad))).collect(),
        None => call.input(1)?.numbers.clone().ok_or(UNKNOWN)?,
    };
    let axes = match call.optional(3).filter(|_| call.opset >= 18) {
        Some(axes) => axes.known_numbers().ok_or(UNKNOWN)?,
        None => (0..shape.len() as i64).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err("it has not two pads for each axis".to_owned());
    }
    for (at, axis) in axes.iter().enumerate() {
        let axis = place(*axis, shape.len())?;
        let (before, behind) = (&pads[at], &pads[at + axes.len()]);
        if rows == Some(axis) {
            let none = [before, behind].iter().all(|pad| pad.as_ref().is_some_and(|pad| pad.is(0)));
            none.then_some(()).ok_or("it adds rows")?;
            continue;
        }
        let padded = before.as_ref().and_then(|pad| shape[axis].plus(pad));
        let padded = padded.zip(behind.as_ref()).and_then(|(size, pad)| size.plus(pad));
        shape[axis] = padded.filter(SymbolicSize::is_size).unwrap_or_else(|| call.fresh());
    }
    GraphValue::along(shape, rows)
}

/// Between channels and the places of a picture.
fn blocks<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, mut shape) = call.first()?;
    if rows.is_some_and(|rows| rows != 0) || shape.len() != 4 {
        return Err(FOLDED.to_owned());
    }
    for size in &mut shape[1..] {
        *size = call.fresh();
    }
    GraphValue::along(shape, rows)
}

fn triangle<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    call.rest_is_shared(1)?;
    let (rows, shape) = call.first()?;
    match rows.is_some_and(|rows| rows + 2 >= shape.len()) {
        true => Err("it leaves out parts of rows by their place".to_owned()),
        false => GraphValue::along(shape, rows),
    }
}
