//! The probe of a model before it serves: whether its calls can be batched, since its rows are independent of each
//! other, and what its runs cost.

use std::time::{Duration, Instant};

use eyot_core::Result;

use crate::control::bounded;
use crate::cost::CostModel;
use crate::example::{ExampleGenerator, ExampleKind};
use crate::{BackendModel, RunLimits, Tensor, batch};

/// Whether calls of a model may run in one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    /// In a batch it gave the same as alone.
    Batchable,
    /// A dimension is fixed, or something is a scalar.
    FixedShape,
    /// It did not run on an example, or so slowly that there was no time to try.
    Unprobed,
    /// A row's result depends on the rows beside it.
    RowsDependent,
    /// Nothing proves that it does not.
    Unproved,
}

impl ProbeResult {
    pub(crate) const ALL: [ProbeResult; 5] = [
        ProbeResult::Batchable,
        ProbeResult::FixedShape,
        ProbeResult::Unprobed,
        ProbeResult::RowsDependent,
        ProbeResult::Unproved,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ProbeResult::Batchable => "joins",
            ProbeResult::FixedShape => "fixed shape",
            ProbeResult::Unprobed => "untried",
            ProbeResult::RowsDependent => "rows depend on each other",
            ProbeResult::Unproved => "rows may depend on each other",
        }
    }
}

impl ProbeResult {
    /// Whether a probe can have found this for a model whose rows are, or are not, proved to be independent.
    pub(crate) fn may_be_of(self, is_proved: bool) -> bool {
        match self {
            ProbeResult::Batchable | ProbeResult::RowsDependent => is_proved,
            ProbeResult::Unproved => !is_proved,
            ProbeResult::FixedShape | ProbeResult::Unprobed => true,
        }
    }

    /// The same for people: with the reason for which nothing is proved.
    pub(crate) fn explained(self, why: Option<&String>) -> String {
        match (self, why) {
            (ProbeResult::Unproved, Some(why)) => format!("{}: {why}", self.as_str()),
            _ => self.as_str().to_owned(),
        }
    }
}

/// How long a probe may take when a model is loaded to serve. A model that needs longer for a handful of runs gains
/// nothing by batches that would be worth a slower load.
pub(crate) const PROBE_BUDGET: Duration = Duration::from_millis(300);
/// What variable dimensions behind the first may want: a length of text, nothing at all, a picture.
pub(crate) const OPEN_SIZES: [usize; 4] = [16, 1, 64, 224];
/// Rows of two calls that are run joined and alone. The second and third have neighbours on both
/// sides; sizes differ because libraries choose kernels by size.
const ROW_PAIRS: [(usize, usize); 4] = [(1, 1), (1, 2), (3, 1), (4, 4)];
/// What may stand beside a row, those first that graphs ask for: a picture that is not scaled yet, no number.
const EXTREME_VALUES: [f32; 10] =
    [255.0, f32::NAN, -1e30, f32::INFINITY, 1e30, 0.0, f32::NEG_INFINITY, -1.0, 1e-30, -255.0];
/// Larger batches, to see how the cost grows.
const LARGER_ROWS: [usize; 2] = [16, 32];

/// Runs a fresh model on made-up inputs: the first run of a model is slower than those behind it, and
/// should not be a user's. Says whether its calls can be batched, and fills `cost`. Starts no run once
/// `budget` is spent.
///
/// Numbers that were tried prove nothing about others. So calls are batched only where the walk over the graph
/// has proved that they can be, and the probe is a second opinion.
pub(crate) fn warm_up(
    model: &dyn BackendModel,
    cost: &CostModel,
    budget: Duration,
    is_proved: bool,
) -> ProbeResult {
    let batch_probe = BatchProbe { model, cost, started: Instant::now(), budget };
    let mut examples = ExampleGenerator::new(0);
    let Some(open) = batch_probe.open_size(&mut examples) else { return ProbeResult::Unprobed };
    let mut example = |rows, kind| examples.inputs(model.signature(), rows, open, kind);
    if let Some(inputs) = example(1, ExampleKind::Plain) {
        batch_probe.timed(&inputs);
    }
    if !batch::takes_rows(model.signature()) {
        return ProbeResult::FixedShape;
    }
    if !is_proved {
        return ProbeResult::Unproved;
    }
    for (at, (one, other)) in ROW_PAIRS.into_iter().enumerate() {
        if batch_probe.is_over() {
            // With so much to do, what was tried must be enough.
            return if at == 0 { ProbeResult::Unprobed } else { ProbeResult::Batchable };
        }
        let pair = example(one, ExampleKind::Plain).zip(example(other, ExampleKind::Plain));
        let Some((one, other)) = pair else { return ProbeResult::Unprobed };
        if !batch_probe.joined_as_alone(&one, &other).unwrap_or(false) {
            return ProbeResult::RowsDependent;
        }
        if at == 0 && !batch_probe.bears_neighbours(&one, &mut example) {
            return ProbeResult::RowsDependent;
        }
    }
    for (one, other) in [(1, 1), (2, 3)] {
        let wide = example(one, ExampleKind::Wide).zip(example(other, ExampleKind::Wide));
        let differs = |(one, other): (Vec<Tensor>, Vec<Tensor>)| {
            batch_probe.joined_as_alone(&one, &other) == Some(false)
                || batch_probe.joined_as_alone(&one, &one) == Some(false)
        };
        if !batch_probe.is_over() && wide.is_some_and(differs) {
            return ProbeResult::RowsDependent;
        }
    }
    for rows in LARGER_ROWS {
        let inputs =
            example(rows, ExampleKind::Plain).filter(|inputs| batch_probe.has_time_for(batch::size(inputs)));
        if let Some(inputs) = inputs {
            batch_probe.timed(&inputs);
        }
    }
    ProbeResult::Batchable
}

/// The first run of a model whose probe is known: slower than those behind it, it should not be a user's.
pub(crate) fn first_run(model: &dyn BackendModel) {
    let _ = example(model, &mut ExampleGenerator::new(0), 1);
}

/// So many rows of made-up inputs on which the model runs.
pub(crate) fn example(
    model: &dyn BackendModel,
    examples: &mut ExampleGenerator,
    rows: usize,
) -> Option<Vec<Tensor>> {
    OPEN_SIZES.iter().find_map(|open| {
        let inputs = examples.inputs(model.signature(), rows, *open, ExampleKind::Plain)?;
        run(model, &inputs).is_ok().then_some(inputs)
    })
}

/// Runs on made-up inputs, which may be a model's worst.
pub(crate) fn run(model: &dyn BackendModel, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    bounded(RunLimits::PROBE, None, |control| model.run_while(control, inputs))
}

struct BatchProbe<'a> {
    model: &'a dyn BackendModel,
    cost: &'a CostModel,
    started: Instant,
    budget: Duration,
}

impl BatchProbe<'_> {
    /// The size of variable dimensions with which the model runs.
    fn open_size(&self, examples: &mut ExampleGenerator) -> Option<usize> {
        let variable = |shape: &[i64]| shape.iter().skip(1).any(|size| *size < 0);
        let any = self.model.signature().inputs.iter().any(|spec| variable(&spec.shape));
        let choices = if any { &OPEN_SIZES[..] } else { &OPEN_SIZES[..1] };
        choices.iter().copied().find(|open| {
            let inputs = examples.inputs(self.model.signature(), 1, *open, ExampleKind::Plain);
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
        example: &mut impl FnMut(usize, ExampleKind) -> Option<Vec<Tensor>>,
    ) -> bool {
        let Some((alone, rows)) = self.model.run(call).ok().zip(batch::rows(call)) else { return false };
        for (at, extreme) in EXTREME_VALUES.into_iter().enumerate() {
            for kind in [ExampleKind::Extreme(extreme), ExampleKind::ExtremeFloats(extreme)] {
                if self.is_over() {
                    return true;
                }
                let Some(neighbour) = example(1, kind) else { break };
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
