//! The options of an inference, and its result.

use std::time::{Duration, Instant};

use crate::NamedTensor;

/// The options of one inference.
#[derive(Clone, Copy, Debug, Default)]
pub struct InferOptions {
    /// When there must be an answer.
    pub deadline: Option<Instant>,
    pub priority: RequestPriority,
}

/// How urgent a call is, as the Open Inference Protocol counts: 1 before 2, and so on. Calls that do not
/// say are between 9 and 11.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestPriority(u32);

impl RequestPriority {
    /// The priority of that number; 0 is as good as none.
    pub fn of(number: u32) -> Self {
        if number == 0 { Self::default() } else { Self(number) }
    }
}

impl Default for RequestPriority {
    fn default() -> Self {
        Self(10)
    }
}

/// The outputs of an inference, and what it took.
#[derive(Clone, Debug)]
pub struct InferenceResult {
    /// All outputs, in the signature's order.
    pub outputs: Vec<NamedTensor>,
    /// Time spent waiting for a thread, and for other calls of the same batch.
    pub queue_time: Duration,
    /// Time of the run itself, of the whole batch.
    pub compute_time: Duration,
    /// The number of calls in the batch; 1 is this one alone.
    pub batch_size: usize,
}
