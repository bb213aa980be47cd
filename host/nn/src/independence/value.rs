use super::ProofResult;
use super::size::SymbolicSize;
use crate::onnx::messages as pb;

/// How a value has to do with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowLayout {
    /// The same for all calls that may be joined.
    Shared,
    /// Along that axis, each of one row of the inputs; several in a row may come of the same one.
    Rows(usize),
    /// Whole numbers that tell how many rows there are.
    Count,
}

/// What is known of a value.
#[derive(Clone, Debug)]
pub(super) struct GraphValue<'a> {
    pub(super) layout: RowLayout,
    /// `None` where not even the rank is known, which never is so for rows.
    pub(super) shape: Option<Vec<SymbolicSize>>,
    /// The content of a few whole numbers in a list, or of one; `None` for one that is shared, and no more
    /// is known of it. Truth is 1.
    pub(super) numbers: Option<Vec<Option<SymbolicSize>>>,
    /// The weights themselves.
    pub(super) weight: Option<&'a pb::TensorProto>,
}

impl GraphValue<'_> {
    /// Shared, of that shape.
    pub(super) fn shared(shape: Option<Vec<SymbolicSize>>) -> Self {
        Self { layout: RowLayout::Shared, shape, numbers: None, weight: None }
    }

    /// Shared, and nothing more is known.
    pub(super) fn unknown() -> Self {
        Self::shared(None)
    }

    /// Fails unless that axis, and no other, grows with the rows.
    pub(super) fn rows(shape: Vec<SymbolicSize>, axis: usize) -> ProofResult<Self> {
        let grows =
            |(place, size): (usize, &SymbolicSize)| size.has_rows() == (place == axis) && size.is_size();
        if axis >= shape.len() || !shape.iter().enumerate().all(grows) {
            return Err("rows get mixed with another axis".to_owned());
        }
        Ok(Self { layout: RowLayout::Rows(axis), shape: Some(shape), numbers: None, weight: None })
    }

    /// Rows along that axis, or shared where there is none.
    pub(super) fn along(shape: Vec<SymbolicSize>, axis: Option<usize>) -> ProofResult<Self> {
        match axis {
            Some(axis) => Self::rows(shape, axis),
            None if shape.iter().any(SymbolicSize::has_rows) => {
                Err("it makes rows of what is none".to_owned())
            }
            None => Ok(Self::shared(Some(shape))),
        }
    }

    /// Whole numbers, in a list or, where there is one of them, alone.
    pub(super) fn counted(is_list: bool, numbers: Vec<Option<SymbolicSize>>) -> Self {
        let rows = numbers.iter().flatten().any(SymbolicSize::has_rows);
        let shape = if is_list { vec![SymbolicSize::of(numbers.len() as i64)] } else { Vec::new() };
        let layout = if rows { RowLayout::Count } else { RowLayout::Shared };
        Self { layout, shape: Some(shape), numbers: Some(numbers), weight: None }
    }

    pub(super) fn is_shared(&self) -> bool {
        self.layout == RowLayout::Shared
    }

    pub(super) fn row_axis(&self) -> Option<usize> {
        match self.layout {
            RowLayout::Rows(axis) => Some(axis),
            RowLayout::Shared | RowLayout::Count => None,
        }
    }

    pub(super) fn shape(&self) -> ProofResult<&[SymbolicSize]> {
        self.shape.as_deref().ok_or_else(|| "the shape of what it takes is not known".to_owned())
    }

    pub(super) fn rank(&self) -> ProofResult<usize> {
        self.shape().map(<[SymbolicSize]>::len)
    }

    /// Its numbers, if all of them are known before a run.
    pub(super) fn known_numbers(&self) -> Option<Vec<i64>> {
        self.numbers.as_ref()?.iter().map(|number| number.as_ref().and_then(SymbolicSize::known)).collect()
    }

    /// The same without what its numbers are.
    pub(super) fn emptied(&self) -> Self {
        Self { numbers: None, weight: None, ..self.clone() }
    }

    /// Whether it is what an output must be.
    pub(super) fn is_row_for_row(&self) -> bool {
        let first = self.shape.as_ref().and_then(|shape| shape.first());
        self.layout == RowLayout::Rows(0) && first == Some(&SymbolicSize::rows())
    }
}
