//! One connection, and when it has to end.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use eyot_core::config;
use tokio::sync::Notify;

/// What is known of a connection. Times are milliseconds from its start.
pub(crate) struct ConnectionState {
    address: IpAddr,
    started: Instant,
    /// When the last request ended.
    active_millis: AtomicU64,
    /// Since when its client takes nothing of what is written; 0 while it does, or nothing is.
    blocked_millis: AtomicU64,
    /// When it was told to end; 0 before.
    leaving_millis: AtomicU64,
    has_asked: AtomicBool,
    in_flight: AtomicUsize,
    /// Of those in flight, whose answers wait to be taken; and since when none of them was asked for more.
    untaken: AtomicUsize,
    untaken_millis: AtomicU64,
    evict: Notify,
}

/// Why a connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// No whole request has ever come.
    Silent,
    /// Nothing is asked any more.
    Idle,
    /// The client takes no answer.
    Blocked,
    /// Others need its place.
    Evicted,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::Silent => "no request came within http.header-timeout",
            CloseReason::Idle => "nothing was asked within http.idle-timeout",
            CloseReason::Blocked => "nothing of an answer was taken within http.write-timeout",
            CloseReason::Evicted => "others needed its place",
        })
    }
}

impl std::error::Error for CloseReason {}

/// How long a connection that is told to end may take to bring a request that was on its way.
const GOODBYE_TIME: Duration = Duration::from_secs(5);

impl ConnectionState {
    pub(crate) fn new(address: IpAddr) -> Self {
        Self {
            address,
            started: Instant::now(),
            active_millis: AtomicU64::new(0),
            blocked_millis: AtomicU64::new(0),
            leaving_millis: AtomicU64::new(0),
            has_asked: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            untaken: AtomicUsize::new(0),
            untaken_millis: AtomicU64::new(0),
            evict: Notify::new(),
        }
    }

    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// Others need its place.
    pub(crate) fn evict(&self) {
        self.evict.notify_one();
    }

    /// Never 0, which means something else.
    fn elapsed_millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// The least goes first: who has never asked anything, then who has been idle for longest.
    pub(crate) fn idleness(&self) -> (bool, Instant) {
        let active = Duration::from_millis(self.active_millis.load(Ordering::Relaxed));
        (self.has_asked.load(Ordering::Relaxed), self.started + active)
    }

    /// Whether a request is in flight, or what was answered is not written yet.
    pub(crate) fn is_working(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0 || self.blocked_millis.load(Ordering::Relaxed) > 0
    }

    /// The client takes nothing of what is written to it.
    pub(crate) fn mark_blocked(&self) {
        let since = self.elapsed_millis();
        let _ = self.blocked_millis.compare_exchange(0, since, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Something was written.
    pub(crate) fn mark_written(&self) {
        self.blocked_millis.store(0, Ordering::Relaxed);
    }

    /// It is told to end, once what is in flight is over.
    pub(crate) fn leave(&self) {
        self.leaving_millis.store(self.elapsed_millis(), Ordering::Relaxed);
    }

    /// A request has come; it is over when what is answered is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlightRequest {
        self.has_asked.store(true, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlightRequest { connection: self.clone(), is_untaken: false }
    }

    /// Returns once it has to end.
    pub(crate) async fn overdue(&self, config: &config::HttpSettings) -> CloseReason {
        loop {
            let now = self.started.elapsed();
            let (due, why) = self.due(config, now);
            let left = due.saturating_sub(now);
            match why {
                Some(why) if left.is_zero() => return why,
                _ => {}
            }
            let is_evicted = tokio::time::timeout(left, self.evict.notified()).await.is_ok();
            // It may have been asked something since it was chosen.
            if is_evicted && !self.is_working() {
                return CloseReason::Evicted;
            }
        }
    }

    /// When to look again, and why it has to end if nothing has happened until then; times from its start.
    fn due(&self, config: &config::HttpSettings, now: Duration) -> (Duration, Option<CloseReason>) {
        let at = |millis: &AtomicU64| Duration::from_millis(millis.load(Ordering::Relaxed));
        let blocked = at(&self.blocked_millis);
        if !blocked.is_zero() {
            return (blocked + config.write_timeout.0, Some(CloseReason::Blocked));
        }
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        if in_flight > 0 {
            // Over HTTP/2 a client stops taking an answer without stopping to read the connection.
            return match self.untaken.load(Ordering::Relaxed) >= in_flight {
                true => (at(&self.untaken_millis) + config.write_timeout.0, Some(CloseReason::Blocked)),
                false => (now + config.write_timeout.0.min(config.idle_timeout.0), None),
            };
        }
        let (leaving, active) = (at(&self.leaving_millis), at(&self.active_millis));
        match self.has_asked.load(Ordering::Relaxed) {
            _ if !leaving.is_zero() => (leaving.max(active) + GOODBYE_TIME, Some(CloseReason::Idle)),
            true => (active + config.idle_timeout.0, Some(CloseReason::Idle)),
            false => (config.header_timeout.0, Some(CloseReason::Silent)),
        }
    }
}

/// A request that is worked on.
pub(crate) struct InFlightRequest {
    connection: Arc<ConnectionState>,
    is_untaken: bool,
}

impl InFlightRequest {
    /// More of the answer is asked for: what there was has been taken.
    pub(crate) fn mark_taken(&mut self) {
        if std::mem::take(&mut self.is_untaken) {
            self.connection.untaken.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A part of the answer is ready and waits to be taken.
    pub(crate) fn mark_untaken(&mut self) {
        self.connection.untaken_millis.store(self.connection.elapsed_millis(), Ordering::Relaxed);
        if !std::mem::replace(&mut self.is_untaken, true) {
            self.connection.untaken.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        self.mark_taken();
        let connection = &self.connection;
        connection.active_millis.store(connection.elapsed_millis(), Ordering::Relaxed);
        connection.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eyot_core::Period;

    #[tokio::test]
    async fn what_a_connection_is_ended_for() {
        let short = Period(Duration::from_millis(5));
        let config = config::HttpSettings {
            header_timeout: short,
            idle_timeout: short,
            write_timeout: short,
            ..config::HttpSettings::default()
        };
        let silent = ConnectionState::new(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(silent.overdue(&config).await, CloseReason::Silent);
        let idle = Arc::new(ConnectionState::new(IpAddr::from([10, 0, 0, 1])));
        drop(idle.begin());
        assert_eq!(idle.overdue(&config).await, CloseReason::Idle);
        let blocked = Arc::new(ConnectionState::new(IpAddr::from([10, 0, 0, 1])));
        let mut works = blocked.begin();
        blocked.mark_blocked();
        assert_eq!(blocked.overdue(&config).await, CloseReason::Blocked);
        blocked.mark_written();
        // However late it is.
        let goes_on = || blocked.due(&config, Duration::from_secs(3600)).1.is_none();
        assert!(goes_on(), "who works and takes the answer goes on");
        works.mark_untaken();
        assert_eq!(
            blocked.overdue(&config).await,
            CloseReason::Blocked,
            "one stream of which nothing is taken"
        );
        let other = blocked.begin();
        assert!(goes_on(), "another request is worked on");
        drop((works, other));
        blocked.mark_blocked();
        assert!(blocked.is_working(), "what was answered is not written yet");
    }
}
