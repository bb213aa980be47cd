/// A whole number as far as it is known before a run: a factor, times sizes that are the same in all calls
/// that may be joined and have names here, times the number of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SymbolicSize {
    factor: i64,
    /// In order, once for each time.
    names: Vec<u32>,
    rows: bool,
}

/// Products of more sizes than this are not kept.
const MAX_NAMES: usize = 16;

impl SymbolicSize {
    pub(super) fn of(factor: i64) -> Self {
        Self { factor, names: Vec::new(), rows: false }
    }

    /// The number of rows.
    pub(super) fn rows() -> Self {
        Self { factor: 1, names: Vec::new(), rows: true }
    }

    /// A size of which nothing is known but that it is no less than zero.
    pub(super) fn named(name: u32) -> Self {
        Self { factor: 1, names: vec![name], rows: false }
    }

    pub(super) fn known(&self) -> Option<i64> {
        (self.names.is_empty() && !self.rows).then_some(self.factor)
    }

    pub(super) fn is(&self, number: i64) -> bool {
        self.known() == Some(number)
    }

    /// The one name that it is, if it is no more than that.
    pub(super) fn name(&self) -> Option<u32> {
        let alone = self.factor == 1 && !self.rows;
        self.names.as_slice().first().copied().filter(|_| alone && self.names.len() == 1)
    }

    pub(super) fn has_rows(&self) -> bool {
        self.rows
    }

    /// Whether it is no less than zero, whatever the names stand for.
    pub(super) fn is_size(&self) -> bool {
        self.factor >= 0
    }

    /// Whether it is more than zero, whatever the names stand for: a call has at least one row.
    pub(super) fn is_more_than_zero(&self) -> bool {
        self.factor > 0 && self.names.is_empty()
    }

    /// `None` where it cannot be written down like this.
    pub(super) fn times(&self, other: &SymbolicSize) -> Option<SymbolicSize> {
        let factor = self.factor.checked_mul(other.factor)?;
        if factor == 0 {
            return Some(SymbolicSize::of(0));
        }
        let mut names = [self.names.as_slice(), &other.names].concat();
        names.sort_unstable();
        let fits = names.len() <= MAX_NAMES && !(self.rows && other.rows);
        fits.then_some(SymbolicSize { factor, names, rows: self.rows || other.rows })
    }

    /// Where that comes out even, whatever the names stand for.
    pub(super) fn over(&self, other: &SymbolicSize) -> Option<SymbolicSize> {
        let even = self.factor.checked_rem(other.factor) == Some(0) && (self.rows || !other.rows);
        if !even || self.factor == 0 {
            return None;
        }
        let mut names = self.names.clone();
        for name in &other.names {
            let found = names.iter().position(|own| own == name)?;
            names.remove(found);
        }
        let factor = self.factor.checked_div(other.factor)?;
        Some(SymbolicSize { factor, names, rows: self.rows && !other.rows })
    }

    /// `None` where it cannot be written down like this.
    pub(super) fn plus(&self, other: &SymbolicSize) -> Option<SymbolicSize> {
        if self.is(0) {
            return Some(other.clone());
        }
        if other.is(0) {
            return Some(self.clone());
        }
        let alike = self.names == other.names && self.rows == other.rows;
        let factor = self.factor.checked_add(other.factor).filter(|_| alike)?;
        if factor == 0 {
            return Some(SymbolicSize::of(0));
        }
        Some(SymbolicSize { factor, ..self.clone() })
    }

    pub(super) fn negated(&self) -> Option<SymbolicSize> {
        Some(SymbolicSize { factor: self.factor.checked_neg()?, ..self.clone() })
    }

    pub(super) fn product<'a>(sizes: impl IntoIterator<Item = &'a SymbolicSize>) -> Option<SymbolicSize> {
        sizes.into_iter().try_fold(SymbolicSize::of(1), |product, size| product.times(size))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn sizes_are_reckoned_with_as_far_as_they_are_known() {
        let (rows, length) = (SymbolicSize::rows(), SymbolicSize::named(1));
        let product = SymbolicSize::product([&SymbolicSize::of(6), &rows, &length]).unwrap();
        assert_eq!(
            product,
            SymbolicSize::product([&length, &SymbolicSize::of(2), &rows, &SymbolicSize::of(3)]).unwrap()
        );
        assert_eq!(product.over(&length).unwrap(), rows.times(&SymbolicSize::of(6)).unwrap());
        assert_eq!(product.over(&product).unwrap(), SymbolicSize::of(1));
        assert_eq!(rows.plus(&rows).unwrap(), rows.times(&SymbolicSize::of(2)).unwrap());
        assert_eq!(rows.plus(&rows.negated().unwrap()).unwrap(), SymbolicSize::of(0));
        for unknown in [
            rows.times(&rows),
            rows.plus(&length),
            rows.plus(&SymbolicSize::of(1)),
            product.over(&SymbolicSize::of(4)),
            length.over(&rows),
            length.over(&SymbolicSize::of(0)),
            SymbolicSize::of(i64::MAX).times(&SymbolicSize::of(2)),
            SymbolicSize::of(i64::MIN).over(&SymbolicSize::of(-1)),
        ] {
            assert_eq!(unknown, None);
        }
        assert!(rows.is_more_than_zero() && !length.is_more_than_zero() && length.is_size());
    }
}
