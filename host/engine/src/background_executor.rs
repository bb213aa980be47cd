//! Threads of lower priority for guests that compute for long, so that short calls never queue behind them.
//!
//! A guest starts within the task of its caller. A call that has used up its time slice ([`TIME_SLICE`] of processor
//! time without waiting for anything) is migrated to background threads, as many as there are processors, which
//! such calls share.

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

/// How long a guest may compute on a thread that serves other requests too.
const TIME_SLICE: Duration = Duration::from_millis(1);

/// The scheduling priority of a background thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThreadPriority {
    /// For calls that compute for long.
    Background,
    /// For calls that are expected to fail, since many before them did. Niceness is not enough for these: Linux lets
    /// a thread that has just woken up compute for a while before it is preempted, however nice it is, and faults
    /// are short work that wakes up for each; only a thread of the idle scheduling class gives way at once.
    Idle,
}

impl ThreadPriority {
    const ALL: [ThreadPriority; 2] = [ThreadPriority::Background, ThreadPriority::Idle];

    /// Lowers the priority of the calling thread. When processors are contended, background threads
    /// get a tenth of what others get, by the weights of Linux (sched(7)).
    #[cfg(target_os = "linux")]
    fn lower_priority(self) -> std::io::Result<()> {
        match self {
            ThreadPriority::Background => Ok(rustix::process::nice(10).map(drop)?),
            ThreadPriority::Idle => {
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
            ThreadPriority::Background => "eyot-background",
            ThreadPriority::Idle => "eyot-idle",
        }
    }
}

/// The background threads, started when they are first needed.
#[derive(Default)]
pub struct BackgroundExecutor {
    threads: [Mutex<Option<Runtime>>; ThreadPriority::ALL.len()],
    /// Whether a call has begun since the engine's clock last looked.
    is_active: AtomicBool,
}

impl BackgroundExecutor {
    /// Runs long work of the host on background threads from its start. It ends when the future is dropped.
    pub fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        let mut work = PreemptibleCall::new(self.clone(), |_| work);
        work.migrate(ThreadPriority::Background);
        work
    }

    /// Runs `work` in place, and what it spawns on threads of that priority.
    pub(crate) async fn run_spawning<T>(&self, priority: ThreadPriority, work: impl Future<Output = T>) -> T {
        let Some(threads) = self.threads(priority) else { return work.await };
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            let _there = threads.enter();
            work.as_mut().poll(context)
        })
        .await
    }

    /// A call begins: the clock of the engine ticks faster while calls come.
    pub(crate) fn mark_active(&self) {
        if !self.is_active.load(Ordering::Relaxed) {
            self.is_active.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a call has begun since this was last asked.
    pub(crate) fn take_active(&self) -> bool {
        self.is_active.swap(false, Ordering::Relaxed)
    }

    /// The threads of a priority; `None` where they cannot be started.
    fn threads(&self, priority: ThreadPriority) -> Option<Handle> {
        let mut threads = self.threads[priority as usize].lock();
        if threads.is_none() {
            let started = start(priority);
            let warn = |error: &_| tracing::warn!(%error, "the background threads do not start");
            *threads = started.inspect_err(warn).ok();
        }
        threads.as_ref().map(|started| started.handle().clone())
    }
}

impl Drop for BackgroundExecutor {
    fn drop(&mut self) {
        // It may end within a task, where nothing may be waited for.
        let started = self.threads.iter_mut().filter_map(|threads| threads.get_mut().take());
        started.for_each(Runtime::shutdown_background);
    }
}

fn start(priority: ThreadPriority) -> std::io::Result<Runtime> {
    let lower_priority = move || lower_priority(priority);
    Builder::new_multi_thread()
        .enable_all()
        .thread_name(priority.name())
        .on_thread_start(lower_priority)
        .build()
}

/// Only Linux has priorities of threads; elsewhere it would be that of the process.
#[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "there is nothing to set"))]
fn lower_priority(priority: ThreadPriority) {
    #[cfg(target_os = "linux")]
    if let Err(error) = priority.lower_priority() {
        tracing::warn!(%error, "a background thread keeps its priority");
    }
}

/// The processor time that a guest may use on its thread before it is migrated. Waiting for a processor, on a busy
/// machine, does not count.
#[derive(Clone, Default)]
pub(crate) struct TimeSlice(Arc<SliceState>);

#[derive(Default)]
struct SliceState {
    /// The processor time of the guest's thread when the guest got it; `None` for guests that are not migrated.
    since: Mutex<Option<Duration>>,
    exceeded: AtomicBool,
}

impl TimeSlice {
    /// Whether the guest, which has been interrupted, should yield its thread.
    pub(crate) fn is_used_up(&self) -> bool {
        let brief = self.0.since.lock().is_some_and(|since| thread_time().saturating_sub(since) < TIME_SLICE);
        if !brief {
            self.0.exceeded.store(true, Ordering::Relaxed);
        }
        !brief
    }

    fn was_exceeded(&self) -> bool {
        self.0.exceeded.load(Ordering::Relaxed)
    }

    fn set_thread_start(&self, since: Option<Duration>) {
        *self.0.since.lock() = since;
    }
}

type BoxedWork<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A call, in the task of its caller or on background threads. It ends when this is dropped.
pub(crate) struct PreemptibleCall<T> {
    background_executor: Arc<BackgroundExecutor>,
    time_slice: TimeSlice,
    location: CallLocation<T>,
}

enum CallLocation<T> {
    Caller(BoxedWork<T>),
    Background(JoinSet<T>),
}

impl<T: Send + 'static> PreemptibleCall<T> {
    /// `work` calls a guest that has this time slice.
    pub(crate) fn new<W>(
        background_executor: Arc<BackgroundExecutor>,
        work: impl FnOnce(TimeSlice) -> W,
    ) -> Self
    where
        W: Future<Output = T> + Send + 'static,
    {
        let time_slice = TimeSlice::default();
        let work = Box::pin(work(time_slice.clone()));
        Self { background_executor, time_slice, location: CallLocation::Caller(work) }
    }

    fn poll_in_place(&mut self, context: &mut Context<'_>) -> Poll<T> {
        let CallLocation::Caller(work) = &mut self.location else { return Poll::Pending };
        self.time_slice.set_thread_start(Some(thread_time()));
        let polled = work.as_mut().poll(context);
        self.time_slice.set_thread_start(None);
        polled
    }

    /// Migrates it to threads of that priority. Where none can be started, it stays.
    pub(crate) fn migrate(&mut self, priority: ThreadPriority) {
        let Some(threads) = self.background_executor.threads(priority) else { return };
        if let CallLocation::Caller(work) =
            std::mem::replace(&mut self.location, CallLocation::Background(JoinSet::new()))
            && let CallLocation::Background(there) = &mut self.location
        {
            there.spawn_on(work, &threads);
        }
    }
}

impl<T: Send + 'static> Future for PreemptibleCall<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let CallLocation::Caller(_) = self.location {
            let polled = self.poll_in_place(context);
            if polled.is_ready() || !self.time_slice.was_exceeded() {
                return polled;
            }
            self.migrate(ThreadPriority::Background);
        }
        let CallLocation::Background(there) = &mut self.location else { return Poll::Pending };
        match ready!(there.poll_join_next(context)) {
            Some(Ok(done)) => Poll::Ready(done),
            // It panicked, and so does its caller, as if it had never been migrated.
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
        let background_executor = Arc::new(BackgroundExecutor::default());
        for (exceeded, moved) in [(false, false), (true, true)] {
            let work = |guest: TimeSlice| async move {
                let started = thread();
                while exceeded && !guest.is_used_up() {}
                tokio::task::yield_now().await;
                (started, thread(), guest.was_exceeded())
            };
            let (first, last, was_exceeded) = PreemptibleCall::new(background_executor.clone(), work).await;
            assert_eq!(
                (first == thread(), last.starts_with("eyot-background"), was_exceeded),
                (true, moved, moved)
            );
        }
        assert!(background_executor.run(async { thread() }).await.starts_with("eyot-background"));
        let mut idle = PreemptibleCall::new(background_executor, |_| async { thread() });
        idle.migrate(ThreadPriority::Idle);
        assert!(idle.await.starts_with("eyot-idle"));
        let background_executor = BackgroundExecutor::default();
        let spawned = background_executor
            .run_spawning(ThreadPriority::Idle, async { tokio::spawn(async { thread() }).await })
            .await;
        assert!(spawned.unwrap().starts_with("eyot-idle"));
    }

    #[test]
    fn time_that_others_had_the_processor_is_not_the_guests() {
        let time_slice = TimeSlice::default();
        time_slice.set_thread_start(Some(thread_time()));
        // As long as the thread is away: it waits for another that computes.
        let other = std::thread::spawn(|| {
            let begun = Instant::now();
            while begun.elapsed() < 20 * TIME_SLICE {}
        });
        other.join().unwrap();
        assert!(!time_slice.is_used_up() && !time_slice.was_exceeded());
        while !time_slice.is_used_up() {}
        assert!(time_slice.was_exceeded());
    }

    #[tokio::test]
    async fn it_ends_with_who_asked() {
        let background_executor = Arc::new(BackgroundExecutor::default());
        let (held, gone) = tokio::sync::oneshot::channel::<()>();
        let work = |guest: TimeSlice| async move {
            while !guest.is_used_up() {}
            std::future::pending::<()>().await;
            drop(held);
        };
        let mut call = PreemptibleCall::new(background_executor, work);
        assert!(
            futures::poll!(&mut call).is_pending() && matches!(call.location, CallLocation::Background(_))
        );
        drop(call);
        assert!(gone.await.is_err());
    }

    #[tokio::test]
    #[should_panic(expected = "as it was")]
    async fn a_panic_stays_a_panic() {
        let work = |guest: TimeSlice| async move {
            while !guest.is_used_up() {}
            tokio::task::yield_now().await;
            panic!("as it was");
        };
        PreemptibleCall::<()>::new(Arc::default(), work).await;
    }
}
