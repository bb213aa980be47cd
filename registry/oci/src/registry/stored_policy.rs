//! The stored format of policies: versioned, and separate from what clients send.

use eyot_core::{Period, StoredFormat};
use serde::{Deserialize, Serialize};

/// A policy, version 1. Version 0 is the same without its name.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredPolicy {
    pub(super) repository: String,
    pub(super) require: Vec<StoredRequirement>,
}

impl StoredFormat for StoredPolicy {
    const NAME: &'static str = "eyot.policy";
    const VERSION: u32 = 1;
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct StoredRequirement {
    pub(super) predicate: String,
    pub(super) keys: Vec<String>,
    pub(super) threshold: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max_age: Option<Period>,
}
