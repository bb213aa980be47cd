//! What a step reports about itself; shown beside its run.

use crate::bindings::eyot::ml::tracking;

/// Records a parameter; its first value stays.
pub fn log_param(key: &str, value: impl std::fmt::Display) {
    tracking::log_param(key, &value.to_string());
}

/// Records one point of a metric; `step` counts whatever you count, such as epochs.
pub fn log_metric(key: &str, value: f64, step: i64) {
    tracking::log_metric(key, value, step);
}

/// Sets a tag, replacing an earlier value.
pub fn set_tag(key: &str, value: &str) {
    tracking::set_tag(key, value);
}
