//! Which call runs next: fair between models, batched where that pays. Nothing here waits, computes or reads
//! a clock of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::{Error, Result};

use crate::batch;
use crate::job::InferenceJob;
use crate::model_state::ModelState;
use crate::request::QueuedCall;

/// What a thread does now.
pub(crate) enum NextAction {
    Job(InferenceJob),
    /// Look again at that time, or when woken.
    At(Instant),
    /// Look again when woken.
    Wait,
    Stop,
}

/// Requests by model, and how much each model has had.
pub(crate) struct InferenceSchedule {
    queues: Vec<ModelQueue>,
    /// Threads, those of them that compute, and calls that may wait for one model.
    slots: usize,
    busy: usize,
    max_waiting: usize,
    /// What the model that ran last had had: where one that had nothing to do comes in again.
    now_served: u64,
    closed: bool,
}

/// The requests for one model, the most urgent first, of equally urgent ones the oldest.
struct ModelQueue {
    model: Arc<ModelState>,
    waiting: VecDeque<QueuedCall>,
    /// Nanoseconds that were given to this model.
    served: u64,
}

/// A batch may cost at most this share of its calls run alone: learned costs are not exact, and batching moves bytes.
const MAX_COST_RATIO: f64 = 0.9;
/// One in this many decisions batches all candidates although it is not expected to pay, so that a wrong estimate
/// does not last.
const RETRY_INTERVAL: u64 = 64;
/// The estimated time of a run before one was measured.
const DEFAULT_RUN_TIME: Duration = Duration::from_millis(1);

impl InferenceSchedule {
    pub(crate) fn new(slots: usize, max_waiting: usize) -> Self {
        Self {
            queues: Vec::new(),
            slots,
            busy: 0,
            max_waiting: max_waiting.max(1),
            now_served: 0,
            closed: false,
        }
    }

    pub(crate) fn add(&mut self, model: &Arc<ModelState>, request: QueuedCall, now: Instant) -> Result<()> {
        let queue = match self.queues.iter().position(|queue| Arc::ptr_eq(&queue.model, model)) {
            Some(found) => &mut self.queues[found],
            None => {
                let served = model.served().max(self.now_served);
                self.queues.push(ModelQueue { model: model.clone(), waiting: VecDeque::new(), served });
                let last = self.queues.len() - 1;
                &mut self.queues[last]
            }
        };
        if queue.waiting.len() >= self.max_waiting {
            let before = queue.waiting.len();
            queue.waiting.retain(|request| !request.is_abandoned());
            (queue.waiting.len()..before).for_each(|_| model.count_abandoned());
        }
        if queue.waiting.len() >= self.max_waiting {
            let waits = queue.waiting.front().map_or(Duration::ZERO, |first| now - first.since);
            let message = format!("{} inferences wait for this model already", self.max_waiting);
            return Err(Error::exhausted(message)
                .hint(format!("the oldest waits for {} ms; try again in a moment", waits.as_millis())));
        }
        // Behind all that are as urgent or more: in their order, however many come after.
        let urgency = request.options.priority;
        let before = queue.waiting.iter().rposition(|other| other.options.priority <= urgency);
        queue.waiting.insert(before.map_or(0, |place| place + 1), request);
        Ok(())
    }

    pub(crate) fn waiting(&self, model: &Arc<ModelState>) -> usize {
        let queue = self.queues.iter().find(|queue| Arc::ptr_eq(&queue.model, model));
        queue.map_or(0, |queue| queue.waiting.len())
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.queues.is_empty()
    }

    /// A job of that width is done.
    pub(crate) fn end(&mut self, width: usize) {
        self.busy = self.busy.saturating_sub(width);
    }

    /// No more: what waits is dropped, which its callers see.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.queues.clear();
    }

    /// The turn of the model that had least, among those whose requests need not be kept back.
    pub(crate) fn next(&mut self, now: Instant) -> NextAction {
        if self.closed {
            return NextAction::Stop;
        }
        self.queues.retain_mut(ModelQueue::has_somebody);
        let mut earliest: Option<Instant> = None;
        let mut turn: Option<usize> = None;
        for (index, queue) in self.queues.iter().enumerate() {
            let ready = queue.ready_at(now);
            if ready > now {
                earliest = Some(earliest.map_or(ready, |earliest| earliest.min(ready)));
            } else if turn.is_none_or(|turn| queue.served < self.queues[turn].served) {
                turn = Some(index);
            }
        }
        let Some(turn) = turn else { return earliest.map_or(NextAction::Wait, NextAction::At) };
        let width = self.queues[turn].model.width().min(self.slots);
        if self.busy > 0 && self.busy + width > self.slots {
            // Its turn it stays: were others let past, a model that needs many threads would never run.
            return NextAction::Wait;
        }
        self.busy += width;
        self.now_served = self.queues[turn].served;
        NextAction::Job(self.queues[turn].take(now, width))
    }
}

impl ModelQueue {
    /// Drops those in front whose callers are gone.
    fn has_somebody(&mut self) -> bool {
        while self.waiting.front().is_some_and(QueuedCall::is_abandoned) {
            self.waiting.pop_front();
            self.model.count_abandoned();
        }
        !self.waiting.is_empty()
    }

    /// When the first of them need not wait for batch candidates any longer.
    fn ready_at(&self, now: Instant) -> Instant {
        let Some(first) = self.waiting.front() else { return now };
        let delay = first.batching.max_delay;
        let keeps = !delay.is_zero() && first.rows().is_some() && self.model.gains_from_batching(first.size);
        if !keeps {
            return first.since;
        }
        let rows: usize = self.waiting.iter().filter_map(QueuedCall::rows).sum();
        if rows >= first.batching.max_rows { first.since } else { first.since + delay }
    }

    /// The first request, with those that may and should run with it.
    fn take(&mut self, now: Instant, width: usize) -> InferenceJob {
        let mut chosen = self.batch_candidates(now);
        let sizes: Vec<u64> =
            chosen.iter().filter_map(|at| self.waiting.get(*at)).map(|one| one.size).collect();
        chosen.truncate(self.best_batch_size(&sizes));
        let mut requests: Vec<QueuedCall> =
            chosen.iter().rev().filter_map(|place| self.waiting.remove(*place)).collect();
        requests.reverse();
        let size = requests.iter().map(|request| request.size).sum();
        let cost = self.model.cost().predict(size).unwrap_or(DEFAULT_RUN_TIME);
        let nanoseconds = u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX);
        self.served = self.served.saturating_add(nanoseconds.saturating_mul(width as u64).max(1));
        self.model.set_served(self.served);
        InferenceJob::new(self.model.clone(), requests, width)
    }

    /// Places of the calls that may be batched with the first, itself included: alike but for their
    /// rows, together no more than any of them allows, and done before the deadline of each.
    fn batch_candidates(&self, now: Instant) -> Vec<usize> {
        let mut chosen = vec![0];
        let Some(first) = self.waiting.front() else { return Vec::new() };
        let Some(mut rows) = first.rows().filter(|_| self.model.is_batchable()) else { return chosen };
        let (mut limit, mut size, mut deadline) =
            (first.batching.max_rows, first.size, first.options.deadline);
        for (place, other) in self.waiting.iter().enumerate().skip(1) {
            let Some(more) = other.rows().filter(|_| !other.is_abandoned()) else { continue };
            let within = limit.min(other.batching.max_rows);
            let ends = now + self.model.cost().predict(size + other.size).unwrap_or(DEFAULT_RUN_TIME);
            let due = deadline.into_iter().chain(other.options.deadline).min();
            if rows + more > within
                || due.is_some_and(|due| due < ends)
                || !batch::fit(&first.call.inputs, &other.call.inputs)
            {
                continue;
            }
            (rows, limit, size, deadline) = (rows + more, within, size + other.size, due);
            chosen.push(place);
            if rows >= limit {
                break;
            }
        }
        chosen
    }

    /// The size of the batch, from the first candidate, that costs least for each call: one where batching does not
    /// pay.
    fn best_batch_size(&self, sizes: &[u64]) -> usize {
        if sizes.len() < 2 {
            return sizes.len();
        }
        if self.model.count_choice().is_multiple_of(RETRY_INTERVAL) {
            return sizes.len();
        }
        let cost = self.model.cost();
        let predict = |size| cost.predict(size).unwrap_or(DEFAULT_RUN_TIME).as_secs_f64();
        let (mut total, mut alone, mut best) = (0, 0.0, (1, MAX_COST_RATIO));
        for (index, size) in sizes.iter().enumerate() {
            total += size;
            alone += predict(*size);
            let part = predict(total) / alone;
            if index > 0 && part <= best.1 {
                best = (index + 1, part);
            }
        }
        best.0
    }
}

#[cfg(test)]
mod tests;
