//! Figures for Prometheus, in its text form. They are counted elsewhere, without locks;
//! here they are written down when somebody asks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eyot_core::{Error, Result};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::revisions::Live;
use crate::server::Inner;
use crate::stats::{BOUNDS, Histogram, Stats};

pub(crate) const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All figures as they are now.
pub(crate) fn text(gateway: &Arc<Inner>) -> Result<String> {
    let mut registry = Registry::with_prefix("eyot");
    registry.register_collector(Box::new(Figures(gateway.clone())));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)
        .map_err(|error| Error::internal("metrics cannot be written").because(error))?;
    Ok(text)
}

type Labels = Vec<(&'static str, String)>;

struct Figures(Arc<Inner>);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

/// A figure, and the label of its own that it has beside the revision's.
type Figure<M> = (Option<(&'static str, String)>, M);

/// A family of figures: one for each revision and value of its own label.
struct Family<'a, M> {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    figures: &'a dyn Fn(&Stats, &Live) -> Vec<Figure<M>>,
}

impl Figures {
    fn write<M: EncodeMetric>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        family: &Family<'_, M>,
    ) -> fmt::Result {
        let mut metric =
            encoder.encode_descriptor(family.name, family.help, family.unit.as_ref(), family.kind)?;
        for endpoint in self.0.revisions.all() {
            for live in endpoint.all() {
                for (label, figure) in (family.figures)(&live.stats, live) {
                    let mut labels: Labels =
                        vec![("deployment", endpoint.name.to_string()), ("revision", live.version.clone())];
                    labels.extend(label);
                    figure.encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }

    fn durations(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &'static str,
        help: &'static str,
        of: fn(&Stats) -> Vec<&Histogram>,
    ) -> fmt::Result {
        let figures = |stats: &Stats, _: &Live| vec![(None, Durations::of(&of(stats)))];
        let kind = MetricType::Histogram;
        self.write(encoder, &Family { name, help, unit: Some(Unit::Seconds), kind, figures: &figures })
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let outcomes = |stats: &Stats, _: &Live| {
            // What never happened is not told, save for the one that always can.
            let happened = stats.outcomes().filter(|(outcome, count)| *outcome == "ok" || *count > 0);
            happened.map(|(outcome, count)| (Some(("status", outcome.to_owned())), Counter(count))).collect()
        };
        self.write(
            encoder,
            &Family {
                name: "requests",
                help: "Predictions that were asked for, by how they ended",
                unit: None,
                kind: MetricType::Counter,
                figures: &outcomes,
            },
        )?;
        self.durations(encoder, "request_duration", "From a request's head to its answer", |stats| {
            vec![&stats.success, &stats.fail]
        })?;
        self.durations(encoder, "queue_duration", "Waiting for room in a revision", |stats| {
            vec![&stats.queue]
        })?;
        self.durations(encoder, "inference_duration", "In the model or component", |stats| {
            vec![&stats.inference]
        })?;
        self.write(
            encoder,
            &Family {
                name: "requests_in_flight",
                help: "Predictions that are being made, waiting ones included",
                unit: None,
                kind: MetricType::Gauge,
                figures: &|stats, _| vec![(None, Gauge(stats.in_flight.load(Ordering::Relaxed)))],
            },
        )?;
        self.write(
            encoder,
            &Family {
                name: "requests_waiting",
                help: "Predictions that wait for room in a revision",
                unit: None,
                kind: MetricType::Gauge,
                figures: &|_, live| vec![(None, Gauge(live.gate.waiting()))],
            },
        )?;
        self.write(
            encoder,
            &Family {
                name: "shadow_requests",
                help: "Predictions of a shadow, compared with what was answered",
                unit: None,
                kind: MetricType::Counter,
                figures: &|stats, _| shadowed(stats),
            },
        )?;
        self.backends(encoder)?;
        let dropped = encoder.encode_descriptor(
            "prediction_log_dropped",
            "Predictions that the log was too slow for",
            None,
            MetricType::Counter,
        )?;
        Counter(self.0.log().map_or(0, crate::log::Log::dropped)).encode(dropped)
    }
}

impl Figures {
    /// What runs the models of each revision, as labels.
    fn backends(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "What runs a revision's models";
        let mut metric = encoder.encode_descriptor("backend", help, None, MetricType::Info)?;
        for endpoint in self.0.revisions.all() {
            for live in endpoint.all() {
                for (model, ran_on) in live.ran_on() {
                    let labels: Labels = vec![
                        ("deployment", endpoint.name.to_string()),
                        ("revision", live.version.clone()),
                        ("model", model),
                        ("backend", ran_on.backend),
                        ("version", ran_on.version),
                        ("target", ran_on.target.to_string()),
                    ];
                    metric.encode_info(&labels)?;
                }
            }
        }
        Ok(())
    }
}

fn shadowed(stats: &Stats) -> Vec<Figure<Counter>> {
    let counts = &stats.shadowed;
    let all = [
        ("same", &counts.same),
        ("different", &counts.different),
        ("failed", &counts.failed),
        ("skipped", &counts.skipped),
    ];
    let figure = |(result, count): (&str, &AtomicU64)| {
        (Some(("result", result.to_owned())), Counter(count.load(Ordering::Relaxed)))
    };
    // Revisions that are no shadow have none of these.
    let any = all.iter().any(|(_, count)| count.load(Ordering::Relaxed) > 0);
    all.into_iter().filter(|_| any).map(figure).collect()
}

struct Counter(u64);

impl EncodeMetric for Counter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<Labels, _, u64>(&self.0, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

struct Gauge(usize);

impl EncodeMetric for Gauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&i64::try_from(self.0).unwrap_or(i64::MAX))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// A histogram as it was at one moment; several are taken together.
struct Durations {
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl Durations {
    fn of(histograms: &[&Histogram]) -> Self {
        let bounds = BOUNDS.iter().map(|bound| bound.as_secs_f64()).chain([f64::INFINITY]);
        let mut buckets: Vec<(f64, u64)> = bounds.map(|bound| (bound, 0)).collect();
        for histogram in histograms {
            for ((_, count), found) in buckets.iter_mut().zip(histogram.buckets()) {
                *count += found;
            }
        }
        Self { buckets, sum: histograms.iter().map(|histogram| histogram.sum().as_secs_f64()).sum() }
    }
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let count = self.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<Labels>(self.sum, count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
