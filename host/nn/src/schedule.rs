//! Who runs next: fair between models, joined where that pays. Nothing here waits, computes or looks
//! at a clock of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::{Error, Result};
use tokio::sync::oneshot;

use crate::control::Caller;
use crate::job::Job;
use crate::loaded::{ModelCall, Ran, Resident, Shared};
use crate::{Ask, Batching, batch};

/// A call that waits for a thread.
pub(crate) struct Request {
    pub(crate) resident: Arc<Resident>,
    pub(crate) call: ModelCall,
    pub(crate) size: u64,
    pub(crate) batching: Batching,
    pub(crate) ask: Ask,
    pub(crate) since: Instant,
    pub(crate) caller: Arc<Caller>,
    pub(crate) answer: oneshot::Sender<Result<Ran>>,
}

impl Request {
    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    /// `None` where it runs alone: also where it overrides a default, which stands for all rows of a run.
    fn rows(&self) -> Option<usize> {
        let alone = self.batching.max_rows <= 1 || !self.call.overrides.is_empty();
        if alone { None } else { batch::rows(&self.call.inputs) }
    }
}

/// What a thread does now.
pub(crate) enum Next {
    Job(Job),
    /// Look again at that time, or when woken.
    At(Instant),
    /// Look again when woken.
    Wait,
    Stop,
}

/// Requests by model, and how much each model has had.
pub(crate) struct Schedule {
    lanes: Vec<Lane>,
    /// Threads, those of them that compute, and requests that may wait in a lane.
    slots: usize,
    busy: usize,
    queue: usize,
    /// What the model that ran last had had: where one that had nothing to do comes in again.
    now_served: u64,
    closed: bool,
}

/// The requests for one model, the most urgent first, of equally urgent ones the oldest.
struct Lane {
    model: Arc<Shared>,
    waiting: VecDeque<Request>,
    /// Nanoseconds that were given to this model.
    served: u64,
}

/// Joining must save at least this part of the work: what is learned is not known exactly, and bytes
/// have to be moved for it.
const WORTH: f64 = 0.9;
/// One in this many times, what waits is joined although it is not thought to pay, so that a wrong
/// lesson does not last.
const RETRY: u64 = 64;
/// What a run is thought to take before one was measured.
const UNKNOWN: Duration = Duration::from_millis(1);

impl Schedule {
    pub(crate) fn new(slots: usize, queue: usize) -> Self {
        Self { lanes: Vec::new(), slots, busy: 0, queue: queue.max(1), now_served: 0, closed: false }
    }

    pub(crate) fn add(&mut self, model: &Arc<Shared>, request: Request, now: Instant) -> Result<()> {
        let lane = match self.lanes.iter().position(|lane| Arc::ptr_eq(&lane.model, model)) {
            Some(found) => &mut self.lanes[found],
            None => {
                let served = model.served().max(self.now_served);
                self.lanes.push(Lane { model: model.clone(), waiting: VecDeque::new(), served });
                let last = self.lanes.len() - 1;
                &mut self.lanes[last]
            }
        };
        if lane.waiting.len() >= self.queue {
            let before = lane.waiting.len();
            lane.waiting.retain(|request| !request.is_abandoned());
            (lane.waiting.len()..before).for_each(|_| model.count_abandoned());
        }
        if lane.waiting.len() >= self.queue {
            let waits = lane.waiting.front().map_or(Duration::ZERO, |first| now - first.since);
            let message = format!("{} inferences wait for this model already", self.queue);
            return Err(Error::exhausted(message)
                .hint(format!("the oldest waits for {} ms; try again in a moment", waits.as_millis())));
        }
        // Behind all that are as urgent or more: in their order, however many come after.
        let urgency = request.ask.priority;
        let before = lane.waiting.iter().rposition(|other| other.ask.priority <= urgency);
        lane.waiting.insert(before.map_or(0, |place| place + 1), request);
        Ok(())
    }

    pub(crate) fn waiting(&self, model: &Arc<Shared>) -> usize {
        let lane = self.lanes.iter().find(|lane| Arc::ptr_eq(&lane.model, model));
        lane.map_or(0, |lane| lane.waiting.len())
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// A job of that width is done.
    pub(crate) fn end(&mut self, width: usize) {
        self.busy = self.busy.saturating_sub(width);
    }

    /// No more: what waits is dropped, which its callers see.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.lanes.clear();
    }

    /// The turn of the model that had least, among those whose requests need not be kept back.
    pub(crate) fn next(&mut self, now: Instant) -> Next {
        if self.closed {
            return Next::Stop;
        }
        self.lanes.retain_mut(Lane::has_somebody);
        let mut earliest: Option<Instant> = None;
        let mut turn: Option<usize> = None;
        for (index, lane) in self.lanes.iter().enumerate() {
            let ready = lane.ready_at();
            if ready > now {
                earliest = Some(earliest.map_or(ready, |earliest| earliest.min(ready)));
            } else if turn.is_none_or(|turn| lane.served < self.lanes[turn].served) {
                turn = Some(index);
            }
        }
        let Some(turn) = turn else { return earliest.map_or(Next::Wait, Next::At) };
        let width = self.lanes[turn].model.width().min(self.slots);
        if self.busy > 0 && self.busy + width > self.slots {
            // Its turn it stays: were others let past, a model that needs many threads would never run.
            return Next::Wait;
        }
        self.busy += width;
        self.now_served = self.lanes[turn].served;
        Next::Job(self.lanes[turn].take(now, width))
    }
}

impl Lane {
    /// Drops those in front whose callers are gone.
    fn has_somebody(&mut self) -> bool {
        while self.waiting.front().is_some_and(Request::is_abandoned) {
            self.waiting.pop_front();
            self.model.count_abandoned();
        }
        !self.waiting.is_empty()
    }

    /// When the first of them need not wait for company any longer.
    fn ready_at(&self) -> Instant {
        let Some(first) = self.waiting.front() else { return Instant::now() };
        let delay = first.batching.max_delay;
        let keeps = !delay.is_zero() && first.rows().is_some() && self.model.gains_by_company(first.size);
        if !keeps {
            return first.since;
        }
        let rows: usize = self.waiting.iter().filter_map(Request::rows).sum();
        if rows >= first.batching.max_rows { first.since } else { first.since + delay }
    }

    /// The first request, with those that may and should run with it.
    fn take(&mut self, now: Instant, width: usize) -> Job {
        let mut chosen = self.company(now);
        let sizes: Vec<u64> =
            chosen.iter().filter_map(|at| self.waiting.get(*at)).map(|one| one.size).collect();
        chosen.truncate(self.worthwhile(&sizes));
        let mut requests: Vec<Request> =
            chosen.iter().rev().filter_map(|place| self.waiting.remove(*place)).collect();
        requests.reverse();
        let size = requests.iter().map(|request| request.size).sum();
        let cost = self.model.cost().predict(size).unwrap_or(UNKNOWN);
        let nanoseconds = u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX);
        self.served = self.served.saturating_add(nanoseconds.saturating_mul(width as u64).max(1));
        self.model.set_served(self.served);
        Job::new(self.model.clone(), requests, width)
    }

    /// Places of those that may run together with the first, itself included: alike but for their
    /// rows, together no more than any of them allows, and done before the deadline of each.
    fn company(&self, now: Instant) -> Vec<usize> {
        let mut chosen = vec![0];
        let Some(first) = self.waiting.front() else { return Vec::new() };
        let Some(mut rows) = first.rows().filter(|_| self.model.joins()) else { return chosen };
        let (mut limit, mut size, mut deadline) = (first.batching.max_rows, first.size, first.ask.deadline);
        for (place, other) in self.waiting.iter().enumerate().skip(1) {
            let Some(more) = other.rows().filter(|_| !other.is_abandoned()) else { continue };
            let within = limit.min(other.batching.max_rows);
            let ends = now + self.model.cost().predict(size + other.size).unwrap_or(UNKNOWN);
            let due = deadline.into_iter().chain(other.ask.deadline).min();
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

    /// How many of them, from the first, cost least for each when joined: one where joining does not
    /// pay.
    fn worthwhile(&self, sizes: &[u64]) -> usize {
        if sizes.len() < 2 {
            return sizes.len();
        }
        if self.model.count_choice().is_multiple_of(RETRY) {
            return sizes.len();
        }
        let cost = self.model.cost();
        let predict = |size| cost.predict(size).unwrap_or(UNKNOWN).as_secs_f64();
        let (mut total, mut alone, mut best) = (0, 0.0, (1, WORTH));
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
