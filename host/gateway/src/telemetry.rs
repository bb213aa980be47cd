//! Who watches requests.

pub(crate) mod prediction_log;
pub(crate) mod prometheus;
pub(crate) mod shadow;
pub(crate) mod spans;
