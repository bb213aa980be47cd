//! Operators of classical models, which take a table: a row is a sample, its columns are features.

use super::size::SymbolicSize;
use super::value::{GraphValue, RowLayout};
use super::{ACROSS, COUNTS, NodeCall, ProofResult};

pub(super) fn outputs<'a>(call: &mut NodeCall<'a, '_>, op: &str) -> ProofResult<Option<Vec<GraphValue<'a>>>> {
    match op {
        "TreeEnsembleClassifier" | "LinearClassifier" | "SVMClassifier" => classes(call, op),
        "TreeEnsembleRegressor" | "TreeEnsemble" => scores(call, "n_targets"),
        "LinearRegressor" => scores(call, "targets"),
        "SVMRegressor" => table(call).and_then(|rows| of_table(vec![rows, SymbolicSize::of(1)])),
        "Scaler" | "Normalizer" | "Imputer" => {
            table(call)?;
            call.first().and_then(|(_, shape)| of_table(shape))
        }
        "Binarizer" | "CategoryMapper" | "LabelEncoder" => alone(call),
        "OneHotEncoder" => one_hot(call),
        "FeatureVectorizer" => side_by_side(call),
        "ArrayFeatureExtractor" => columns(call),
        _ => return Ok(None),
    }
    .map(Some)
}

fn of_table<'a>(shape: Vec<SymbolicSize>) -> ProofResult<Vec<GraphValue<'a>>> {
    GraphValue::rows(shape, 0).map(|value| vec![value])
}

/// The number of rows of a table. A list would be one sample, or something else in each library.
fn table(call: &NodeCall<'_, '_>) -> ProofResult<SymbolicSize> {
    call.rest_is_shared(1)?;
    match call.first()? {
        (Some(0), shape) if shape.len() == 2 => Ok(shape[0].clone()),
        _ => Err("what it takes is no table with a row for each row".to_owned()),
    }
}

fn classes<'a>(call: &mut NodeCall<'a, '_>, op: &str) -> ProofResult<Vec<GraphValue<'a>>> {
    let rows = table(call)?;
    let labels = ["classlabels_int64s", "classlabels_ints", "classlabels_strings"];
    let mut count = 0;
    for name in labels {
        let attribute = call.attribute(name)?;
        count = count.max(attribute.map_or(0, |attribute| attribute.ints.len() + attribute.strings.len()));
    }
    // A machine of supports may answer with a score for each pair of classes.
    let scores =
        if count > 0 && op != "SVMClassifier" { SymbolicSize::of(count as i64) } else { call.fresh() };
    Ok(vec![GraphValue::rows(vec![rows.clone()], 0)?, GraphValue::rows(vec![rows, scores], 0)?])
}

fn scores<'a>(call: &NodeCall<'a, '_>, targets: &str) -> ProofResult<Vec<GraphValue<'a>>> {
    let rows = table(call)?;
    of_table(vec![rows, SymbolicSize::of(call.int(targets, 1)?)])
}

fn alone<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Vec<GraphValue<'a>>> {
    match call.input(0)? {
        value if value.layout == RowLayout::Count => Err(COUNTS.to_owned()),
        value => Ok(vec![value.emptied()]),
    }
}

fn one_hot<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Vec<GraphValue<'a>>> {
    let (rows, mut shape) = call.first()?;
    let mut count = 0;
    for name in ["cats_int64s", "cats_strings"] {
        let attribute = call.attribute(name)?;
        count = count.max(attribute.map_or(0, |attribute| attribute.ints.len() + attribute.strings.len()));
    }
    shape.push(SymbolicSize::of(count as i64));
    GraphValue::along(shape, rows).map(|value| vec![value])
}

fn side_by_side<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Vec<GraphValue<'a>>> {
    let mut width = Some(SymbolicSize::of(0));
    let mut rows = None;
    for value in call.given() {
        let [many, own] = value.shape()? else { return Err("what it takes is no table".to_owned()) };
        if value.row_axis() != Some(0) || rows.get_or_insert_with(|| many.clone()) != many {
            return Err("not all of what it puts together is rows".to_owned());
        }
        width = width.and_then(|width| width.plus(own));
    }
    let shape = rows.zip(width).ok_or("how wide it gets is not known")?;
    of_table(vec![shape.0, shape.1])
}

/// Picks along the last axis, by places in whatever shape. So labels are looked up, too, by what is in rows.
fn columns<'a>(call: &NodeCall<'a, '_>) -> ProofResult<Vec<GraphValue<'a>>> {
    let (rows, shape) = call.first()?;
    let places = call.input(1)?;
    let picked = SymbolicSize::product(places.shape()?).ok_or("how many it picks is not known")?;
    let mut made = match shape.split_last() {
        None => return Err("what it picks of has no axes".to_owned()),
        Some((_, [])) => vec![SymbolicSize::of(1)],
        Some((_, before)) => before.to_vec(),
    };
    let last = made.len();
    made.push(picked);
    let of_rows = match (rows, places.layout) {
        (_, RowLayout::Count) => return Err(COUNTS.to_owned()),
        (None, RowLayout::Shared) => None,
        (None, RowLayout::Rows(axis)) => {
            let before = SymbolicSize::product(&places.shape()?[..axis]);
            before.is_some_and(|before| before.is(1)).then_some(Some(last)).ok_or(ACROSS)?
        }
        (Some(rows), RowLayout::Shared) if rows + 1 < shape.len() => Some(rows),
        _ => return Err("it picks some of the rows".to_owned()),
    };
    GraphValue::along(made, of_rows).map(|value| vec![value])
}
