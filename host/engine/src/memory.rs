//! Memory that the host spends for a guest, counted against that guest's limit.
//!
//! What a guest has in its own linear memory is wasmtime's to count. This counts what lies beside it: answers that
//! are being built, tensors and values behind handles, streams that the guest has not read yet. Both have the same
//! limit, so that an instance never costs more than twice of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eyot_core::{ByteCount, Error, Result};

/// The account of one instance. Clones share it.
#[derive(Clone, Debug)]
pub struct HostMemory(Arc<MemoryAccount>);

#[derive(Debug)]
struct MemoryAccount {
    limit_bytes: usize,
    held_bytes: AtomicUsize,
}

impl HostMemory {
    /// An account for no more than that.
    pub fn new(limit_bytes: usize) -> Self {
        Self(Arc::new(MemoryAccount { limit_bytes, held_bytes: AtomicUsize::new(0) }))
    }

    /// Bytes that are held now.
    pub fn held_bytes(&self) -> usize {
        self.0.held_bytes.load(Ordering::Relaxed)
    }

    /// A part of it, which begins with nothing.
    pub fn open(&self) -> HeldMemory {
        HeldMemory { account: self.clone(), bytes: AtomicUsize::new(0) }
    }

    /// A part of it, of so many bytes.
    ///
    /// Fails with `TooLarge` where the limit does not allow for them.
    pub fn hold(&self, bytes: usize) -> Result<HeldMemory> {
        let held = self.open();
        held.grow(bytes).map(|()| held)
    }
}

/// Bytes that are counted until this is dropped.
#[derive(Debug)]
pub struct HeldMemory {
    account: HostMemory,
    bytes: AtomicUsize,
}

impl HeldMemory {
    /// Counts so many more.
    ///
    /// Fails with `TooLarge` where the limit does not allow for them; nothing is counted then.
    pub fn grow(&self, bytes: usize) -> Result<()> {
        let MemoryAccount { limit_bytes, held_bytes } = &*self.account.0;
        let grown = |held: usize| held.checked_add(bytes).filter(|sum| sum <= limit_bytes);
        match held_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(_) => {
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                Ok(())
            }
            Err(held) => {
                let limit = ByteCount(*limit_bytes as u64);
                let wanted = ByteCount(held.saturating_add(bytes) as u64);
                Err(Error::too_large(format!(
                    "the host would hold {wanted} for this component, more than its limit of {limit}"
                ))
                .hint("ask for less at once, drop what is not needed any more, or raise handlers.memory"))
            }
        }
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.account.0.held_bytes.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_core::ErrorKind;

    use super::*;

    #[test]
    fn what_is_held_is_counted_until_it_is_dropped() {
        let memory = HostMemory::new(100);
        let (one, other) = (memory.hold(60).unwrap(), memory.open());
        assert_eq!(other.grow(41).unwrap_err().kind(), ErrorKind::TooLarge);
        assert!(other.grow(usize::MAX).is_err());
        other.grow(40).unwrap();
        assert_eq!(memory.held_bytes(), 100);
        drop(one);
        assert_eq!(memory.held_bytes(), 40);
        other.grow(60).unwrap();
        drop(other);
        assert_eq!(memory.held_bytes(), 0);
    }
}
