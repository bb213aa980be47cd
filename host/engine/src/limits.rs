use std::time::{Duration, Instant};

use wasmtime::ResourceLimiter;

/// What one instance may use.
#[derive(Clone, Copy, Debug)]
pub struct InstanceLimits {
    /// Bytes of linear memory, summed over the memories of the instance.
    pub memory: usize,
    /// Wall time of one call.
    pub timeout: Duration,
    /// Resource handles: tensors, models, artifacts and WASI's own.
    pub handles: usize,
}

impl From<&eyot_core::config::LimitSettings> for InstanceLimits {
    fn from(limits: &eyot_core::config::LimitSettings) -> Self {
        Self { memory: bytes(limits.memory), timeout: limits.timeout.0, handles: limits.handles }
    }
}

impl From<&eyot_core::config::StepSettings> for InstanceLimits {
    fn from(limits: &eyot_core::config::StepSettings) -> Self {
        Self { memory: bytes(limits.memory), timeout: limits.timeout.0, handles: limits.handles }
    }
}

fn bytes(count: eyot_core::ByteCount) -> usize {
    usize::try_from(count.0).unwrap_or(usize::MAX)
}

/// Elements of all tables of an instance together: far above what a compiler emits, far below what
/// would hurt.
const MAX_TABLE_ELEMENTS: usize = 1_000_000;
/// Core instances of one component, and also memories and tables: adapters and composed components have some.
const MAX_CORE_INSTANCES: usize = 200;

/// Counts what an instance takes. Growth beyond the limit is refused, which guests see as a failed
/// `memory.grow`; that it happened is kept, so that the trap which usually follows can be explained.
pub(crate) struct ResourceMeter {
    pub(crate) memory_limit: usize,
    memory: usize,
    table_elements: usize,
    /// The last growth that was refused, unless it grew by as much after that.
    pub(crate) refused: Option<RefusedGrowth>,
}

/// A growth of memory beyond the limit.
pub(crate) struct RefusedGrowth {
    /// What it would have had in all, and how much of that was the growth.
    pub(crate) wanted_bytes: usize,
    lacked_bytes: usize,
    pub(crate) at: Instant,
}

impl ResourceMeter {
    pub(crate) fn new(limits: &InstanceLimits) -> Self {
        Self { memory_limit: limits.memory, memory: 0, table_elements: 0, refused: None }
    }

    /// A new call begins, whose end has nothing to do with what an earlier one lacked.
    pub(crate) fn begin(&mut self) {
        self.refused = None;
    }
}

impl ResourceLimiter for ResourceMeter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        let allowed = total <= self.memory_limit && maximum.is_none_or(|maximum| desired <= maximum);
        if allowed {
            // It got what it lacked.
            let grown = total - self.memory;
            self.refused = self.refused.take().filter(|refusal| grown < refusal.lacked_bytes);
            self.memory = total;
        } else {
            let lacked_bytes = desired.saturating_sub(current);
            self.refused = Some(RefusedGrowth { wanted_bytes: total, lacked_bytes, at: Instant::now() });
        }
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        let allowed = total <= MAX_TABLE_ELEMENTS && maximum.is_none_or(|maximum| desired <= maximum);
        if allowed {
            self.table_elements = total;
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_CORE_INSTANCES
    }
}
