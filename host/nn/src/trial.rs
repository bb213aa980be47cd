//! What is found out about a model before it serves: whether its rows are independent of each other,
//! and what it costs.

use std::time::{Duration, Instant};

use eyot_core::Result;

use crate::control::bounded;
use crate::cost::Cost;
use crate::example::{Examples, Manner};
use crate::{Model, RunLimits, Tensor, batch};

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
    /// Nothing proves that it does not.
    NotProved,
}

impl Verdict {
    pub(crate) const ALL: [Verdict; 5] =
        [Verdict::Joins, Verdict::FixedShape, Verdict::Untried, Verdict::RowsDiffer, Verdict::NotProved];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verdict::Joins => "joins",
            Verdict::FixedShape => "fixed shape",
            Verdict::Untried => "untried",
            Verdict::RowsDiffer => "rows depend on each other",
            Verdict::NotProved => "rows may depend on each other",
        }
    }
}

impl Verdict {
    /// Whether a trial can have said so of a model of which it is, or is not, proved that its rows are independent.
    pub(crate) fn may_be_of(self, is_proved: bool) -> bool {
        match self {
            Verdict::Joins | Verdict::RowsDiffer => is_proved,
            Verdict::NotProved => !is_proved,
            Verdict::FixedShape | Verdict::Untried => true,
        }
    }

    /// The same for people: with the reason for which nothing is proved.
    pub(crate) fn explained(self, why: Option<&String>) -> String {
        match (self, why) {
            (Verdict::NotProved, Some(why)) => format!("{}: {why}", self.as_str()),
            _ => self.as_str().to_owned(),
        }
    }
}

/// What a trial may take when a model is loaded to serve. A model that needs longer for a handful of runs gains nothing by batches
/// that would be worth a slower load.
pub(crate) const BUDGET: Duration = Duration::from_millis(300);
/// What variable dimensions behind the first may want: a length of text, nothing at all, a picture.
pub(crate) const OPEN: [usize; 4] = [16, 1, 64, 224];
/// Rows of two calls that are run joined and alone. The second and third have neighbours on both
/// sides; sizes differ because libraries choose kernels by size.
const PAIRS: [(usize, usize); 4] = [(1, 1), (1, 2), (3, 1), (4, 4)];
/// What may stand beside a row, those first that graphs ask for: a picture that is not scaled yet, no number.
const EXTREMES: [f32; 10] =
    [255.0, f32::NAN, -1e30, f32::INFINITY, 1e30, 0.0, f32::NEG_INFINITY, -1.0, 1e-30, -255.0];
/// Larger batches, to see how the cost grows.
const LARGER: [usize; 2] = [16, 32];

/// Runs a fresh model on made-up inputs: the first run of a model is slower than those behind it, and
/// should not be a user's. Says whether its calls can be joined, and fills `cost`. Starts no run once
/// `budget` is spent.
///
/// Numbers that were tried prove nothing about others. So calls are joined only where the walk over the graph
/// has proved that they can be, and the trial is a second opinion.
pub(crate) fn warm_up(model: &dyn Model, cost: &Cost, budget: Duration, is_proved: bool) -> Verdict {
    let trial = Trial { model, cost, started: Instant::now(), budget };
    let mut examples = Examples::new(0);
    let Some(open) = trial.open_size(&mut examples) else { return Verdict::Untried };
    let mut example = |rows, manner| examples.inputs(model.signature(), rows, open, manner);
    if let Some(inputs) = example(1, Manner::Plain) {
        trial.timed(&inputs);
    }
    if !batch::takes_rows(model.signature()) {
        return Verdict::FixedShape;
    }
    if !is_proved {
        return Verdict::NotProved;
    }
    for (at, (one, other)) in PAIRS.into_iter().enumerate() {
        if trial.is_over() {
            // With so much to do, what was tried must be enough.
            return if at == 0 { Verdict::Untried } else { Verdict::Joins };
        }
        let pair = example(one, Manner::Plain).zip(example(other, Manner::Plain));
        let Some((one, other)) = pair else { return Verdict::Untried };
        if !trial.joined_as_alone(&one, &other).unwrap_or(false) {
            return Verdict::RowsDiffer;
        }
        if at == 0 && !trial.bears_neighbours(&one, &mut example) {
            return Verdict::RowsDiffer;
        }
    }
    for (one, other) in [(1, 1), (2, 3)] {
        let wide = example(one, Manner::Wide).zip(example(other, Manner::Wide));
        let differs = |(one, other): (Vec<Tensor>, Vec<Tensor>)| {
            trial.joined_as_alone(&one, &other) == Some(false)
                || trial.joined_as_alone(&one, &one) == Some(false)
        };
        if !trial.is_over() && wide.is_some_and(differs) {
            return Verdict::RowsDiffer;
        }
    }
    for rows in LARGER {
        let inputs = example(rows, Manner::Plain).filter(|inputs| trial.has_time_for(batch::size(inputs)));
        if let Some(inputs) = inputs {
            trial.timed(&inputs);
        }
    }
    Verdict::Joins
}

/// The first run of a model of which a trial is known: slower than those behind it, it should not be a user's.
pub(crate) fn first_run(model: &dyn Model) {
    let _ = example(model, &mut Examples::new(0), 1);
}

/// So many rows of made-up inputs on which the model runs.
pub(crate) fn example(model: &dyn Model, examples: &mut Examples, rows: usize) -> Option<Vec<Tensor>> {
    OPEN.iter().find_map(|open| {
        let inputs = examples.inputs(model.signature(), rows, *open, Manner::Plain)?;
        run(model, &inputs).is_ok().then_some(inputs)
    })
}

/// Runs on made-up inputs, which may be a model's worst.
pub(crate) fn run(model: &dyn Model, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    bounded(RunLimits::TRIAL, None, |control| model.run_while(control, inputs))
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
            let inputs = examples.inputs(self.model.signature(), 1, *open, Manner::Plain);
            !self.is_over() && inputs.is_some_and(|inputs| run(self.model, &inputs).is_ok())
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
        let outputs = run(self.model, inputs).ok()?;
        self.cost.note(batch::size(inputs), started.elapsed());
        Some(outputs)
    }

    /// Whether calls joined give what each gives alone; `None` where they do not run.
    fn joined_as_alone(&self, one: &[Tensor], other: &[Tensor]) -> Option<bool> {
        let rows = [batch::rows(one)?, batch::rows(other)?];
        let alone = [self.timed(one)?, self.timed(other)?];
        let Some(joined) = self.timed(&batch::join(&[one, other]).ok()?) else { return Some(false) };
        let Some(parts) = batch::split(&joined, &rows) else { return Some(false) };
        Some(parts.iter().zip(&alone).all(|(part, alone)| batch::same(part, alone)))
    }

    /// Whether a call gives what it gives alone whatever is beside it, as long as that runs by itself. What
    /// comes of the neighbour is not looked at: of numbers like these nothing exact comes in any order.
    fn bears_neighbours(
        &self,
        call: &[Tensor],
        example: &mut impl FnMut(usize, Manner) -> Option<Vec<Tensor>>,
    ) -> bool {
        let Some((alone, rows)) = self.model.run(call).ok().zip(batch::rows(call)) else { return false };
        for (at, extreme) in EXTREMES.into_iter().enumerate() {
            for manner in [Manner::Extreme(extreme), Manner::ExtremeFloats(extreme)] {
                if self.is_over() {
                    return true;
                }
                let Some(neighbour) = example(1, manner) else { break };
                let first = at % 2 == 0;
                let calls = if first { [call, neighbour.as_slice()] } else { [&neighbour, call] };
                let joined = batch::join(&calls).and_then(|joined| run(self.model, &joined));
                let Ok(joined) = joined else {
                    // Places in a table that are not there are nobody's fault; then without those.
                    match run(self.model, &neighbour) {
                        Ok(_) => return false,
                        Err(_) => continue,
                    }
                };
                let sizes = if first { [rows, 1] } else { [1, rows] };
                let part = batch::split(&joined, &sizes)
                    .and_then(|mut parts| if first { parts.drain(..1).next() } else { parts.pop() });
                if !part.is_some_and(|part| batch::same(&part, &alone)) {
                    return false;
                }
                break;
            }
        }
        true
    }
}
