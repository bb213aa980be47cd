//! The monotonic clock of steps: a function of what the step does, and of nothing else.
//!
//! It is not zero, which the runtime of Go takes for a clock that is broken; it moves on with each reading, and when it
//! is asked once more whether a time has come, so that who waits in a loop comes to an end; and who sleeps wakes up at
//! once, at the time for which it asked.

mod linking;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;
use wasmtime_wasi::HostMonotonicClock;
use wasmtime_wasi::p2::Pollable;

pub(crate) use linking::link;

/// What the first reading says, in nanoseconds.
const FIRST_NANOSECONDS: u64 = 1_000_000_000;
/// What passes with each reading.
const READING_NANOSECONDS: u64 = 1_000;

/// The time of one step. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct StepClock(Arc<Mutex<ClockState>>);

#[derive(Debug)]
struct ClockState {
    now: u64,
    /// The times that are waited for, with the number of waiters.
    awaited: BTreeMap<u64, usize>,
}

impl Default for StepClock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(ClockState { now: FIRST_NANOSECONDS, awaited: BTreeMap::new() })))
    }
}

impl StepClock {
    fn after(&self, nanoseconds: u64) -> u64 {
        self.0.lock().now.saturating_add(nanoseconds)
    }

    /// Waits until it is `when`; who asks for what is over already waits for nothing. Of those who wait at the same time,
    /// the one who waits for the earliest wakes up.
    async fn wait_until(&self, when: u64) {
        if self.after(0) >= when {
            return;
        }
        let awaited = ClockWaiter::new(self.clone(), when);
        // So that all who wait together are known before any of them wakes up.
        tokio::task::yield_now().await;
        std::future::poll_fn(|_| match self.earliest() {
            Some(earliest) if earliest < when => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
        let mut time = self.0.lock();
        time.now = time.now.max(when);
        drop(time);
        drop(awaited);
    }

    fn earliest(&self) -> Option<u64> {
        self.0.lock().awaited.keys().next().copied()
    }
}

impl HostMonotonicClock for StepClock {
    fn resolution(&self) -> u64 {
        READING_NANOSECONDS
    }

    fn now(&self) -> u64 {
        let mut time = self.0.lock();
        let now = time.now;
        time.now = now.saturating_add(READING_NANOSECONDS);
        now
    }
}

/// A waiter, registered until this is dropped.
struct ClockWaiter {
    clock: StepClock,
    when: u64,
}

impl ClockWaiter {
    fn new(clock: StepClock, when: u64) -> Self {
        *clock.0.lock().awaited.entry(when).or_default() += 1;
        Self { clock, when }
    }
}

impl Drop for ClockWaiter {
    fn drop(&mut self) {
        let mut time = self.clock.0.lock();
        if let Some(count) = time.awaited.get_mut(&self.when) {
            *count -= 1;
            if *count == 0 {
                time.awaited.remove(&self.when);
            }
        }
    }
}

/// What a step waits on that sleeps.
struct StepTimer {
    clock: StepClock,
    when: u64,
    /// Whether it was polled before its time had come.
    asked: bool,
}

#[wasmtime_wasi::async_trait]
impl Pollable for StepTimer {
    async fn ready(&mut self) {
        // Who asks again reads the clock: else a loop that asks and does nothing beside would have no end.
        if self.asked {
            self.clock.now();
        }
        self.asked = true;
        self.clock.wait_until(self.when).await;
        self.asked = false;
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn time_is_what_the_step_makes_of_it() {
        let clock = StepClock::default();
        assert_eq!([clock.now(), clock.now()], [1_000_000_000, 1_000_001_000]);
        clock.wait_until(5_000_000_000).await;
        assert_eq!(clock.now(), 5_000_000_000);
        // One that is over already wakes up at once, and turns nothing back.
        clock.wait_until(0).await;
        assert!(clock.now() > 5_000_000_000);
    }

    #[test]
    fn who_asks_for_what_is_over_is_answered_at_once_and_who_asks_again_and_again_at_last() {
        let clock = StepClock::default();
        let mut context = Context::from_waker(Waker::noop());
        assert!(std::pin::pin!(clock.wait_until(0)).poll(&mut context).is_ready());
        assert!(std::pin::pin!(clock.wait_until(FIRST_NANOSECONDS)).poll(&mut context).is_ready());
        let when = clock.after(10 * READING_NANOSECONDS);
        let mut timer = StepTimer { clock: clock.clone(), when, asked: false };
        let refused = (0..100).take_while(|_| timer.ready().as_mut().poll(&mut context).is_pending()).count();
        assert_eq!((refused, clock.earliest()), (10, None), "a reading for each question but the first");
    }

    #[tokio::test]
    async fn who_waits_for_the_earliest_wakes_up_first() {
        let clock = StepClock::default();
        let (late, early) = (clock.after(u64::MAX), clock.after(10));
        tokio::select! {
            biased;
            () = clock.wait_until(late) => panic!("it is not that late"),
            () = clock.wait_until(early) => {}
        }
        assert_eq!(clock.now(), early);
        assert_eq!(clock.earliest(), None, "nobody waits any more");
    }
}
