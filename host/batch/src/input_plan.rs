//! Which columns of a file are which inputs of a deployment, and rows as the numbers of requests.

use eyot_core::{Error, Result};
use eyot_nn::{DataType, TensorSpec};
use serde_json::{Map, Value};

/// A row: values by the names of their columns, in their order.
pub(crate) type InputRow = Map<String, Value>;

/// Where the values of one input are found in a row.
#[derive(Debug, PartialEq)]
enum ColumnSource {
    /// One column holds all of them: a single value, or a list.
    Column(String),
    /// Each column holds one.
    Columns(Vec<String>),
}

/// How rows become inputs.
pub(crate) struct InputPlan {
    inputs: Vec<(TensorSpec, ColumnSource)>,
}

/// Why a row is no request.
#[derive(Debug)]
pub(crate) enum RowError {
    /// A value is missing that has to be there: the row has no answer, others have.
    Missing(Error),
    Wrong(Error),
}

/// The values of one input for one row, and the dimensions behind the first. Null is a value that is missing and may
/// be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InputValues {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<Value>,
}

impl InputPlan {
    /// Matches columns with inputs: by name, as numbered columns `x.0`, `x.1`, …, or all of them in order
    /// where there is one input.
    ///
    /// Inputs that may be left out are, unless columns have their names.
    ///
    /// Fails naming the input that has no columns, and the columns there are.
    pub(crate) fn new(inputs: Vec<TensorSpec>, columns: &[String]) -> Result<Self> {
        let (optional, required): (Vec<_>, Vec<_>) = inputs.into_iter().partition(TensorSpec::is_optional);
        let optional: Vec<_> = optional
            .into_iter()
            .filter_map(|spec| {
                let place = named(&spec.name, columns)?;
                Some((spec, place))
            })
            .collect();
        let taken: Vec<&String> = optional.iter().flat_map(|(_, place)| place.columns()).collect();
        let others: Vec<String> = columns.iter().filter(|column| !taken.contains(column)).cloned().collect();
        let alone = required.len() == 1;
        let found = required.into_iter().map(|spec| {
            let place = place(&spec, &others, alone)?;
            Ok((spec, place))
        });
        let inputs = found.collect::<Result<Vec<_>>>()?.into_iter().chain(optional).collect();
        Ok(Self { inputs })
    }

    /// Whether several rows can be sent in one request: the first dimension of every input is variable.
    pub(crate) fn joins(&self) -> bool {
        self.inputs.iter().all(|(spec, _)| spec.shape.first() == Some(&-1))
    }

    /// The inputs, in the order of each row's parts.
    pub(crate) fn specs(&self) -> impl Iterator<Item = &TensorSpec> {
        self.inputs.iter().map(|(spec, _)| spec)
    }

    /// A row's part of each input.
    pub(crate) fn parts(&self, row: &InputRow) -> Result<Vec<InputValues>, RowError> {
        self.inputs.iter().map(|(spec, place)| part(spec, place, row)).collect()
    }
}

impl ColumnSource {
    fn columns(&self) -> &[String] {
        match self {
            ColumnSource::Column(column) => std::slice::from_ref(column),
            ColumnSource::Columns(columns) => columns,
        }
    }
}

/// The columns that have an input's name.
fn named(name: &str, columns: &[String]) -> Option<ColumnSource> {
    if let Some(column) = columns.iter().find(|column| *column == name) {
        return Some(ColumnSource::Column(column.clone()));
    }
    let numbered: Vec<String> = (0..)
        .map(|number| format!("{name}.{number}"))
        .take_while(|column| columns.contains(column))
        .collect();
    (!numbered.is_empty()).then_some(ColumnSource::Columns(numbered))
}

fn place(spec: &TensorSpec, columns: &[String], alone: bool) -> Result<ColumnSource> {
    let name = &spec.name;
    if let Some(place) = named(name, columns) {
        return Ok(place);
    }
    match columns {
        [] => {}
        [only] if alone => return Ok(ColumnSource::Column(only.clone())),
        all if alone && elements(spec).is_none_or(|count| count == all.len()) => {
            return Ok(ColumnSource::Columns(all.to_vec()));
        }
        _ => {}
    }
    let wants = elements(spec).map_or_else(String::new, |count| format!(", of {count} values a row"));
    let shown: Vec<&str> = columns.iter().take(20).map(String::as_str).collect();
    Err(Error::invalid(format!("no columns are the input '{name}'{wants}")).hint(format!(
        "the file has {} columns: {}; choose with --columns, or name them {name} or {name}.0, {name}.1, …",
        columns.len(),
        shown.join(", ")
    )))
}

/// Values of one row of an input, where its dimensions say.
fn elements(spec: &TensorSpec) -> Option<usize> {
    let dims = spec.shape.iter().skip(usize::from(spec.shape.first() == Some(&-1)));
    dims.map(|dim| usize::try_from(*dim).ok()).product()
}

fn part(spec: &TensorSpec, place: &ColumnSource, row: &InputRow) -> Result<InputValues, RowError> {
    let cell = |column: &String| row.get(column).cloned().unwrap_or_default();
    let (values, found) = match place {
        ColumnSource::Columns(columns) => (columns.iter().map(cell).collect::<Vec<_>>(), vec![columns.len()]),
        ColumnSource::Column(column) => {
            let value = cell(column);
            let is_missing = value.is_null();
            let mut values = Vec::new();
            let shape = flatten(unquoted(value, spec.dtype), &mut values).ok_or_else(|| {
                RowError::Wrong(Error::invalid(format!("the lists in column '{column}' are ragged")))
            })?;
            if is_missing && elements(spec) != Some(1) {
                return Err(no_value(column, spec));
            }
            (values, shape)
        }
    };
    if let Some(missing) = values.iter().position(|value| is_missing(value) && !may_miss(spec.dtype)) {
        let column = match place {
            ColumnSource::Columns(columns) => columns.get(missing),
            ColumnSource::Column(column) => Some(column),
        };
        return Err(no_value(column.map_or("?", String::as_str), spec));
    }
    let inner: Vec<i64> =
        spec.shape.iter().skip(usize::from(spec.shape.first() == Some(&-1))).copied().collect();
    let shape = fit(&inner, &found, values.len()).ok_or_else(|| {
        RowError::Wrong(Error::invalid(format!(
            "input '{}' takes rows of the shape {inner:?}, and this one has {} values in {found:?}",
            spec.name,
            values.len()
        )))
    })?;
    Ok(InputValues { shape, values })
}

/// Whether a value is no value: null, an empty cell, NaN.
fn is_missing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().eq_ignore_ascii_case("nan"),
        _ => false,
    }
}

/// Whether inputs of this type have something that stands for a missing value: NaN, or the empty text.
fn may_miss(dtype: DataType) -> bool {
    matches!(dtype, DataType::F16 | DataType::BF16 | DataType::F32 | DataType::F64 | DataType::Bytes)
}

fn no_value(column: &str, spec: &TensorSpec) -> RowError {
    let input = &spec.name;
    RowError::Missing(Error::invalid(format!(
        "column '{column}' has no value, and the input '{input}' has none for that"
    )))
}

/// A list written into a cell of text is one.
fn unquoted(value: Value, dtype: DataType) -> Value {
    match &value {
        Value::String(text) if dtype != DataType::Bytes && text.trim_start().starts_with('[') => {
            serde_json::from_str(text).unwrap_or(value)
        }
        _ => value,
    }
}

/// The dimensions of nested lists, and what is in them; `None` for ragged ones.
fn flatten(value: Value, values: &mut Vec<Value>) -> Option<Vec<usize>> {
    let Value::Array(items) = value else {
        values.push(value);
        return Some(Vec::new());
    };
    let count = items.len();
    let mut inner: Option<Vec<usize>> = None;
    for item in items {
        let shape = flatten(item, values)?;
        if inner.get_or_insert_with(|| shape.clone()) != &shape {
            return None;
        }
    }
    Some(std::iter::once(count).chain(inner.unwrap_or_default()).collect())
}

/// The dimensions of a row: those of the input where they are fixed, else those that were found. Values
/// of fixed dimensions may also come in one flat list.
fn fit(wanted: &[i64], found: &[usize], count: usize) -> Option<Vec<usize>> {
    let fixed: Option<Vec<usize>> = wanted.iter().map(|dim| usize::try_from(*dim).ok()).collect();
    if let Some(fixed) = fixed {
        return (fixed.iter().product::<usize>() == count).then_some(fixed);
    }
    let same = wanted
        .iter()
        .zip(found)
        .all(|(wanted, found)| usize::try_from(*wanted).is_ok_and(|dim| dim == *found) || *wanted < 0);
    (wanted.len() == found.len() && same).then(|| found.to_vec())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(name: &str, shape: &[i64]) -> TensorSpec {
        TensorSpec::new(name, DataType::F32, shape)
    }

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_has_no_value_for_a_missing_one_says_so() {
        for (dtype, may) in [(DataType::I64, false), (DataType::Bool, false), (DataType::Bytes, true)] {
            let spec = TensorSpec::new("x", dtype, [-1]);
            let plan = InputPlan::new(vec![spec], &names("x")).unwrap();
            for row in [json!({"x": null}), json!({})] {
                match plan.parts(row.as_object().unwrap()) {
                    Ok(parts) => assert!(may && parts[0].values == [Value::Null], "{dtype} {row}"),
                    Err(RowError::Missing(error)) => {
                        assert!(!may && error.chain().contains("column 'x' has no value"), "{dtype} {row}");
                    }
                    Err(RowError::Wrong(error)) => panic!("{dtype} {row}: {error}"),
                }
            }
        }
    }

    #[test]
    fn columns_are_matched_by_name_number_or_order() {
        for (inputs, columns, row, parts) in [
            (
                vec![spec("x", &[-1, 2])],
                "a b",
                json!({"a": 1, "b": "2"}),
                Some(vec![(vec![2], json!([1, "2"]))]),
            ),
            (
                vec![spec("x", &[-1, 2])],
                "x id",
                json!({"x": [1, 2], "id": 7}),
                Some(vec![(vec![2], json!([1, 2]))]),
            ),
            (vec![spec("x", &[-1, 2])], "x", json!({"x": "[1, 2]"}), Some(vec![(vec![2], json!([1, 2]))])),
            (
                vec![spec("x", &[-1, 2, 2])],
                "x",
                json!({"x": [[1, 2], [3, 4]]}),
                Some(vec![(vec![2, 2], json!([1, 2, 3, 4]))]),
            ),
            (
                vec![spec("x", &[-1, -1])],
                "x",
                json!({"x": [1, 2, 3]}),
                Some(vec![(vec![3], json!([1, 2, 3]))]),
            ),
            (
                vec![spec("x", &[-1]), spec("y", &[-1, 2])],
                "y.1 y.0 x",
                json!({"y.1": 1, "y.0": 0, "x": 9}),
                Some(vec![(vec![], json!([9])), (vec![2], json!([0, 1]))]),
            ),
            (
                vec![
                    spec("x", &[-1, 2]),
                    spec("k", &[]).or_default("1".into()),
                    spec("j", &[]).or_default("1".into()),
                ],
                "a k b",
                json!({"a": 1, "b": 2, "k": 7}),
                Some(vec![(vec![2], json!([1, 2])), (vec![], json!([7]))]),
            ),
            (vec![spec("x", &[3])], "x", json!({"x": [1, 2, 3]}), Some(vec![(vec![3], json!([1, 2, 3]))])),
            (vec![spec("x", &[-1, 3])], "x", json!({"x": [1, 2]}), None),
            (vec![spec("x", &[-1, 2])], "x", json!({"x": null}), None),
            (vec![spec("x", &[-1, 1])], "x", json!({}), Some(vec![(vec![1], json!([null]))])),
            (
                vec![spec("x", &[-1, 2])],
                "a b",
                json!({"a": null, "b": "NaN"}),
                Some(vec![(vec![2], json!([null, "NaN"]))]),
            ),
            (vec![spec("x", &[-1, -1])], "x", json!({"x": [[1], [2, 3]]}), None),
        ] {
            let plan = InputPlan::new(inputs, &names(columns)).unwrap();
            let found = plan.parts(row.as_object().unwrap()).ok();
            let parts = parts.map(|parts| {
                let part = |(shape, values): (Vec<usize>, Value)| InputValues {
                    shape,
                    values: values.as_array().unwrap().clone(),
                };
                parts.into_iter().map(part).collect::<Vec<_>>()
            });
            assert_eq!(found, parts, "{columns}: {row}");
        }
        for (inputs, columns) in [
            (vec![spec("x", &[-1, 2])], "a b c"),
            (vec![spec("x", &[-1]), spec("y", &[-1])], "x z"),
            (vec![spec("x", &[-1, 2])], ""),
        ] {
            assert!(InputPlan::new(inputs, &names(columns)).is_err(), "{columns}");
        }
    }
}
