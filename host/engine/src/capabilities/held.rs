//! Streams of what the host holds for a guest until it is read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, StreamProducer, StreamResult, VecBuffer};

use crate::memory::HeldMemory;

/// Items that are handed out at once: few, since those that are no longer here are not counted.
const BATCH_ITEMS: usize = 64;

/// Items that are counted until the guest has read them, or does not want to.
pub(super) struct HeldItems<T> {
    items: std::vec::IntoIter<T>,
    #[expect(dead_code, reason = "dropped with the items, which it counts")]
    held: Arc<HeldMemory>,
}

impl<T> HeldItems<T> {
    pub(super) fn new(items: Vec<T>, held: Arc<HeldMemory>) -> Self {
        Self { items: items.into_iter(), held }
    }
}

impl<T, D> StreamProducer<D> for HeldItems<T>
where
    T: wasmtime::component::Lower + Unpin + Send + Sync + 'static,
{
    type Item = T;
    type Buffer = VecBuffer<T>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, T, VecBuffer<T>>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if self.items.as_slice().is_empty() {
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        // A read of nothing asks whether there is something.
        let wanted = destination.remaining(store).unwrap_or(BATCH_ITEMS).min(BATCH_ITEMS);
        let batch: Vec<T> = self.items.by_ref().take(wanted).collect();
        destination.set_buffer(batch.into());
        Poll::Ready(Ok(StreamResult::Completed))
    }
}
