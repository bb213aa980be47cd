//! What the back ends of this machine make of a model: `eyot backend bench`.

use std::time::{Duration, Instant};

use eyot_core::{Error, Result};
use serde::Serialize;

use crate::batch_probe::{self, ProbeResult};
use crate::cost::CostModel;
use crate::example::ExampleGenerator;
use crate::onnx::ExternalData;
use crate::{
    BackendModel, BackendSet, InferenceBackend, ModelFiles, ModelSettings, Precision, RanOn, Target, Tensor,
    difference, independence, onnx,
};

/// A model under one back end and settings, measured.
#[derive(Clone, Debug, Serialize)]
pub struct BenchMeasurement {
    #[serde(flatten)]
    pub ran_on: RanOn,
    /// Threads inside of one inference.
    pub intra_threads: usize,
    /// Inferences at the same time.
    pub callers: usize,
    /// How long loading took.
    pub load_milliseconds: f64,
    /// Half of the inferences took no longer.
    pub p50_microseconds: f64,
    /// Of a hundred, 99 took no longer.
    pub p99_microseconds: f64,
    /// Inferences a second, of all callers together.
    pub per_second: f64,
    /// Whether calls of different requests can be batched: `joins`, or why not.
    pub batching: String,
    /// What 16 rows take joined, as a part of what they take one after another; where they can be.
    pub joined_16: Option<f64>,
}

/// A back end that cannot run the model, and why.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedBackend {
    pub backend: String,
    pub target: Target,
    pub precision: Precision,
    pub why: String,
}

/// Everything that was tried.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BenchReport {
    pub measured: Vec<BenchMeasurement>,
    pub refused: Vec<RefusedBackend>,
}

impl BenchReport {
    /// The one with the shortest single inference at that precision; of those that are about as good, the
    /// first.
    pub fn fastest(&self, precision: Precision) -> Option<&BenchMeasurement> {
        let single = self.at(precision).filter(|measured| measured.callers == 1);
        single.reduce(
            |best, one| if NOISE_RATIO * one.p50_microseconds < best.p50_microseconds { one } else { best },
        )
    }

    /// The one with the most inferences a second at that precision; of those that are about as good, the
    /// first.
    pub fn busiest(&self, precision: Precision) -> Option<&BenchMeasurement> {
        self.at(precision)
            .reduce(|best, one| if one.per_second > NOISE_RATIO * best.per_second { one } else { best })
    }

    fn at(&self, precision: Precision) -> impl Iterator<Item = &BenchMeasurement> {
        self.measured.iter().filter(move |measured| measured.ran_on.precision == precision)
    }
}

/// What measurements differ by from one time to the next.
const NOISE_RATIO: f64 = 1.05;

/// Measures the model with made-up inputs of one row, on each back end and target of this machine,
/// each way for about `time`: one caller with one thread, as many callers as there are processors, and
/// one caller with all of them. Computes all the while: not for an async thread.
///
/// Fails when the bytes are no model; a back end that does not run it is in the report.
pub fn run(
    backends: &BackendSet,
    files: &ModelFiles,
    processors: usize,
    time: Duration,
) -> Result<BenchReport> {
    let mut report = BenchReport::default();
    for backend in backends.list() {
        for target in backend.targets() {
            for precision in backend.precisions() {
                let settings = ModelSettings { target, precision: *precision, ..ModelSettings::default() };
                each_way(&mut report, &**backend, files, settings, (processors, time))?;
            }
        }
    }
    Ok(report)
}

/// One back end, target and precision: few threads and many, few callers and many.
fn each_way(
    report: &mut BenchReport,
    backend: &dyn InferenceBackend,
    files: &ModelFiles,
    settings: ModelSettings,
    (processors, time): (usize, Duration),
) -> Result<()> {
    let wide = backend.name() != "tract" && processors > 1;
    let shapes = [(1, 1), (1, processors), (processors, 1)];
    let shapes = shapes.iter().take(if wide { 3 } else { 2 });
    for (threads, callers) in shapes {
        if *callers > 1 && processors == 1 {
            continue;
        }
        let settings = ModelSettings { intra_threads: Some(*threads), ..settings };
        match measure(backend, files, settings, *callers, time) {
            Ok(measured) => report.measured.push(measured),
            Err(error) if error.kind() == eyot_core::ErrorKind::Invalid => return Err(error),
            Err(error) => {
                let ModelSettings { target, precision, .. } = settings;
                let (backend, why) = (backend.name().to_owned(), error.chain());
                report.refused.push(RefusedBackend { backend, target, precision, why });
                break;
            }
        }
    }
    Ok(())
}

fn measure(
    backend: &dyn InferenceBackend,
    files: &ModelFiles,
    settings: ModelSettings,
    callers: usize,
    time: Duration,
) -> Result<BenchMeasurement> {
    let started = Instant::now();
    let model = backend.load_files(files, settings)?;
    let load = started.elapsed();
    let proof = independence::prove(&onnx::parse_files(files, ExternalData::Kept)?.proto);
    let probe_result = batch_probe::warm_up(
        &*model,
        &CostModel::default(),
        batch_probe::PROBE_BUDGET.max(time),
        proof.is_ok(),
    );
    let example = |rows| batch_probe::example(&*model, &mut ExampleGenerator::new(1), rows);
    let inputs = example(1).ok_or_else(|| {
        Error::unsupported("the model runs on no made-up input")
            .hint("its inputs need values that nobody can guess from their types")
    })?;
    let mut ran_on = RanOn::new(backend, &*model, settings);
    if settings.precision != Precision::F32 {
        let exact = backend.load_files(files, ModelSettings { precision: Precision::F32, ..settings })?;
        ran_on.difference = Some(difference::measure(&*model, &*exact)?);
    }
    let began = Instant::now();
    let times = together(&*model, &inputs, callers, time);
    let per_second = times.len() as f64 / began.elapsed().as_secs_f64();
    let (p50, p99) = (at(&times, 50), at(&times, 99));
    let sixteen = if probe_result == ProbeResult::Batchable && callers == 1 { example(16) } else { None };
    let joined = sixteen.map(|inputs| at(&together(&*model, &inputs, 1, time / 4), 50));
    Ok(BenchMeasurement {
        ran_on,
        intra_threads: settings.threads(),
        callers,
        load_milliseconds: load.as_secs_f64() * 1e3,
        p50_microseconds: p50,
        p99_microseconds: p99,
        per_second,
        batching: probe_result.explained(proof.as_ref().err()),
        joined_16: joined.map(|joined| joined / (16.0 * p50)),
    })
}

/// What each run took of so many callers at once, the shortest first.
fn together(model: &dyn BackendModel, inputs: &[Tensor], callers: usize, time: Duration) -> Vec<Duration> {
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..callers).map(|_| scope.spawn(|| repeat(model, inputs, time))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    times.sort_unstable();
    times
}

/// Microseconds that so many of a hundred took at most.
fn at(sorted: &[Duration], part: usize) -> f64 {
    sorted.get(sorted.len() * part / 100).copied().unwrap_or_default().as_secs_f64() * 1e6
}

/// Runs until the time is up, at least once.
fn repeat(model: &dyn BackendModel, inputs: &[Tensor], time: Duration) -> Vec<Duration> {
    let began = Instant::now();
    let mut times = Vec::new();
    loop {
        let started = Instant::now();
        if batch_probe::run(model, inputs).is_err() {
            return times;
        }
        times.push(started.elapsed());
        if began.elapsed() >= time {
            return times;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::suite::fixture;
    use eyot_core::config::BackendChoice;

    #[test]
    fn each_way_to_run_a_model_is_measured_or_refused() {
        let backends = BackendSet::open(std::path::Path::new("/nowhere"), BackendChoice::Tract).unwrap();
        let run = |name: &str| run(&backends, &fixture(name).into(), 2, Duration::from_millis(1));
        let report = run("dense").unwrap();
        let ways: Vec<_> = report.measured.iter().map(|way| (way.intra_threads, way.callers)).collect();
        assert_eq!(ways, [(1, 1), (1, 2)]);
        assert!(report.measured.iter().all(|way| way.per_second > 0.0 && way.p99_microseconds > 0.0));
        assert_eq!(report.fastest(Precision::F32).unwrap().callers, 1);
        assert!(report.busiest(Precision::F32).is_some() && report.busiest(Precision::Bf16).is_none());
        let refused = run("same-bf16").unwrap();
        assert!(refused.measured.is_empty() && refused.refused[0].backend == "tract");
    }
}
