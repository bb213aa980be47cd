//! Figures of the loaded models: they are the process's own and shared by deployments.

use std::collections::BTreeMap;
use std::fmt;

use eyot_nn::{CacheStats, ModelStats};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{CounterValue, GaugeValue, LabelPairs};

pub(super) fn write(encoder: &mut DescriptorEncoder<'_>, stats: &CacheStats) -> fmt::Result {
    for (name, help, bytes) in [
        ("models_memory_limit", "Memory that models may take together", stats.budget_bytes),
        ("models_memory", "Memory that models take together", stats.resident_bytes),
    ] {
        let metric = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?;
        GaugeValue::from(bytes).encode(metric)?;
    }
    for (name, help, count) in [
        ("model_loads", "Times that weights were loaded", stats.loads),
        ("model_evictions", "Times that weights were put away to make room", stats.evictions),
    ] {
        CounterValue(count).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    let help = "Memory that a model takes; 0 while its weights are put away";
    let metric = encoder.encode_descriptor("model_memory", help, Some(&Unit::Bytes), MetricType::Gauge);
    each(metric?, stats, |model| model.resident_bytes, GaugeValue::from)?;
    let help = "Inferences that wait for a thread";
    let metric = encoder.encode_descriptor("model_waiting", help, None, MetricType::Gauge)?;
    each(metric, stats, |model| model.waiting as u64, GaugeValue::from)?;
    let counters: [(&str, &str, ModelCount); 5] = [
        ("model_runs", "Runs of a model, each of one call or of several joined", |model| model.inferences),
        ("model_failures", "Runs of a model that ended in an error", |model| model.failures),
        ("model_abandoned", "Calls that were given up before their turn", |model| model.abandoned),
        ("model_batches", "Runs of several calls joined", |model| model.batches),
        ("model_batched_calls", "Calls in runs of several", |model| model.batched),
    ];
    for (name, help, count) in counters {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        each(metric, stats, count, CounterValue)?;
    }
    Ok(())
}

type ModelCount = fn(&ModelStats) -> u64;

/// One figure for all that share the labels: a model may be loaded twice with settings that no label
/// tells, and no series may come twice.
fn each<M: EncodeMetric>(
    mut metric: prometheus_client::encoding::MetricEncoder<'_>,
    stats: &CacheStats,
    count: impl Fn(&ModelStats) -> u64,
    figure: impl Fn(u64) -> M,
) -> fmt::Result {
    let mut sums: BTreeMap<LabelPairs, u64> = BTreeMap::new();
    for model in &stats.models {
        *sums.entry(labels(model)).or_default() += count(model);
    }
    sums.iter().try_for_each(|(labels, sum)| figure(*sum).encode(metric.encode_family(labels)?))
}

fn labels(model: &ModelStats) -> LabelPairs {
    vec![
        ("model", model.digest.to_string()),
        ("backend", model.ran_on.library().to_owned()),
        ("provider", model.ran_on.provider().to_owned()),
        ("precision", model.ran_on.precision.to_string()),
        ("pinned", model.pinned.to_string()),
    ]
}
