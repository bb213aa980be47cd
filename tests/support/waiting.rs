//! Waiting for what a test cannot be told of.

use std::time::{Duration, Instant};

/// Nothing that a test waits for takes this long, on however slow a machine.
const LONGEST: Duration = Duration::from_secs(120);

/// Looks again and again until something is so.
///
/// # Panics
/// When it never is.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, || is_so().then_some(()));
}

/// Looks again and again until there is something.
///
/// # Panics
/// When there never is.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < LONGEST, "{what}: not within {} s", LONGEST.as_secs());
        std::thread::yield_now();
    }
}
