//! The world as a step sees it: no clock that the host moves, no chance, no network, no files.

use std::time::{Duration, SystemTime};

use rand::SeedableRng as _;
use wasmtime_wasi::{HostWallClock, WasiCtxBuilder};

use crate::step_clock::StepClock;

/// 2000-01-01T00:00:00Z. Not 1970: a zero time reads as "unset" to much software, and zip cannot
/// hold a year before 1980.
pub(crate) const EPOCH: Duration = Duration::from_secs(946_684_800);

/// The wall clock of steps: it stands.
struct FrozenClock;

impl HostWallClock for FrozenClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        EPOCH
    }
}

/// The host's clock, for components that serve. wasmtime's own panics before 1970, where a machine without a battery
/// may well be when it starts.
pub(crate) struct HostClock;

impl HostWallClock for HostClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        since_epoch(SystemTime::now())
    }
}

/// WASI has no time before 1970: it is 1970 until then.
fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Takes clocks and chance out of a WASI context. `seed` comes from the cache key, so that equal
/// steps draw equal numbers and different steps different ones.
pub(crate) fn make_deterministic(builder: &mut WasiCtxBuilder, seed: &[u8; 32], clock: StepClock) {
    let stream = |tag: u8| {
        let mut bytes = *seed;
        bytes[31] ^= tag;
        rand::rngs::ChaCha20Rng::from_seed(bytes)
    };
    let mut insecure_seed = [0; 16];
    insecure_seed.copy_from_slice(&seed[..16]);
    builder
        .wall_clock(FrozenClock)
        .monotonic_clock(clock)
        .secure_random(stream(0))
        .insecure_random(stream(1))
        .insecure_random_seed(u128::from_le_bytes(insecure_seed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_1970_is_1970() {
        let day = Duration::from_secs(86_400);
        assert_eq!(since_epoch(SystemTime::UNIX_EPOCH - day), Duration::ZERO);
        assert_eq!(since_epoch(SystemTime::UNIX_EPOCH + day), day);
    }
}
