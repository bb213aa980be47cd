//! Shapes as values: what graphs reckon of `Shape` to hand it to `Reshape` and the like.

use crate::onnx::element_codes::{BOOL_CODE, FLOAT_CODE, INT32_CODE, INT64_CODE};
use crate::onnx::messages as pb;

use super::size::SymbolicSize;
use super::value::{GraphValue, RowLayout};
use super::{COUNTS, NodeCall, ProofResult, place};

/// Lists longer than this are weights, and no shapes.
const MAX_SHAPE_ELEMENTS: usize = 64;

/// A tensor of the file.
pub(super) fn weight(tensor: &pb::TensorProto) -> GraphValue<'_> {
    let sizes = tensor.dims.iter().map(|dim| (*dim >= 0).then(|| SymbolicSize::of(*dim))).collect();
    // Of one that lies beside the file the values are not here.
    let weight = tensor.external_data.is_empty().then_some(tensor);
    let numbers = weight
        .and_then(content)
        .map(|numbers| numbers.into_iter().map(|one| Some(SymbolicSize::of(one))).collect());
    GraphValue { layout: RowLayout::Shared, shape: sizes, numbers, weight }
}

/// A few whole numbers or truths.
fn content(tensor: &pb::TensorProto) -> Option<Vec<i64>> {
    let count = match tensor.dims.as_slice() {
        [] => 1,
        [count] => usize::try_from(*count).ok().filter(|count| *count <= MAX_SHAPE_ELEMENTS)?,
        _ => return None,
    };
    let raw = tensor.raw_data.as_slice();
    let narrow = || tensor.int32_data.iter().map(|number| i64::from(*number)).collect();
    let numbers: Vec<i64> = match (tensor.data_type, raw) {
        (INT64_CODE, []) => tensor.int64_data.clone(),
        (INT64_CODE, raw) => raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
        (INT32_CODE, []) => narrow(),
        (INT32_CODE, raw) => {
            raw.as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect()
        }
        (BOOL_CODE, []) => narrow(),
        (BOOL_CODE, raw) => raw.iter().map(|byte| i64::from(*byte != 0)).collect(),
        _ => return None,
    };
    (numbers.len() == count).then_some(numbers)
}

/// The content of a weight of FP32.
pub(super) fn floats(value: &GraphValue<'_>) -> Option<Vec<f32>> {
    let tensor = value.weight.filter(|tensor| tensor.data_type == FLOAT_CODE)?;
    Some(match tensor.raw_data.as_slice() {
        [] => tensor.float_data.clone(),
        raw => raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
    })
}

/// What an operator makes of whole numbers that are known, if it is one that is looked at here.
pub(super) fn outputs<'a>(call: &mut NodeCall<'a, '_>, op: &str) -> ProofResult<Option<GraphValue<'a>>> {
    let value = match op {
        "Constant" => return constant(call).map(Some),
        "Shape" => return shape(call).map(Some),
        "Size" => return size(call).map(Some),
        _ if call.inputs.is_empty() || !call.given().all(|value| value.numbers.is_some()) => return Ok(None),
        "Cast" => return cast(call).map(Some),
        "Add" | "Sub" | "Mul" | "Div" | "Min" | "Max" | "Equal" => pairwise(call, op)?,
        "Where" => choose(call)?,
        "Gather" => gather(call)?,
        "Slice" => slice(call)?,
        "Concat" => concat(call)?,
        "Squeeze" | "Unsqueeze" | "Reshape" => reshaped(call, op)?,
        "ReduceProd" => product(call)?,
        "ConstantOfShape" => filled(call)?,
        _ => return Ok(None),
    };
    Ok(value)
}

fn constant<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let list = |numbers: &[i64], is_list| {
        let known = numbers.iter().map(|one| Some(SymbolicSize::of(*one))).collect();
        GraphValue::counted(is_list, known)
    };
    if let Some(tensor) = call.attribute("value")?.and_then(|attribute| attribute.t.as_ref()) {
        return Ok(weight(tensor));
    }
    if let Some(attribute) = call.attribute("value_int")? {
        return Ok(list(&[attribute.i], false));
    }
    if let Some(attribute) = call.attribute("value_ints")? {
        return Ok(match attribute.ints.len() {
            count if count > MAX_SHAPE_ELEMENTS => {
                GraphValue::shared(Some(vec![SymbolicSize::of(count as i64)]))
            }
            _ => list(&attribute.ints, true),
        });
    }
    for alone in ["value_float", "value_string"] {
        if call.attribute(alone)?.is_some() {
            return Ok(GraphValue::shared(Some(Vec::new())));
        }
    }
    Ok(GraphValue::unknown())
}

fn shape<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let shape = match call.input(0)? {
        // The shape of what is shared is shared.
        value if value.is_shared() && value.shape.is_none() => return Ok(GraphValue::unknown()),
        value => value.shape()?.to_vec(),
    };
    let rank = shape.len() as i64;
    let bound = |number: i64| (if number < 0 { number.saturating_add(rank) } else { number }).clamp(0, rank);
    let (start, end) = (bound(call.int("start", 0)?), bound(call.int("end", rank)?));
    let sizes = shape.into_iter().skip(start as usize).take((end - start).max(0) as usize);
    Ok(GraphValue::counted(true, sizes.map(Some).collect()))
}

fn size<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let value = call.input(0)?;
    match value.shape.as_deref().and_then(SymbolicSize::product) {
        Some(product) => Ok(GraphValue::counted(false, vec![Some(product)])),
        None if value.is_shared() => Ok(GraphValue::shared(Some(Vec::new()))),
        None => Err(COUNTS.to_owned()),
    }
}

fn cast<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let value = call.input(0)?;
    let fits = |number: &Option<SymbolicSize>| number.as_ref().is_none_or(|one| narrow(one).is_some());
    match call.int("to", 0)? {
        to if to == i64::from(INT64_CODE) => Ok(GraphValue { weight: None, ..value.clone() }),
        to if to == i64::from(INT32_CODE) && value.numbers.iter().flatten().all(fits) => {
            Ok(GraphValue { weight: None, ..value.clone() })
        }
        _ if value.is_shared() => Ok(value.emptied()),
        _ => Err(COUNTS.to_owned()),
    }
}

/// A number that 32 bits hold; products of sizes that do not fit are not met.
fn narrow(number: &SymbolicSize) -> Option<&SymbolicSize> {
    number.known().is_none_or(|known| i32::try_from(known).is_ok()).then_some(number)
}

/// Numbers of inputs at the same place; one alone meets each of the others.
fn at_places(call: &NodeCall<'_, '_>) -> Option<(bool, Vec<Vec<Option<SymbolicSize>>>)> {
    let lists: Vec<&Vec<Option<SymbolicSize>>> =
        call.given().filter_map(|value| value.numbers.as_ref()).collect();
    let is_list = call.given().any(|value| value.shape.as_ref().is_some_and(|shape| !shape.is_empty()));
    let count = lists.iter().map(|list| list.len()).find(|count| *count != 1).unwrap_or(1);
    if lists.iter().any(|list| list.len() != count && list.len() != 1) {
        return None;
    }
    let at =
        |place: usize| lists.iter().map(move |list| list[if list.len() == 1 { 0 } else { place }].clone());
    Some((is_list, (0..count).map(|place| at(place).collect()).collect()))
}

fn pairwise<'a>(call: &NodeCall<'a, '_>, op: &str) -> ProofResult<Option<GraphValue<'a>>> {
    let Some((is_list, places)) = at_places(call) else { return Ok(None) };
    let mut numbers = Vec::with_capacity(places.len());
    for place in places {
        let [one, other] = place.as_slice() else { return Ok(None) };
        let found = one.as_ref().zip(other.as_ref()).and_then(|(one, other)| computed(op, one, other));
        // Results beyond 32 bits may be wrapped; nobody has shapes like that.
        numbers.push(within(found.filter(|found| narrow(found).is_some()), &place)?);
    }
    Ok(Some(GraphValue::counted(is_list, numbers)))
}

/// A number of which nothing is known may come of numbers that are shared only.
fn within(found: Option<SymbolicSize>, of: &[Option<SymbolicSize>]) -> ProofResult<Option<SymbolicSize>> {
    match found {
        None if of.iter().flatten().any(SymbolicSize::has_rows) => Err(COUNTS.to_owned()),
        found => Ok(found),
    }
}

fn computed(op: &str, one: &SymbolicSize, other: &SymbolicSize) -> Option<SymbolicSize> {
    let known = || one.known().zip(other.known());
    match op {
        "Add" => one.plus(other),
        "Sub" => one.plus(&other.negated()?),
        "Mul" => one.times(other),
        "Div" => match known() {
            Some((one, other)) => one.checked_div(other).map(SymbolicSize::of),
            None => one.over(other),
        },
        "Min" => known().map(|(one, other)| SymbolicSize::of(one.min(other))),
        "Max" => known().map(|(one, other)| SymbolicSize::of(one.max(other))),
        "Equal" => equal(one, other).map(|equal| SymbolicSize::of(i64::from(equal))),
        _ => None,
    }
}

/// `None` where that depends.
fn equal(one: &SymbolicSize, other: &SymbolicSize) -> Option<bool> {
    if one == other {
        return Some(true);
    }
    let apart = |one: &SymbolicSize, other: &SymbolicSize| {
        other.known().is_some_and(|other| {
            (other < 0 && one.is_size()) || (other == 0 && one.is_more_than_zero()) || one.known().is_some()
        })
    };
    (apart(one, other) || apart(other, one)).then_some(false)
}

fn choose<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Option<GraphValue<'a>>> {
    let Some((is_list, places)) = at_places(call) else { return Ok(None) };
    let mut numbers = Vec::with_capacity(places.len());
    for place in places {
        let [condition, yes, no] = place.as_slice() else { return Ok(None) };
        let found = match condition.as_ref().and_then(SymbolicSize::known) {
            Some(0) => no.clone(),
            Some(_) => yes.clone(),
            None if yes == no => yes.clone(),
            None => None,
        };
        numbers.push(within(found, &place)?);
    }
    Ok(Some(GraphValue::counted(is_list, numbers)))
}

fn list<'v>(call: &'v NodeCall<'_, '_>) -> ProofResult<&'v [Option<SymbolicSize>]> {
    let value = call.input(0)?;
    let is_list = value.shape.as_ref().is_some_and(|shape| shape.len() == 1);
    value.numbers.as_deref().filter(|_| is_list).ok_or_else(|| "it takes no list".to_owned())
}

fn gather<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Option<GraphValue<'a>>> {
    let numbers = list(call)?;
    let Some(places) = call.input(1)?.known_numbers() else {
        return Err("what it picks of a shape is not known".to_owned());
    };
    let found = places.iter().map(|at| place(*at, numbers.len()).map(|at| numbers[at].clone()));
    let is_list = call.input(1)?.rank()? == 1;
    Ok(Some(GraphValue::counted(is_list, found.collect::<ProofResult<_>>()?)))
}

fn slice<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Option<GraphValue<'a>>> {
    let numbers = list(call)?;
    let Some(range) = range(call, 0, numbers.len())? else {
        return Err("what it takes of a shape is not known".to_owned());
    };
    let (start, end, step) = range;
    let taken: Vec<_> = match step {
        1.. => (start..end).step_by(step as usize).map(|at| numbers[at as usize].clone()).collect(),
        _ => {
            let count = (start - end).max(0) as usize;
            let back = (0..count).step_by(step.unsigned_abs() as usize);
            back.map(|behind| numbers[start as usize - behind].clone()).collect()
        }
    };
    Ok(Some(GraphValue::counted(true, taken)))
}

/// Where a slice along that axis of that size starts, before what it ends, and its step; `None` where that
/// is not known.
pub(super) fn range(
    call: &NodeCall<'_, '_>,
    axis: usize,
    size: usize,
) -> ProofResult<Option<(i64, i64, i64)>> {
    let Some(bounds) = bounds(call, axis)? else { return Ok(Some((0, size as i64, 1))) };
    let (Some(start), Some(end), Some(step)) = bounds else { return Ok(None) };
    let (Some(start), Some(end), Some(step)) = (start.known(), end.known(), step.known()) else {
        return Ok(None);
    };
    let size = size as i64;
    let from_front = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    Ok(match step {
        0 | i64::MIN => return Err("its step is zero".to_owned()),
        1.. => Some((from_front(start).clamp(0, size), from_front(end).clamp(0, size), step)),
        _ if size == 0 => Some((0, 0, 1)),
        _ => Some((from_front(start).clamp(0, size - 1), from_front(end).clamp(-1, size - 1), step)),
    })
}

/// Start, end and step as the node has them.
pub(super) type SliceBounds = (Option<SymbolicSize>, Option<SymbolicSize>, Option<SymbolicSize>);

/// What a `Slice` does along that axis of its first input; `None` where it takes all of it.
pub(super) fn bounds(call: &NodeCall<'_, '_>, axis: usize) -> ProofResult<Option<SliceBounds>> {
    let rank = call.input(0)?.rank()?;
    let lists = |name: &str, place: usize| -> ProofResult<Option<Vec<Option<SymbolicSize>>>> {
        if call.opset < 10 {
            let ints = call.ints(name)?;
            return Ok(ints.map(|ints| ints.iter().map(|one| Some(SymbolicSize::of(*one))).collect()));
        }
        let Some(value) = call.optional(place) else { return Ok(None) };
        match (&value.numbers, value.shape.as_deref()) {
            (Some(numbers), _) => Ok(Some(numbers.clone())),
            (None, Some([count])) if value.is_shared() => {
                let count = count.known().and_then(|count| usize::try_from(count).ok());
                let count = count.filter(|count| *count <= MAX_SHAPE_ELEMENTS);
                Ok(Some(vec![None; count.ok_or("it takes too much to follow")?]))
            }
            _ => Err(format!("its '{name}' are not known before it runs")),
        }
    };
    let starts = lists("starts", 1)?.ok_or("it has no starts")?;
    let ends = lists("ends", 2)?.ok_or("it has no ends")?;
    let axes = match lists("axes", 3)? {
        None => (0..starts.len()).collect::<Vec<_>>(),
        Some(axes) => {
            let known = |axis: Option<SymbolicSize>| axis.and_then(|axis| axis.known());
            let known = |axis| known(axis).ok_or_else(|| "its axes are not known before it runs".to_owned());
            axes.into_iter()
                .map(|axis| known(axis).and_then(|axis| place(axis, rank)))
                .collect::<ProofResult<_>>()?
        }
    };
    let steps = if call.opset < 10 { None } else { lists("steps", 4)? };
    if starts.len() != axes.len() || ends.len() != axes.len() {
        return Err("it has not as many starts and ends as axes".to_owned());
    }
    let Some(at) = axes.iter().position(|one| *one == axis) else { return Ok(None) };
    let step = match steps {
        None => Some(SymbolicSize::of(1)),
        Some(steps) => steps.get(at).cloned().flatten(),
    };
    Ok(Some((starts[at].clone(), ends[at].clone(), step)))
}

fn concat<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Option<GraphValue<'a>>> {
    let lists = call.given().all(|value| value.shape.as_ref().is_some_and(|shape| shape.len() == 1));
    let numbers: Vec<_> = call.given().flat_map(|value| value.numbers.iter().flatten()).cloned().collect();
    if !lists || numbers.len() > MAX_SHAPE_ELEMENTS {
        return Ok(None);
    }
    Ok(Some(GraphValue::counted(true, numbers)))
}

/// Numbers stay what they are in another shape; in one of more axes they are not followed.
fn reshaped<'a>(call: &NodeCall<'a, '_>, op: &str) -> ProofResult<Option<GraphValue<'a>>> {
    let value = call.input(0)?;
    let rank = value.rank()?;
    let into = match op {
        "Reshape" => call.input(1)?.known_numbers().map(|shape| shape.len()),
        "Squeeze" => Some(call.listed("axes", 1)?.map_or(0, |axes| rank.saturating_sub(axes.len()))),
        _ => call.listed("axes", 1)?.map(|axes| rank + axes.len()),
    };
    let numbers = value.numbers.clone().unwrap_or_default();
    Ok(match into {
        // One alone has one number.
        Some(0) if numbers.len() == 1 => Some(GraphValue::counted(false, numbers)),
        Some(1) => Some(GraphValue::counted(true, numbers)),
        _ => None,
    })
}

fn product<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Option<GraphValue<'a>>> {
    if call.int("noop_with_empty_axes", 0)? != 0 {
        return Ok(None);
    }
    let numbers = list(call)?;
    let known: Option<Vec<&SymbolicSize>> = numbers.iter().map(Option::as_ref).collect();
    let product = within(known.and_then(SymbolicSize::product), numbers)?;
    let narrow = within(product.filter(|product| narrow(product).is_some()), numbers)?;
    Ok(Some(GraphValue::counted(call.int("keepdims", 1)? != 0, vec![narrow])))
}

/// As many of one number as a list of one says.
fn filled<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Option<GraphValue<'a>>> {
    let shape = call.input(0)?.known_numbers().unwrap_or_default();
    let [count] = shape.as_slice() else { return Ok(None) };
    let Some(count) = usize::try_from(*count).ok().filter(|count| *count <= MAX_SHAPE_ELEMENTS) else {
        return Ok(None);
    };
    let of = call.attribute("value")?.and_then(|attribute| attribute.t.as_ref());
    let number =
        of.map(weight).and_then(|value| value.known_numbers()).and_then(|list| list.first().copied());
    Ok(number.map(|number| GraphValue::counted(true, vec![Some(SymbolicSize::of(number)); count])))
}
