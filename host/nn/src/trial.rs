//! What is found out about a model before it serves: whether its rows are independent of each other,
//! and what it costs.

use std::time::{Duration, Instant};

use crate::cost::Cost;
use crate::example::Examples;
use crate::{Model, Tensor, batch};

/// Whether calls of a model may be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Joined and alone it gave the same.
    Joins,
    /// A dimension is fixed, or something is a scalar.
    FixedShape,
    /// It did not run on an example, or so slowly that there was no time to try.
    Untried,
    /// A row's result depends on the rows beside it.
    RowsDiffer,
}

impl Verdict {
    pub(crate) const ALL: [Verdict; 4] =
        [Verdict::Joins, Verdict::FixedShape, Verdict::Untried, Verdict::RowsDiffer];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verdict::Joins => "joins",
            Verdict::FixedShape => "fixed shape",
            Verdict::Untried => "untried",
            Verdict::RowsDiffer => "rows depend on each other",
        }
    }
}

/// What a trial may take when a model is loaded to serve. A model that needs longer for a handful of runs gains nothing by batches
/// that would be worth a slower load.
pub(crate) const BUDGET: Duration = Duration::from_millis(300);
/// What variable dimensions behind the first may want: a length of text, nothing at all, a picture.
const OPEN: [usize; 4] = [16, 1, 64, 224];
/// Rows of two calls that are run joined and alone. The second and third have neighbours on both
/// sides; sizes differ because libraries choose kernels by size.
const PAIRS: [(usize, usize); 4] = [(1, 1), (1, 2), (3, 1), (4, 4)];
/// Larger batches, to see how the cost grows.
const LARGER: [usize; 2] = [16, 32];

/// Runs a fresh model on made-up inputs: the first run of a model is slower than those behind it, and
/// should not be a user's. Says whether its calls can be joined, and fills `cost`. Starts no run once
/// `budget` is spent.
pub(crate) fn warm_up(model: &dyn Model, cost: &Cost, budget: Duration) -> Verdict {
    let trial = Trial { model, cost, started: Instant::now(), budget };
    let mut examples = Examples::new(0);
    let Some(open) = trial.open_size(&mut examples) else { return Verdict::Untried };
    let mut example = |rows| examples.inputs(model.signature(), rows, open);
    if let Some(inputs) = example(1) {
        trial.timed(&inputs);
    }
    if !batch::takes_rows(model.signature()) {
        return Verdict::FixedShape;
    }
    for (one, other) in PAIRS {
        let Some((one, other)) = example(one).zip(example(other)) else { return Verdict::Untried };
        if trial.is_over() {
            return Verdict::Untried;
        }
        if !trial.independent(&one, &other) {
            return Verdict::RowsDiffer;
        }
    }
    for rows in LARGER {
        let inputs = example(rows).filter(|inputs| trial.has_time_for(batch::size(inputs)));
        if let Some(inputs) = inputs {
            trial.timed(&inputs);
        }
    }
    Verdict::Joins
}

/// So many rows of made-up inputs on which the model runs.
pub(crate) fn example(model: &dyn Model, examples: &mut Examples, rows: usize) -> Option<Vec<Tensor>> {
    OPEN.iter().find_map(|open| {
        let inputs = examples.inputs(model.signature(), rows, *open)?;
        model.run(&inputs).is_ok().then_some(inputs)
    })
}

struct Trial<'a> {
    model: &'a dyn Model,
    cost: &'a Cost,
    started: Instant,
    budget: Duration,
}

impl Trial<'_> {
    /// The size of variable dimensions with which the model runs.
    fn open_size(&self, examples: &mut Examples) -> Option<usize> {
        let variable = |shape: &[i64]| shape.iter().skip(1).any(|size| *size < 0);
        let any = self.model.signature().inputs.iter().any(|spec| variable(&spec.shape));
        let choices = if any { &OPEN[..] } else { &OPEN[..1] };
        choices.iter().copied().find(|open| {
            let inputs = examples.inputs(self.model.signature(), 1, *open);
            !self.is_over() && inputs.is_some_and(|inputs| self.model.run(&inputs).is_ok())
        })
    }

    fn is_over(&self) -> bool {
        self.started.elapsed() > self.budget
    }

    fn has_time_for(&self, size: u64) -> bool {
        let needed = self.cost.predict(size).unwrap_or(self.budget);
        self.started.elapsed() + needed < self.budget
    }

    fn timed(&self, inputs: &[Tensor]) -> Option<Vec<Tensor>> {
        let started = Instant::now();
        let outputs = self.model.run(inputs).ok()?;
        self.cost.note(batch::size(inputs), started.elapsed());
        Some(outputs)
    }

    fn independent(&self, one: &[Tensor], other: &[Tensor]) -> bool {
        self.joined_as_alone(one, other).unwrap_or(false)
    }

    fn joined_as_alone(&self, one: &[Tensor], other: &[Tensor]) -> Option<bool> {
        // Inputs without distinct rows would show nothing.
        let rows = [batch::rows(one)?, batch::rows(other)?];
        if one.iter().zip(other).all(|(one, other)| one.bytes() == other.bytes()) {
            return None;
        }
        let alone = [self.timed(one)?, self.timed(other)?];
        let joined = self.timed(&batch::join(&[one, other]).ok()?)?;
        let parts = batch::split(&joined, &rows)?;
        Some(parts.iter().zip(&alone).all(|(part, alone)| batch::same(part, alone)))
    }
}
