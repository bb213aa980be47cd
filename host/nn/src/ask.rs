//! How a model is asked, and what comes back.

use std::time::{Duration, Instant};

use crate::NamedTensor;

/// How a call is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    /// When there must be an answer.
    pub deadline: Option<Instant>,
    pub priority: Priority,
}

/// How urgent a call is, as the Open Inference Protocol counts: 1 before 2, and so on. Calls that do not
/// say are between 9 and 11.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u32);

impl Priority {
    /// The priority of that number; 0 is as good as none.
    pub fn of(number: u32) -> Self {
        if number == 0 { Self::default() } else { Self(number) }
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(10)
    }
}

/// An answer, and what it took.
#[derive(Clone, Debug)]
pub struct Inferred {
    /// All outputs, in the signature's order.
    pub outputs: Vec<NamedTensor>,
    /// Waiting for a thread, and for others to join.
    pub queued: Duration,
    /// The run itself, of the whole batch.
    pub computed: Duration,
    /// How many calls ran together; 1 is this one alone.
    pub batch: usize,
}
