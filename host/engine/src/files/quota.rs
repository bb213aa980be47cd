//! What a step may leave behind: bytes and files, counted while it writes.

use std::sync::Arc;

use eyot_core::{ByteCount, Error};
use parking_lot::Mutex;

/// What a step may leave in its outputs, whatever it does with it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// Bytes of all of them together.
    pub bytes: u64,
    /// Files, folders and links.
    pub entries: u64,
}

impl OutputLimits {
    /// As much as there is room for.
    pub const NONE: Self = Self { bytes: u64::MAX, entries: u64::MAX };
}

impl From<&eyot_core::config::StepSettings> for OutputLimits {
    fn from(steps: &eyot_core::config::StepSettings) -> Self {
        Self { bytes: steps.output.0, entries: steps.output_files }
    }
}

/// What a step has left until now. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct OutputUsage(Arc<Mutex<UsageCounts>>);

#[derive(Debug)]
struct UsageCounts {
    limits: OutputLimits,
    bytes: u64,
    entries: u64,
    /// The limit that was passed first.
    passed: Option<PassedLimit>,
}

#[derive(Clone, Copy, Debug)]
enum PassedLimit {
    Bytes,
    Entries,
}

/// There is no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QuotaExceeded;

impl OutputUsage {
    pub(crate) fn new(limits: OutputLimits) -> Self {
        Self(Arc::new(Mutex::new(UsageCounts { limits, bytes: 0, entries: 0, passed: None })))
    }

    /// Counts so many bytes more, or none where there is no room for all.
    pub(crate) fn grow(&self, bytes: u64) -> Result<(), QuotaExceeded> {
        let mut counts = self.0.lock();
        match counts.bytes.checked_add(bytes).filter(|sum| *sum <= counts.limits.bytes) {
            Some(sum) => {
                counts.bytes = sum;
                Ok(())
            }
            None => {
                counts.passed.get_or_insert(PassedLimit::Bytes);
                Err(QuotaExceeded)
            }
        }
    }

    pub(crate) fn shrink(&self, bytes: u64) {
        let mut counts = self.0.lock();
        counts.bytes = counts.bytes.saturating_sub(bytes);
    }

    /// Counts a file, folder or link more.
    pub(crate) fn enter(&self) -> Result<(), QuotaExceeded> {
        let mut counts = self.0.lock();
        if counts.entries >= counts.limits.entries {
            counts.passed.get_or_insert(PassedLimit::Entries);
            return Err(QuotaExceeded);
        }
        counts.entries += 1;
        Ok(())
    }

    pub(crate) fn leave(&self) {
        let mut counts = self.0.lock();
        counts.entries = counts.entries.saturating_sub(1);
    }

    /// Why a step that wanted to leave more has failed. One that got over it has, too: what it wrote instead must not
    /// be kept as what it writes.
    pub(crate) fn failure(&self) -> Option<Error> {
        let counts = self.0.lock();
        let OutputLimits { bytes, entries } = counts.limits;
        Some(match counts.passed? {
            PassedLimit::Bytes => {
                Error::failed(format!("the step writes more than the {} that it may leave", ByteCount(bytes)))
                    .hint("let it write less, or raise steps.output")
            }
            PassedLimit::Entries => {
                Error::failed(format!("the step makes more than the {entries} files that it may leave"))
                    .hint("pack them into one, or raise steps.output-files")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_left_is_counted_and_bounded() {
        let usage = OutputUsage::new(OutputLimits { bytes: 10, entries: 1 });
        assert_eq!(usage.grow(10), Ok(()));
        usage.shrink(4);
        assert_eq!(usage.grow(4), Ok(()));
        assert!(usage.failure().is_none());
        assert_eq!(usage.grow(1), Err(QuotaExceeded));
        assert_eq!(usage.grow(u64::MAX), Err(QuotaExceeded));
        assert_eq!(usage.enter(), Ok(()));
        assert_eq!(usage.enter(), Err(QuotaExceeded));
        usage.leave();
        assert_eq!(usage.enter(), Ok(()));
        let failure = usage.failure().unwrap();
        assert!(failure.message().contains("10 B"), "{failure}");
        assert!(failure.hint_text().unwrap().contains("steps.output"));
    }
}
