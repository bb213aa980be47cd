//! What a run of a model costs, learned from its runs.

use parking_lot::Mutex;
use std::time::Duration;

/// Sizes are counted in input elements and put into one bucket for each power of two.
const BUCKETS: usize = 48;
/// A mean follows the newest run by one part in this many.
const SMOOTHING_FACTOR: f64 = 8.0;

/// The learned cost of a model as a function of its inputs' size: points that were measured, straight
/// lines between them and beyond.
#[derive(Debug, Default)]
pub(crate) struct CostModel(Mutex<CostPoints>);

type CostPoints = Vec<CostPoint>;

#[derive(Clone, Copy, Debug, PartialEq)]
struct CostPoint {
    bucket: usize,
    size: f64,
    nanoseconds: f64,
}

fn bucket(size: u64) -> usize {
    (size.max(1).ilog2() as usize).min(BUCKETS - 1)
}

impl CostModel {
    /// Takes note of a run.
    ///
    /// One that took much longer than usual was probably kept from its processor: it counts as twice
    /// the usual, so that a busy machine is not taken for a slow model.
    pub(crate) fn note(&self, size: u64, took: Duration) {
        let (at, size, took) = (bucket(size), size.max(1) as f64, took.as_nanos() as f64);
        let mut points = self.0.lock();
        match points.binary_search_by_key(&at, |point| point.bucket) {
            Ok(found) => {
                let point = &mut points[found];
                point.nanoseconds +=
                    (took.min(2.0 * point.nanoseconds) - point.nanoseconds) / SMOOTHING_FACTOR;
                point.size += (size - point.size) / SMOOTHING_FACTOR;
            }
            Err(place) => points.insert(place, CostPoint { bucket: at, size, nanoseconds: took }),
        }
    }

    /// What was learned: sizes and nanoseconds, the smallest first.
    pub(crate) fn points(&self) -> Vec<(f64, f64)> {
        self.0.lock().iter().map(|point| (point.size, point.nanoseconds)).collect()
    }

    /// What was learned by another that had these points.
    pub(crate) fn restored(points: &[(f64, f64)]) -> Self {
        let mut points: Vec<_> = points
            .iter()
            .map(|(size, nanoseconds)| CostPoint {
                bucket: bucket(*size as u64),
                size: *size,
                nanoseconds: *nanoseconds,
            })
            .collect();
        points.sort_by_key(|point| point.bucket);
        points.dedup_by_key(|point| point.bucket);
        Self(Mutex::new(points))
    }

    /// What a run of that size will take; `None` before any was measured.
    pub(crate) fn predict(&self, size: u64) -> Option<Duration> {
        let nanoseconds = estimate(&self.0.lock(), size.max(1) as f64)?;
        Some(Duration::from_nanos(nanoseconds as u64))
    }

    /// The straight line that fits best: nanoseconds an element, and nanoseconds a run.
    pub(crate) fn line(&self) -> Option<(f64, f64)> {
        fit(&self.0.lock())
    }
}

/// What the thread that calls this has computed so far.
pub fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to what it is given and to nothing else.
    match unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } {
        0 => Duration::new(
            u64::try_from(time.tv_sec).unwrap_or_default(),
            u32::try_from(time.tv_nsec).unwrap_or_default(),
        ),
        // Every system that this is built for has that clock.
        _ => Duration::ZERO,
    }
}

fn estimate(points: &[CostPoint], size: f64) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    if points.len() == 1 {
        // Nothing says how it grows: that a run costs the same whatever its size would have every
        // large input run where only short ones may.
        return Some(first.nanoseconds * (size / first.size).max(1.0));
    }
    let above = points.iter().position(|point| point.size >= size);
    let (low, high) = match above {
        Some(0) => return Some(first.nanoseconds),
        Some(above) => (&points[above - 1], &points[above]),
        None => (first, last),
    };
    let slope = (high.nanoseconds - low.nanoseconds) / (high.size - low.size).max(1.0);
    let from = if above.is_none() { high } else { low };
    Some((from.nanoseconds + slope.max(0.0) * (size - from.size)).max(0.0))
}

/// Least squares, with each point's error counted in parts of its own time: the smallest size is as
/// important as the largest.
fn fit(points: &[CostPoint]) -> Option<(f64, f64)> {
    let [one] = points else { return fit_several(points) };
    Some((0.0, one.nanoseconds))
}

fn fit_several(points: &[CostPoint]) -> Option<(f64, f64)> {
    if points.is_empty() {
        return None;
    }
    let (mut sum, mut x, mut y, mut xx, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for point in points {
        let weight = 1.0 / point.nanoseconds.max(1.0).powi(2);
        sum += weight;
        x += weight * point.size;
        y += weight * point.nanoseconds;
        xx += weight * point.size * point.size;
        xy += weight * point.size * point.nanoseconds;
    }
    let slope = ((sum * xy - x * y) / (sum * xx - x * x)).max(0.0);
    let slope = if slope.is_finite() { slope } else { 0.0 };
    Some((slope, ((y - slope * x) / sum).max(0.0)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn learned(runs: &[(u64, u64)]) -> CostModel {
        let cost = CostModel::default();
        for (size, microseconds) in runs {
            cost.note(*size, Duration::from_micros(*microseconds));
        }
        cost
    }

    #[test]
    fn lines_run_through_what_was_measured() {
        for (runs, size, expected) in [
            (&[][..], 4, None),
            (&[(4, 100)], 4, Some(100)),
            (&[(4, 100)], 1, Some(100)),
            (&[(4, 100)], 40, Some(1000)),
            (&[(4, 100), (8, 140)], 6, Some(120)),
            (&[(4, 100), (8, 140)], 16, Some(220)),
            (&[(4, 100), (8, 140)], 1, Some(100)),
            (&[(4, 100), (8, 90)], 64, Some(90)),
            (&[(0, 7)], 0, Some(7)),
        ] {
            let predicted = learned(runs).predict(size).map(|time| time.as_micros());
            assert_eq!(predicted, expected, "{runs:?} at {size}");
        }
    }

    #[test]
    fn a_line_of_a_fixed_and_a_growing_part_is_found() {
        let cost = learned(&[(1, 110), (2, 120), (16, 260), (64, 740)]);
        let (slope, base) = cost.line().unwrap();
        assert!((slope / 10_000.0 - 1.0).abs() < 1e-6 && (base / 100_000.0 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn one_slow_run_is_not_a_slow_model() {
        let cost = learned(&[(4, 10), (4, 100_000)]);
        assert!(cost.predict(4).unwrap() < Duration::from_micros(12));
        // But a model that has become slow is found to be slow.
        for _ in 0..100 {
            cost.note(4, Duration::from_micros(1000));
        }
        assert!(cost.predict(4).unwrap() > Duration::from_micros(900));
    }

    #[test]
    fn only_what_a_thread_computes_counts() {
        let begun = thread_time();
        let (sender, receiver) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            let begun = thread_time();
            while thread_time() - begun < Duration::from_millis(30) {
                std::hint::spin_loop();
            }
            sender.send(thread_time() - begun).unwrap();
        });
        // This thread waits for as long as the other computes.
        let computed = receiver.recv().unwrap();
        assert!(computed >= Duration::from_millis(30) && thread_time() - begun < computed / 2);
        other.join().unwrap();
    }
}
