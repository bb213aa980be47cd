//! How often it is written down that somebody was not let do something.

use std::collections::HashMap;
use std::time::Duration;

use eyot_core::{ProjectName, Timestamp};
use parking_lot::Mutex;

/// Denials that are written in one project in one minute, of those who are known and of those who are not: whoever
/// knocks without end fills no disk, and a stranger's knocking hides nobody else's.
const MAX_MINUTE_DENIAL_COUNT: u64 = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// How many denials were written lately.
#[derive(Default)]
pub(crate) struct DenialCounts(Mutex<HashMap<(ProjectName, bool), DenialCount>>);

#[derive(Default)]
struct DenialCount {
    minute: i64,
    written: u64,
    /// Not written, since the last that was.
    left_out: u64,
}

impl DenialCounts {
    /// Whether another one is written, and then how many were left out before it.
    pub(crate) fn take(&self, project: &ProjectName, is_known: bool, now: Timestamp) -> Option<u64> {
        let minute = now.0 / MINUTE.as_millis() as i64;
        let mut counts = self.0.lock();
        let count = counts.entry((project.clone(), is_known)).or_default();
        if count.minute != minute {
            (count.minute, count.written) = (minute, 0);
        }
        if count.written >= MAX_MINUTE_DENIAL_COUNT {
            count.left_out += 1;
            return None;
        }
        count.written += 1;
        Some(std::mem::take(&mut count.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_are_written_so_many_a_minute_and_the_others_are_counted() {
        let counts = DenialCounts::default();
        let (project, at) = (ProjectName::default(), |second: i64| Timestamp(second * 1000));
        let take = |is_known, second| counts.take(&project, is_known, at(second));
        for _ in 0..MAX_MINUTE_DENIAL_COUNT {
            assert_eq!(take(false, 10), Some(0));
        }
        for (is_known, second, expected) in [
            (false, 11, None),
            (false, 59, None),
            // Those who are known are counted by themselves.
            (true, 59, Some(0)),
            (false, 60, Some(2)),
            (false, 61, Some(0)),
            // A clock that goes back begins another minute.
            (false, 5, Some(0)),
        ] {
            assert_eq!(take(is_known, second), expected, "{is_known} {second}");
        }
    }
}
