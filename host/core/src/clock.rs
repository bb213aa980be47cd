use std::fmt;
use std::sync::Mutex;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// `2026-11-23T20:21:18Z`; the bare number for a time outside of the calendar.
    pub fn to_rfc3339(self) -> String {
        let rounded = self.0.div_euclid(1000);
        jiff::Timestamp::from_second(rounded).map_or_else(|_| self.0.to_string(), |time| time.to_string())
    }
}

impl Timestamp {
    /// The time that RFC 3339 text says; none for any other text.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|time| Self(time.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Where the time comes from, so that schedules and windows are tested without waiting.
pub trait Clock: Send + Sync + 'static {
    /// The time now. Never earlier than an answer it gave before, save when the system's clock is set.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_millisecond())
    }
}

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// Moves the clock.
    pub fn advance(&self, milliseconds: i64) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0 += milliseconds;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_rfc3339() {
        assert_eq!(Timestamp(1_795_465_278_999).to_string(), "2026-11-23T20:21:18Z");
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59Z");
        assert_eq!(Timestamp(i64::MAX).to_string(), i64::MAX.to_string());
        assert_eq!(Timestamp::parse_rfc3339("2026-11-23T20:21:18Z"), Some(Timestamp(1_795_465_278_000)));
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn a_manual_clock_stands_until_it_is_moved() {
        let clock = ManualClock::default();
        assert_eq!(clock.now(), clock.now());
        clock.advance(1500);
        assert_eq!(clock.now(), Timestamp(1500));
    }
}
