#![allow(clippy::unwrap_used)]

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use eyot_core::ErrorKind;
use tokio::sync::oneshot;

use super::*;
use crate::fake::{Fake, shared, threads};
use crate::loaded::LoadedModel;
use crate::request::{CompletedRun, ModelCall};
use crate::{BatchingPolicy, InferOptions, Tensor};

const MILLISECOND: Duration = Duration::from_millis(1);

/// A model whose run of `n` elements takes `run + n · element` microseconds.
fn model(run: u64, element: u64) -> Arc<ModelState> {
    let model = shared(Fake::doubling(), 1);
    for size in [1, 2, 4, 8, 16, 32] {
        model.cost().note(size, Duration::from_micros(run + element * size));
    }
    model
}

struct Waiting {
    schedule: InferenceSchedule,
    now: Instant,
    answers: Vec<oneshot::Receiver<Result<CompletedRun>>>,
}

impl Waiting {
    fn new(slots: usize, queue: usize) -> Self {
        Self { schedule: InferenceSchedule::new(slots, queue), now: Instant::now(), answers: Vec::new() }
    }

    fn add(&mut self, model: &Arc<ModelState>, rows: usize) -> Result<()> {
        self.add_with(model, rows, BatchingPolicy::default(), None)
    }

    fn add_with(
        &mut self,
        model: &Arc<ModelState>,
        rows: usize,
        batching: BatchingPolicy,
        deadline: Option<Duration>,
    ) -> Result<()> {
        let (answer, receiver) = oneshot::channel();
        self.answers.push(receiver);
        let inputs = vec![Tensor::of(vec![rows, 1], &vec![1_f32; rows]).unwrap()];
        let request = QueuedCall {
            resident: model.resident().unwrap(),
            size: batch::size(&inputs),
            call: ModelCall { inputs, overrides: Vec::new() },
            batching,
            options: InferOptions {
                deadline: deadline.map(|deadline| self.now + deadline),
                ..InferOptions::default()
            },
            since: self.now,
            caller: Arc::default(),
            answer,
        };
        self.schedule.add(model, request, self.now)
    }

    /// How many requests each job has that can start now.
    fn jobs(&mut self) -> Vec<usize> {
        let mut jobs = Vec::new();
        while let NextAction::Job(job) = self.schedule.next(self.now) {
            self.schedule.end(job.width());
            jobs.push(job.len());
        }
        jobs
    }
}

#[test]
fn what_waits_is_joined_where_that_pays() {
    let limited = |max_rows| BatchingPolicy { max_rows, ..BatchingPolicy::default() };
    for (name, model, batching, rows, expected) in [
        ("a run costs much, a row little", model(1000, 10), limited(32), vec![1; 8], vec![8]),
        ("no more than are allowed", model(1000, 10), limited(3), vec![1; 8], vec![3, 3, 2]),
        ("rows count, not requests", model(1000, 10), limited(4), vec![3, 3, 1, 1], vec![2, 2]),
        ("a row costs as much alone", model(0, 1000), limited(32), vec![1; 3], vec![1; 3]),
        ("little is saved", model(50, 1000), limited(32), vec![1; 3], vec![1; 3]),
        ("nobody wants it", model(1000, 10), BatchingPolicy::OFF, vec![1; 3], vec![1; 3]),
        ("nothing has no rows", model(1000, 10), limited(32), vec![0, 1, 0, 1], vec![1, 2, 1]),
    ] {
        let mut waiting = Waiting::new(1, 100);
        for rows in rows {
            waiting.add_with(&model, rows, batching, None).unwrap();
        }
        assert_eq!(waiting.jobs(), expected, "{name}");
    }
}

#[test]
fn a_batch_keeps_to_what_each_of_its_members_allows() {
    let model = model(1000, 10);
    let mut waiting = Waiting::new(1, 100);
    waiting.add(&model, 1).unwrap();
    waiting.add_with(&model, 1, BatchingPolicy::OFF, None).unwrap();
    waiting.add_with(&model, 1, BatchingPolicy { max_rows: 2, ..BatchingPolicy::default() }, None).unwrap();
    waiting.add(&model, 1).unwrap();
    assert_eq!(waiting.jobs(), [2, 1, 1]);
}

#[test]
fn nobody_misses_a_deadline_for_company() {
    let model = model(1000, 1000);
    let mut waiting = Waiting::new(1, 100);
    waiting.add_with(&model, 1, BatchingPolicy::default(), Some(3 * MILLISECOND)).unwrap();
    for _ in 0..4 {
        waiting.add(&model, 1).unwrap();
    }
    assert_eq!(waiting.jobs(), [2, 3]);
}

#[test]
fn a_delay_ends_when_the_batch_is_full_or_the_time_is_up() {
    let model = model(1000, 10);
    let batching = BatchingPolicy { max_rows: 2, max_delay: MILLISECOND };
    let mut waiting = Waiting::new(1, 100);
    waiting.add_with(&model, 1, batching, None).unwrap();
    assert!(
        matches!(waiting.schedule.next(waiting.now), NextAction::At(at) if at == waiting.now + MILLISECOND)
    );
    waiting.add_with(&model, 1, batching, None).unwrap();
    assert_eq!(waiting.jobs(), [2]);
    waiting.add_with(&model, 1, batching, None).unwrap();
    assert_eq!(waiting.jobs(), [0; 0]);
    waiting.now += MILLISECOND;
    assert_eq!(waiting.jobs(), [1]);
    // Where company would not help, nobody is kept back for it.
    let dear = self::model(0, 1000);
    waiting.add_with(&dear, 1, batching, None).unwrap();
    assert_eq!(waiting.jobs(), [1]);
}

#[test]
fn models_get_equal_time_however_many_wait_for_them() {
    let (slow, fast, late) = (model(10_000, 0), model(1000, 0), model(1000, 0));
    let mut waiting = Waiting::new(1, 1000);
    for _ in 0..1000 {
        waiting.add_with(&slow, 1, BatchingPolicy::OFF, None).unwrap();
        waiting.add_with(&fast, 1, BatchingPolicy::OFF, None).unwrap();
    }
    let turn = |waiting: &mut Waiting| {
        let NextAction::Job(job) = waiting.schedule.next(waiting.now) else { panic!("nothing waits") };
        waiting.schedule.end(job.width());
        job.model().clone()
    };
    let turns: Vec<_> = (0..110).map(|_| turn(&mut waiting)).collect();
    let slow_turns = turns.iter().filter(|model| Arc::ptr_eq(model, &slow)).count();
    assert!((9..=11).contains(&slow_turns), "{slow_turns} of 110");
    // Whoever comes later neither waits for all of them nor has all the time that it did not use.
    for _ in 0..20 {
        waiting.add_with(&late, 1, BatchingPolicy::OFF, None).unwrap();
    }
    let turns: Vec<_> = (0..24).map(|_| turn(&mut waiting)).collect();
    let late_turns = turns.iter().filter(|model| Arc::ptr_eq(model, &late)).count();
    assert!((8..=14).contains(&late_turns), "{late_turns} of 24");
}

#[test]
fn a_run_of_many_threads_waits_for_them_and_is_not_passed() {
    let (wide, narrow) = (shared(Fake::doubling(), 2), model(1000, 0));
    let mut waiting = Waiting::new(2, 10);
    waiting.add(&narrow, 1).unwrap();
    let NextAction::Job(first) = waiting.schedule.next(waiting.now) else { panic!("nothing waits") };
    waiting.add(&wide, 1).unwrap();
    waiting.add(&narrow, 1).unwrap();
    assert!(matches!(waiting.schedule.next(waiting.now), NextAction::Wait));
    waiting.schedule.end(first.width());
    let NextAction::Job(second) = waiting.schedule.next(waiting.now) else { panic!("nothing waits") };
    assert!(Arc::ptr_eq(second.model(), &wide) && second.width() == 2);
}

#[test]
fn a_full_queue_refuses_but_does_not_count_those_who_left() {
    let model = model(1000, 10);
    let mut waiting = Waiting::new(1, 2);
    waiting.add(&model, 1).unwrap();
    waiting.add(&model, 1).unwrap();
    assert_eq!(waiting.add(&model, 1).unwrap_err().kind(), ErrorKind::Exhausted);
    waiting.answers.remove(0);
    waiting.add(&model, 1).unwrap();
    waiting.answers.clear();
    assert_eq!(waiting.jobs(), [0; 0]);
    assert_eq!((model.stats(0).abandoned, waiting.schedule.waiting(&model)), (3, 0));
}

/// Polls once; whether it was ready.
async fn poll_once<T>(future: &mut Pin<Box<impl Future<Output = T>>>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await
}

#[tokio::test]
async fn who_leaves_before_its_turn_never_runs_and_who_stays_has_a_deadline() {
    let (fake, gate) = Fake::gated();
    let shared = shared(fake, 1);
    shared.cost().note(1, MILLISECOND);
    let model = LoadedModel::new(shared, threads(), BatchingPolicy::OFF);
    let mut first = Box::pin(model.infer(Fake::input(1.0), InferOptions::default()));
    assert!(!poll_once(&mut first).await);
    gate.entered().await;
    // The only thread is inside of the first; these wait.
    let (mut leaves, mut stays) = (
        Box::pin(model.infer(Fake::input(2.0), InferOptions::default())),
        Box::pin(model.infer(Fake::input(3.0), InferOptions::default())),
    );
    assert!(!poll_once(&mut leaves).await && !poll_once(&mut stays).await);
    let late = model
        .infer(
            Fake::input(4.0),
            InferOptions { deadline: Some(Instant::now() + MILLISECOND), ..InferOptions::default() },
        )
        .await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
    drop(leaves);
    gate.open();
    assert_eq!(first.await.unwrap().outputs[0].tensor.to_vec::<f32>().unwrap(), [2.0]);
    assert_eq!(stays.await.unwrap().outputs[0].tensor.to_vec::<f32>().unwrap(), [6.0]);
    assert_eq!(gate.seen(), [1.0, 3.0]);
    // Whoever comes behind the last one that stayed is passed over a moment after that one's answer.
    while model.stats().abandoned < 2 {
        tokio::task::yield_now().await;
    }
    let stats = model.stats();
    assert_eq!((stats.inferences, stats.abandoned), (2, 2));
}

#[tokio::test]
async fn what_waits_behind_a_run_is_answered_as_one() {
    let (fake, gate) = Fake::gated();
    let shared = shared(fake, 1);
    for size in [1, 32] {
        shared.cost().note(size, MILLISECOND);
    }
    let model = LoadedModel::new(shared, threads(), BatchingPolicy::default());
    let infer = |value: usize| Box::pin(model.infer(Fake::input(value as f32), InferOptions::default()));
    let mut first = infer(0);
    assert!(!poll_once(&mut first).await);
    gate.entered().await;
    let mut waiting: Vec<_> = (1..=20).map(infer).collect();
    for call in &mut waiting {
        assert!(!poll_once(call).await);
    }
    gate.open();
    assert_eq!(first.await.unwrap().batch_size, 1);
    for (value, call) in (1..=20).zip(waiting) {
        let inferred = call.await.unwrap();
        assert_eq!(inferred.outputs[0].tensor.to_vec::<f32>().unwrap(), [2.0 * value as f32]);
        assert_eq!((inferred.outputs[0].tensor.shape(), inferred.batch_size), (&[1, 1][..], 20));
    }
    let stats = model.stats();
    assert_eq!((stats.inferences, stats.batches, stats.batched), (2, 1, 20));
}

#[tokio::test]
async fn a_model_that_panics_takes_no_thread_with_it() {
    let model = LoadedModel::new(shared(Fake::panicking(), 1), threads(), BatchingPolicy::OFF);
    for _ in 0..3 {
        assert_eq!(
            model.infer(Fake::input(1.0), InferOptions::default()).await.unwrap_err().kind(),
            ErrorKind::Failed
        );
    }
}

#[test]
fn the_urgent_run_first_and_equals_in_their_order() {
    let model = model(100, 0);
    let mut waiting = Waiting::new(1, 10);
    for (rows, priority) in [(1, 0), (2, 11), (3, 1), (4, 10), (5, 1)] {
        let (answer, receiver) = oneshot::channel();
        waiting.answers.push(receiver);
        let inputs = vec![Tensor::of(vec![rows, 1], &vec![1_f32; rows]).unwrap()];
        let request = QueuedCall {
            resident: model.resident().unwrap(),
            size: batch::size(&inputs),
            call: ModelCall { inputs, overrides: Vec::new() },
            batching: BatchingPolicy::OFF,
            options: InferOptions { deadline: None, priority: crate::RequestPriority::of(priority) },
            since: waiting.now,
            caller: Arc::default(),
            answer,
        };
        waiting.schedule.add(&model, request, waiting.now).unwrap();
    }
    let mut order = Vec::new();
    while let NextAction::Job(job) = waiting.schedule.next(waiting.now) {
        order.push(job.rows());
        waiting.schedule.end(job.width());
    }
    assert_eq!(order, [3, 5, 1, 4, 2]);
}
