//! Figures for Prometheus, in its text form. They are counted elsewhere, without locks;
//! here they are written down when somebody asks.

mod models;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eyot_core::{Error, Result};
use eyot_engine::InstanceStats;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::GatewayTelemetry;
use crate::serving::endpoint::ServingRevision;
use crate::serving::state::GatewayState;
use crate::serving::stats::{
    COUNT_BOUNDS, CountHistogram, DURATION_BOUNDS, DurationHistogram, RevisionStats,
};

pub(crate) const PROMETHEUS_TEXT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All figures as they are now.
pub(crate) fn text(gateway: &Arc<GatewayState>, telemetry: &Arc<GatewayTelemetry>) -> Result<String> {
    let mut registry = Registry::with_prefix("eyot");
    registry.register_collector(Box::new(MetricsCollector(gateway.clone(), telemetry.clone())));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)
        .map_err(|error| Error::internal("metrics cannot be written").because(error))?;
    Ok(text)
}

type LabelPairs = Vec<(&'static str, String)>;

struct MetricsCollector(Arc<GatewayState>, Arc<GatewayTelemetry>);

impl fmt::Debug for MetricsCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

/// A figure, and the labels of its own that it has beside the revision's.
type LabeledMetric<M> = (LabelPairs, M);

/// What a family tells of one revision: a figure for each value of its own labels.
type MetricReader<'a, M> = &'a dyn Fn(&RevisionStats, &ServingRevision) -> Vec<LabeledMetric<M>>;

/// A family of figures.
struct MetricFamily<'a, M> {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    figures: MetricReader<'a, M>,
}

impl MetricsCollector {
    fn write<M: EncodeMetric>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        family: &MetricFamily<'_, M>,
    ) -> fmt::Result {
        let mut metric =
            encoder.encode_descriptor(family.name, family.help, family.unit.as_ref(), family.kind)?;
        for endpoint in self.0.revisions.all() {
            for live in endpoint.all() {
                for (label, figure) in (family.figures)(&live.stats, live) {
                    let mut labels: LabelPairs =
                        vec![("deployment", endpoint.name.to_string()), ("revision", live.version.clone())];
                    labels.extend(label);
                    figure.encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }

    fn counts(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &'static str,
        help: &'static str,
        figures: MetricReader<'_, CounterValue>,
    ) -> fmt::Result {
        self.write(encoder, &MetricFamily { name, help, unit: None, kind: MetricType::Counter, figures })
    }

    fn gauges(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &'static str,
        help: &'static str,
        figures: MetricReader<'_, GaugeValue>,
    ) -> fmt::Result {
        self.write(encoder, &MetricFamily { name, help, unit: None, kind: MetricType::Gauge, figures })
    }

    fn histograms(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &'static str,
        help: &'static str,
        unit: Option<Unit>,
        figures: MetricReader<'_, HistogramValue>,
    ) -> fmt::Result {
        self.write(encoder, &MetricFamily { name, help, unit, kind: MetricType::Histogram, figures })
    }

    fn durations(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &'static str,
        help: &'static str,
        of: fn(&RevisionStats) -> Vec<&DurationHistogram>,
    ) -> fmt::Result {
        let figures =
            |stats: &RevisionStats, _: &ServingRevision| vec![(Vec::new(), HistogramValue::of(&of(stats)))];
        self.histograms(encoder, name, help, Some(Unit::Seconds), &figures)
    }
}

impl Collector for MetricsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.requests(encoder)?;
        self.timings(encoder)?;
        self.instances(encoder)?;
        self.backends(encoder)?;
        if let Some(stats) = self.0.models() {
            models::write(encoder, &stats)?;
        }
        let dropped = encoder.encode_descriptor(
            "prediction_log_dropped",
            "Predictions that the log was too slow for",
            None,
            MetricType::Counter,
        )?;
        CounterValue(self.1.log.as_ref().map_or(0, |log| log.dropped())).encode(dropped)?;
        let dropped = encoder.encode_descriptor(
            "spans_dropped",
            "Spans that the collector of traces was too slow for",
            None,
            MetricType::Counter,
        )?;
        CounterValue(self.1.spans.as_ref().map_or(0, |spans| spans.dropped())).encode(dropped)
    }
}

impl MetricsCollector {
    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let outcomes = |stats: &RevisionStats, _: &ServingRevision| {
            // What never happened is not told, save for the one that always can.
            let happened = stats.outcomes().filter(|(outcome, count)| *outcome == "ok" || *count > 0);
            happened
                .map(|(outcome, count)| (vec![("status", outcome.to_owned())], CounterValue(count)))
                .collect()
        };
        self.counts(encoder, "requests", "Predictions that were asked for, by how they ended", &outcomes)?;
        self.gauges(
            encoder,
            "requests_in_flight",
            "Predictions that are being made, waiting ones included",
            &|stats, _| vec![(Vec::new(), GaugeValue(stats.in_flight.load(Ordering::Relaxed)))],
        )?;
        self.gauges(
            encoder,
            "requests_waiting",
            "Predictions that wait for room in a revision",
            &|_, live| vec![(Vec::new(), GaugeValue(live.gate.waiting()))],
        )?;
        self.counts(
            encoder,
            "shadow_requests",
            "Predictions of a shadow, compared with what was answered",
            &|stats, _| shadowed(stats),
        )
    }

    fn timings(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.durations(encoder, "request_duration", "From a request's head to its answer", |stats| {
            vec![&stats.success, &stats.fail]
        })?;
        self.durations(encoder, "queue_duration", "Waiting for room in a revision", |stats| {
            vec![&stats.queue]
        })?;
        self.durations(encoder, "prediction_duration", "In the model or component, all in all", |stats| {
            vec![&stats.prediction]
        })?;
        self.durations(encoder, "guest_duration", "In the component, without its inferences", |stats| {
            vec![&stats.guest]
        })?;
        let model_queue = "Inferences of one prediction, waiting for a thread and for company";
        self.durations(encoder, "model_queue_duration", model_queue, |stats| vec![&stats.model_queue])?;
        let seconds = Some(Unit::Seconds);
        let inference = |stats: &RevisionStats, live: &ServingRevision| {
            vec![(runs_on(live), HistogramValue::of(&[&stats.inference]))]
        };
        self.histograms(encoder, "inference_duration", "In the back end", seconds, &inference)?;
        let batches = |stats: &RevisionStats, live: &ServingRevision| {
            vec![(runs_on(live), HistogramValue::of_counts(&stats.batches))]
        };
        let help = "Calls that ran together with a prediction's own, itself included";
        self.histograms(encoder, "batch_size", help, None, &batches)?;
        let in_flight = |stats: &RevisionStats, _: &ServingRevision| {
            vec![(Vec::new(), HistogramValue::of_counts(&stats.max_in_flight))]
        };
        let help = "Inferences of one prediction that were under way at the same time, at most";
        self.histograms(encoder, "inferences_at_once", help, None, &in_flight)
    }

    /// The instances of components, and why some were ended.
    fn instances(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let instance_stats = |live: &ServingRevision| live.instance_stats();
        self.gauges(encoder, "instances", "Instances of a component, by what they do", &|_, live| {
            let states = |instance_stats: InstanceStats| {
                [("idle", instance_stats.idle), ("busy", instance_stats.busy)]
            };
            let states = instance_stats(live).into_iter().flat_map(states);
            states.map(|(state, count)| (vec![("state", state.to_owned())], GaugeValue(count))).collect()
        })?;
        self.counts(
            encoder,
            "instances_started",
            "Instances of a component that were started",
            &|_, live| {
                instance_stats(live)
                    .map(|instance_stats| (Vec::new(), CounterValue(instance_stats.started)))
                    .into_iter()
                    .collect()
            },
        )?;
        let help = "Instances of a component that were ended in the middle of a call, by cause";
        self.counts(encoder, "instances_ended", help, &|_, live| {
            let ended = instance_stats(live).into_iter().flat_map(|instance_stats| instance_stats.ended);
            ended
                .map(|(cause, count)| (vec![("cause", cause.as_str().to_owned())], CounterValue(count)))
                .collect()
        })
    }

    /// What runs the models of each revision, as labels.
    fn backends(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "What runs a revision's models";
        let mut metric = encoder.encode_descriptor("backend", help, None, MetricType::Info)?;
        for endpoint in self.0.revisions.all() {
            for live in endpoint.all() {
                for (model, ran_on) in live.ran_on() {
                    let labels: LabelPairs = vec![
                        ("deployment", endpoint.name.to_string()),
                        ("revision", live.version.clone()),
                        ("model", model),
                        ("backend", ran_on.library().to_owned()),
                        ("provider", ran_on.provider().to_owned()),
                        ("version", ran_on.version),
                        ("target", ran_on.target.to_string()),
                        ("precision", ran_on.precision.to_string()),
                    ];
                    metric.encode_info(&labels)?;
                }
            }
        }
        Ok(())
    }
}

/// Back end and execution provider of a revision's models.
fn runs_on(live: &ServingRevision) -> LabelPairs {
    vec![
        ("backend", live.distinct(|ran_on| ran_on.library().to_owned())),
        ("provider", live.distinct(|ran_on| ran_on.provider().to_owned())),
    ]
}

fn shadowed(stats: &RevisionStats) -> Vec<LabeledMetric<CounterValue>> {
    let counts = &stats.shadowed;
    let all = [
        ("same", &counts.same),
        ("different", &counts.different),
        ("failed", &counts.failed),
        ("skipped", &counts.skipped),
    ];
    let figure = |(result, count): (&str, &AtomicU64)| {
        (vec![("result", result.to_owned())], CounterValue(count.load(Ordering::Relaxed)))
    };
    // Revisions that are no shadow have none of these.
    let any = all.iter().any(|(_, count)| count.load(Ordering::Relaxed) > 0);
    all.into_iter().filter(|_| any).map(figure).collect()
}

struct CounterValue(u64);

impl EncodeMetric for CounterValue {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<LabelPairs, _, u64>(&self.0, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

struct GaugeValue(usize);

impl From<u64> for GaugeValue {
    fn from(number: u64) -> Self {
        Self(usize::try_from(number).unwrap_or(usize::MAX))
    }
}

impl EncodeMetric for GaugeValue {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&i64::try_from(self.0).unwrap_or(i64::MAX))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// A histogram as it was at one moment; several are taken together.
struct HistogramValue {
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl HistogramValue {
    fn of(histograms: &[&DurationHistogram]) -> Self {
        let bounds = DURATION_BOUNDS.iter().map(|bound| bound.as_secs_f64()).chain([f64::INFINITY]);
        let mut buckets: Vec<(f64, u64)> = bounds.map(|bound| (bound, 0)).collect();
        for histogram in histograms {
            for ((_, count), found) in buckets.iter_mut().zip(histogram.buckets()) {
                *count += found;
            }
        }
        Self { buckets, sum: histograms.iter().map(|histogram| histogram.sum().as_secs_f64()).sum() }
    }

    fn of_counts(counts: &CountHistogram) -> Self {
        let (counts, sum) = counts.read();
        let bounds = COUNT_BOUNDS.iter().map(|bound| *bound as f64).chain([f64::INFINITY]);
        Self { buckets: bounds.zip(counts).collect(), sum: sum as f64 }
    }
}

impl EncodeMetric for HistogramValue {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let count = self.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<LabelPairs>(self.sum, count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
