//! Sums of products, which are a row's own as long as nothing is summed over rows.

use super::elementwise::{broadcast, one_number};
use super::size::SymbolicSize;
use super::value::{GraphValue, RowLayout};
use super::{ACROSS, COUNTS, NodeCall, ProofResult};

pub(super) fn outputs<'a>(call: &mut NodeCall<'a, '_>, op: &str) -> ProofResult<Option<Vec<GraphValue<'a>>>> {
    let value = match op {
        "MatMul" => product(call, 0, 1),
        "MatMulInteger" => integers(call),
        "QLinearMatMul" => quantized(call),
        "Gemm" => gemm(call),
        "Einsum" => einsum(call),
        "LSTM" | "GRU" | "RNN" => return recurrent(call).map(Some),
        _ => return Ok(None),
    };
    value.map(|value| Some(vec![value]))
}

/// An operand without the two axes (or the one) that a product of matrices is about.
struct MatrixOperand<'a> {
    batch: GraphValue<'a>,
    /// The size along the axis that stays, where there is one, and whether rows lie along it.
    stays: Option<SymbolicSize>,
    has_rows: bool,
}

fn operand<'a>(value: &GraphValue<'a>, is_left: bool) -> ProofResult<MatrixOperand<'a>> {
    let shape = value.shape()?;
    let (rank, rows) = (shape.len(), value.row_axis());
    let (stays, summed) = match (rank, is_left) {
        (0, _) => return Err("a single number is no matrix".to_owned()),
        (1, _) => (None, 0),
        (_, true) => (Some(rank - 2), rank - 1),
        (_, false) => (Some(rank - 1), rank - 2),
    };
    if rows == Some(summed) {
        return Err(ACROSS.to_owned());
    }
    let has_rows = rows.is_some() && rows == stays;
    let batch = shape[..rank.saturating_sub(2)].to_vec();
    let batch = GraphValue::along(batch, rows.filter(|_| !has_rows))?;
    Ok(MatrixOperand { batch, stays: stays.map(|axis| shape[axis].clone()), has_rows })
}

/// A product of those two inputs: rows of one of them, or of each for itself along the axes before the last
/// two.
fn product<'a>(call: &mut NodeCall<'a, '_>, left: usize, right: usize) -> ProofResult<GraphValue<'a>> {
    let (left, right) = (call.input(left)?.clone(), call.input(right)?.clone());
    if [&left, &right].iter().any(|value| value.layout == RowLayout::Count) {
        return Err(COUNTS.to_owned());
    }
    let both = left.row_axis().is_some() && right.row_axis().is_some();
    let (left, right) = (operand(&left, true)?, operand(&right, false)?);
    if both && (left.has_rows || right.has_rows) {
        return Err("each row meets all the others".to_owned());
    }
    let batch = broadcast(call, &[left.batch, right.batch])?;
    let mut shape = batch.shape()?.to_vec();
    let mut rows = batch.row_axis();
    for (stays, has_rows) in [(left.stays, left.has_rows), (right.stays, right.has_rows)] {
        if has_rows {
            rows = Some(shape.len());
        }
        shape.extend(stays);
    }
    GraphValue::along(shape, rows)
}

fn integers<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    call.rest_is_shared(2)?;
    one_number(call, 2)?;
    if call.input(1)?.row_axis().is_some() {
        one_number(call, 3)?;
    }
    product(call, 0, 1)
}

/// A value, its scale and its zero point, twice, and those of the result. Columns may have their own.
fn quantized<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    [1, 2, 6, 7].into_iter().try_for_each(|place| one_number(call, place))?;
    call.rest_is_shared(4)?;
    if call.input(3)?.row_axis().is_some() {
        one_number(call, 4)?;
        one_number(call, 5)?;
    }
    product(call, 0, 3)
}

fn gemm<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, left) = call.first()?;
    let right = call.input(1)?;
    if !right.is_shared() {
        return Err("what it multiplies with depends on the rows".to_owned());
    }
    let (stays, summed) = if call.int("transA", 0)? == 0 { (0, 1) } else { (1, 0) };
    let column = if call.int("transB", 0)? == 0 { 1 } else { 0 };
    let [_, _] = right.shape()? else { return Err("what it multiplies with is no matrix".to_owned()) };
    let columns = right.shape()?[column].clone();
    if left.len() != 2 {
        return Err("what it multiplies is no matrix".to_owned());
    }
    if rows == Some(summed) {
        return Err(ACROSS.to_owned());
    }
    let made = GraphValue::along(vec![left[stays].clone(), columns], rows.map(|_| 0))?;
    if let Some(added) = call.optional(2).cloned() {
        broadcast(call, &[made.clone(), added])?;
    }
    Ok(made)
}

/// Rows have a letter of their own: in each operand that has rows, in no other, and in the result.
fn einsum<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let equation: String = call.text("equation", "")?.chars().filter(|letter| *letter != ' ').collect();
    let (terms, result) = equation.split_once("->").ok_or("its equation does not say what comes out")?;
    let terms: Vec<Vec<char>> = terms.split(',').map(|term| term.chars().collect()).collect();
    let result: Vec<char> = result.chars().collect();
    let twice = |term: &[char]| (1..term.len()).any(|at| term[..at].contains(&term[at]));
    if terms.len() != call.inputs.len()
        || terms.iter().chain([&result]).any(|term| term.contains(&'.') || twice(term))
    {
        return Err("its equation is not one that is looked at".to_owned());
    }
    let mut sizes: Vec<(char, SymbolicSize)> = Vec::new();
    let mut of_rows = None;
    for (term, value) in terms.iter().zip(call.given()) {
        let shape = value.shape()?;
        if value.layout == RowLayout::Count || shape.len() != term.len() {
            return Err("its equation does not fit its inputs".to_owned());
        }
        if let Some(axis) = value.row_axis()
            && *of_rows.get_or_insert(term[axis]) != term[axis]
        {
            return Err(ACROSS.to_owned());
        }
        sizes.extend(term.iter().copied().zip(shape.iter().cloned()));
    }
    let size = |letter: char| sizes.iter().filter(move |(other, _)| *other == letter).map(|(_, size)| size);
    if let Some(letter) = of_rows {
        let mut all = size(letter);
        let first = all.next();
        if all.any(|size| Some(size) != first) || first.is_none_or(|first| !first.has_rows()) {
            return Err("rows meet something else".to_owned());
        }
    }
    let rows = of_rows.map(|letter| result.iter().position(|other| *other == letter).ok_or(ACROSS));
    let shape = result.iter().map(|letter| size(*letter).find(|size| !size.is(1)).or(size(*letter).next()));
    let shape: Option<Vec<SymbolicSize>> = shape.map(Option::<&SymbolicSize>::cloned).collect();
    GraphValue::along(shape.ok_or("its result is of nothing")?, rows.transpose()?)
}

/// Steps of time first, rows second; or the other way round.
fn recurrent<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<Vec<GraphValue<'a>>> {
    let (rows, shape) = call.first()?;
    let rows_first = call.int("layout", 0)? != 0;
    let (steps, along) = if rows_first { (1, 0) } else { (0, 1) };
    if rows != Some(along) || shape.len() != 3 {
        return Err("its rows are not those of the inputs".to_owned());
    }
    let many = shape[along].clone();
    for (place, value) in call.inputs.iter().enumerate().skip(1) {
        let Some(value) = value else { continue };
        let axis = match place {
            4 => Some(0),
            5 | 6 => Some(along),
            _ => None,
        };
        let fits = match axis {
            Some(axis) => value.row_axis() == Some(axis) && value.shape()?[axis] == many,
            None => value.is_shared(),
        };
        fits.then_some(()).ok_or("what it starts with is not a row's own")?;
    }
    let directions = if call.text("direction", "forward")? == "bidirectional" { 2 } else { 1 };
    let (directions, hidden) = (SymbolicSize::of(directions), SymbolicSize::of(call.int("hidden_size", 0)?));
    let (all, last) = match rows_first {
        true => (
            vec![many.clone(), shape[steps].clone(), directions.clone(), hidden.clone()],
            vec![many, directions, hidden],
        ),
        false => (
            vec![shape[steps].clone(), directions.clone(), many.clone(), hidden.clone()],
            vec![directions, many, hidden],
        ),
    };
    let last = GraphValue::rows(last, along)?;
    Ok(vec![GraphValue::rows(all, if rows_first { 0 } else { 2 })?, last.clone(), last])
}
