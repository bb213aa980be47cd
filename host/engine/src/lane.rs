//! Where guests go on that compute for long, so that nobody who asks for little waits for them.
//!
//! A guest starts within the task that asked for it. One that has held its thread for [`LONG`] without waiting
//! for anything is moved to threads of a lower priority, as many as there are processors, which share them
//! among such guests.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use eyot_nn::thread_time;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;

/// How long a guest may compute on a thread on which others wait for theirs.
const LONG: Duration = Duration::from_millis(1);

/// For whom threads are, of those that stand back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Who computes for long.
    Long,
    /// Who is expected to fail, since many calls did. It is kept apart because Linux lets a thread that has
    /// just woken up compute for a while before another may have its processor, however nice it is, and faults
    /// are short work that wakes up for each; only a thread that is content with what all others leave gives way
    /// at once.
    Unruly,
}

impl Class {
    const ALL: [Class; 2] = [Class::Long, Class::Unruly];

    /// Lets others go before the thread that calls this. Where there is too little for all, those for long work
    /// get a tenth of what others get, by the weights of Linux (sched(7)).
    #[cfg(target_os = "linux")]
    fn step_back(self) -> std::io::Result<()> {
        match self {
            Class::Long => Ok(rustix::process::nice(10).map(drop)?),
            Class::Unruly => {
                let none = libc::sched_param { sched_priority: 0 };
                // SAFETY: it only reads what it is given; 0 is the thread that calls.
                match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) } {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Class::Long => "eyot-long",
            Class::Unruly => "eyot-unruly",
        }
    }
}

/// The threads for long work, started when they are first needed.
#[derive(Default)]
pub struct Lane {
    threads: [Mutex<Option<Runtime>>; Class::ALL.len()],
    /// Whether a call has begun since the engine's clock last looked.
    stirred: AtomicBool,
}

impl Lane {
    /// Work of the host that takes long, there from its start. It ends when the answer is dropped.
    pub fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        let mut work = Paced::new(self.clone(), |_| work);
        work.leave(Class::Long);
        work
    }

    /// `work` here, and what it spawns on threads that stand back.
    pub(crate) async fn spawning<T>(&self, class: Class, work: impl Future<Output = T>) -> T {
        let Some(threads) = self.threads(class) else { return work.await };
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            let _there = threads.enter();
            work.as_mut().poll(context)
        })
        .await
    }

    /// A call begins.
    pub(crate) fn stir(&self) {
        if !self.stirred.load(Ordering::Relaxed) {
            self.stirred.store(true, Ordering::Relaxed);
        }
    }

    /// Whether one has begun since the last time that somebody asked.
    pub(crate) fn was_stirred(&self) -> bool {
        self.stirred.swap(false, Ordering::Relaxed)
    }

    /// The threads of a class; `None` where they cannot be started.
    fn threads(&self, class: Class) -> Option<Handle> {
        let mut threads = self.threads[class as usize].lock();
        if threads.is_none() {
            let started = start(class);
            let warn = |error: &_| tracing::warn!(%error, "the threads for long work do not start");
            *threads = started.inspect_err(warn).ok();
        }
        threads.as_ref().map(|started| started.handle().clone())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // It may end within a task, where nothing may be waited for.
        let started = self.threads.iter_mut().filter_map(|threads| threads.get_mut().take());
        started.for_each(Runtime::shutdown_background);
    }
}

fn start(class: Class) -> std::io::Result<Runtime> {
    let step_back = move || step_back(class);
    Builder::new_multi_thread().enable_all().thread_name(class.name()).on_thread_start(step_back).build()
}

/// Only Linux has priorities of threads; elsewhere it would be that of the process.
#[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "there is nothing to set"))]
fn step_back(class: Class) {
    #[cfg(target_os = "linux")]
    if let Err(error) = class.step_back() {
        tracing::warn!(%error, "a thread for long work keeps its priority");
    }
}

/// How long a guest has computed on its thread. That it waited for the processor itself, on a machine that has much
/// to do, makes no guest a long one.
#[derive(Clone, Default)]
pub(crate) struct Pace(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// What the thread that the guest holds had computed when the guest got it; `None` for guests that nobody moves.
    since: Mutex<Option<Duration>>,
    long: AtomicBool,
}

impl Pace {
    /// Whether the guest, which has been interrupted, should let go of its thread.
    pub(crate) fn is_over(&self) -> bool {
        let brief = self.0.since.lock().is_some_and(|since| thread_time().saturating_sub(since) < LONG);
        if !brief {
            self.0.long.store(true, Ordering::Relaxed);
        }
        !brief
    }

    fn is_long(&self) -> bool {
        self.0.long.load(Ordering::Relaxed)
    }

    fn holds(&self, since: Option<Duration>) {
        *self.0.since.lock() = since;
    }
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A call, here or on the threads for long work. It ends when this is dropped.
pub(crate) struct Paced<T> {
    lane: Arc<Lane>,
    pace: Pace,
    place: Place<T>,
}

enum Place<T> {
    Here(Work<T>),
    There(JoinSet<T>),
}

impl<T: Send + 'static> Paced<T> {
    /// `work` calls a guest that keeps this pace.
    pub(crate) fn new<W>(lane: Arc<Lane>, work: impl FnOnce(Pace) -> W) -> Self
    where
        W: Future<Output = T> + Send + 'static,
    {
        let pace = Pace::default();
        let work = Box::pin(work(pace.clone()));
        Self { lane, pace, place: Place::Here(work) }
    }

    fn poll_here(&mut self, context: &mut Context<'_>) -> Poll<T> {
        let Place::Here(work) = &mut self.place else { return Poll::Pending };
        self.pace.holds(Some(thread_time()));
        let polled = work.as_mut().poll(context);
        self.pace.holds(None);
        polled
    }

    /// Moves it to threads that stand back. Where none can be started, it stays.
    pub(crate) fn leave(&mut self, class: Class) {
        let Some(threads) = self.lane.threads(class) else { return };
        if let Place::Here(work) = std::mem::replace(&mut self.place, Place::There(JoinSet::new()))
            && let Place::There(there) = &mut self.place
        {
            there.spawn_on(work, &threads);
        }
    }
}

impl<T: Send + 'static> Future for Paced<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let Place::Here(_) = self.place {
            let polled = self.poll_here(context);
            if polled.is_ready() || !self.pace.is_long() {
                return polled;
            }
            self.leave(Class::Long);
        }
        let Place::There(there) = &mut self.place else { return Poll::Pending };
        match ready!(there.poll_join_next(context)) {
            Some(Ok(done)) => Poll::Ready(done),
            // It panicked, and so does who waits for it, as if it had never been moved.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use super::*;

    fn thread() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn what_takes_long_goes_on_elsewhere() {
        let lane = Arc::new(Lane::default());
        for (long, moved) in [(false, false), (true, true)] {
            let work = |guest: Pace| async move {
                let started = thread();
                while long && !guest.is_over() {}
                tokio::task::yield_now().await;
                (started, thread(), guest.is_long())
            };
            let (first, last, is_long) = Paced::new(lane.clone(), work).await;
            assert_eq!((first == thread(), last.starts_with("eyot-long"), is_long), (true, moved, moved));
        }
        assert!(lane.run(async { thread() }).await.starts_with("eyot-long"));
        let mut unruly = Paced::new(lane, |_| async { thread() });
        unruly.leave(Class::Unruly);
        assert!(unruly.await.starts_with("eyot-unruly"));
        let lane = Lane::default();
        let spawned = lane.spawning(Class::Unruly, async { tokio::spawn(async { thread() }).await }).await;
        assert!(spawned.unwrap().starts_with("eyot-unruly"));
    }

    #[test]
    fn time_that_others_had_the_processor_is_not_the_guests() {
        let pace = Pace::default();
        pace.holds(Some(thread_time()));
        // As long as the thread is away: it waits for another that computes.
        let other = std::thread::spawn(|| {
            let begun = Instant::now();
            while begun.elapsed() < 20 * LONG {}
        });
        other.join().unwrap();
        assert!(!pace.is_over() && !pace.is_long());
        while !pace.is_over() {}
        assert!(pace.is_long());
    }

    #[tokio::test]
    async fn it_ends_with_who_asked() {
        let lane = Arc::new(Lane::default());
        let (held, gone) = tokio::sync::oneshot::channel::<()>();
        let work = |guest: Pace| async move {
            while !guest.is_over() {}
            std::future::pending::<()>().await;
            drop(held);
        };
        let mut paced = Paced::new(lane, work);
        assert!(futures::poll!(&mut paced).is_pending() && matches!(paced.place, Place::There(_)));
        drop(paced);
        assert!(gone.await.is_err());
    }

    #[tokio::test]
    #[should_panic(expected = "as it was")]
    async fn a_panic_stays_a_panic() {
        let work = |guest: Pace| async move {
            while !guest.is_over() {}
            tokio::task::yield_now().await;
            panic!("as it was");
        };
        Paced::<()>::new(Arc::default(), work).await;
    }
}
