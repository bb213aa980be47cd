//! Whoever wants to know what happens, as it happens: one reader of the outbox for all who listen.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use eyot_core::{Clock as _, Error, ProjectName, Result, SystemClock, Timestamp};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use crate::{Database, Event};

/// Events that are read at once.
const PAGE_EVENTS: u32 = 500;
/// Events that are kept for listeners that are slow; who is slower reads them from the database again.
const BUFFERED_EVENTS: usize = 1024;
/// How often commits of other servers are looked for while somebody listens, and while nobody does.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const IDLE_POLL_INTERVAL: Duration = Duration::from_secs(60);
/// How often old events are looked for, however long they are kept.
const MIN_FORGET_INTERVAL: Duration = Duration::from_secs(60);
const MAX_FORGET_INTERVAL: Duration = Duration::from_secs(3600);
/// After a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Where to listen. Cheap to clone; [`EventFeed::run`] is what tells listeners.
#[derive(Clone)]
pub struct EventFeed(Arc<FeedState>);

struct FeedState {
    db: Database,
    sender: broadcast::Sender<Arc<Event>>,
    places: Arc<Semaphore>,
    max_listeners: usize,
    arrived: Notify,
    /// The server ends: nobody is told anything any more.
    ended: CancellationToken,
}

/// What a listener is told.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedItem {
    Event(Arc<Event>),
    /// Events after the one that was asked for are kept no longer: what comes next is the oldest there is. Whoever
    /// holds a state that follows from events reads it anew.
    Reset,
}

/// Reads on after an event of a project, and never misses or repeats one.
pub struct EventListener {
    db: Database,
    project: ProjectName,
    receiver: broadcast::Receiver<Arc<Event>>,
    /// The number of the last event that was told.
    last: i64,
    page: VecDeque<Arc<Event>>,
    /// Whether the database may have more after `last` than what is received.
    is_behind: bool,
    is_reset: bool,
    ended: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl EventFeed {
    /// A feed of a database for so many listeners at once.
    pub fn new(db: Database, max_listeners: usize) -> Self {
        let (sender, _) = broadcast::channel(BUFFERED_EVENTS);
        let max_listeners = max_listeners.min(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(max_listeners));
        Self(Arc::new(FeedState {
            db,
            sender,
            places,
            max_listeners,
            arrived: Notify::new(),
            ended: CancellationToken::new(),
        }))
    }

    /// Listens to a project from after the event of that number; from now on where none is said.
    ///
    /// Fails with `Exhausted` when as many listen as may.
    pub async fn listen(&self, project: &ProjectName, after: Option<i64>) -> Result<EventListener> {
        let FeedState { db, sender, places, max_listeners, arrived, ended } = &*self.0;
        let place = places.clone().try_acquire_owned().map_err(|_| {
            Error::exhausted(format!("{max_listeners} listen to events already, as many as may"))
                .hint("try again later, or raise api.event-listeners")
        })?;
        // Before anything is read: what is committed after the reading is received.
        let receiver = sender.subscribe();
        let newest = db.last_event_id(project).await?;
        let last = after.unwrap_or(newest).clamp(0, newest);
        let is_reset =
            last < newest && db.first_event_id(project).await?.is_none_or(|first| last + 1 < first);
        arrived.notify_one();
        let page = VecDeque::new();
        let (db, ended) = (db.clone(), ended.clone());
        let project = project.clone();
        Ok(EventListener {
            db,
            project,
            receiver,
            last,
            page,
            is_behind: true,
            is_reset,
            ended,
            _place: place,
        })
    }

    /// The number of the newest event of a project; 0 before the first.
    pub async fn last_id(&self, project: &ProjectName) -> Result<i64> {
        self.0.db.last_event_id(project).await
    }

    /// Tells listeners what happens until `stop`, and forgets what is older than `kept`; zero keeps everything.
    pub async fn run(&self, kept: Duration, stop: &CancellationToken) {
        stop.run_until_cancelled(async { tokio::join!(self.tell(), self.forget(kept)) }).await;
        self.0.ended.cancel();
    }

    async fn tell(&self) {
        let FeedState { db, sender, arrived, .. } = &*self.0;
        let mut commits = db.commits();
        let mut last = HashMap::new();
        loop {
            let told = self.tell_new(&mut last).await;
            let listeners = sender.receiver_count();
            let pause = match told {
                Err(_) if listeners > 0 => RETRY_INTERVAL,
                // Commits of other servers wake nobody here.
                _ if listeners > 0 && db.is_shared() => POLL_INTERVAL,
                _ => IDLE_POLL_INTERVAL,
            };
            let woken = async {
                tokio::select! {
                    _ = commits.changed() => {}
                    () = arrived.notified() => {}
                }
            };
            let _ = tokio::time::timeout(pause, woken).await;
        }
    }

    /// Reads on in each project after `last` and tells it to whoever listens.
    async fn tell_new(&self, last: &mut HashMap<ProjectName, i64>) -> Result<()> {
        let FeedState { db, sender, .. } = &*self.0;
        if sender.receiver_count() == 0 {
            let newest = db.last_event_ids().await?;
            // Who comes after this look reads all of it from the database; who came before it must not miss any.
            if sender.receiver_count() == 0 {
                last.extend(newest);
                return Ok(());
            }
        }
        for (project, newest) in db.last_event_ids().await? {
            // The first event of a project is the first that happens in it.
            let told = last.entry(project.clone()).or_default();
            while *told < newest {
                let events = db.events(&project, *told, PAGE_EVENTS).await?;
                // What is forgotten already is told to nobody.
                *told = events.last().map_or(newest, |event| event.id);
                for event in events {
                    // Nobody listens any more.
                    let _ = sender.send(Arc::new(event));
                }
            }
        }
        Ok(())
    }

    async fn forget(&self, kept: Duration) {
        let Ok(kept_milliseconds @ 1..) = i64::try_from(kept.as_millis()) else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(kept.clamp(MIN_FORGET_INTERVAL, MAX_FORGET_INTERVAL));
        loop {
            ticks.tick().await;
            let before = Timestamp(SystemClock.now().0.saturating_sub(kept_milliseconds));
            if let Err(error) = self.0.db.forget_events(before).await {
                tracing::warn!(error = %error.chain(), "old events cannot be forgotten");
            }
        }
    }
}

impl EventListener {
    /// The number of the last event that was told, or would have been.
    pub fn last_id(&self) -> i64 {
        self.last
    }

    /// What of what has happened comes next; none where that was all.
    pub async fn next_kept(&mut self) -> Result<Option<FeedItem>> {
        match self.is_reset || self.is_behind || !self.page.is_empty() {
            true => self.told().await,
            false => Ok(None),
        }
    }

    /// What happens next; waits for it. Given up and asked again, it goes on where it was.
    ///
    /// Fails when the database cannot be read; then it can be asked again.
    pub async fn next(&mut self) -> Result<FeedItem> {
        loop {
            if let Some(item) = self.told().await? {
                return Ok(item);
            }
            let received = self.ended.run_until_cancelled(self.receiver.recv()).await;
            match received.unwrap_or(Err(RecvError::Closed)) {
                Ok(event) if event.project != self.project => {}
                Ok(event) if event.id == self.last + 1 => self.page.push_back(event),
                Ok(event) if event.id <= self.last => {}
                Ok(_) | Err(RecvError::Lagged(_)) => self.is_behind = true,
                Err(RecvError::Closed) => return Err(Error::unavailable("the server ends")),
            }
        }
    }

    /// What is read already, or can be.
    async fn told(&mut self) -> Result<Option<FeedItem>> {
        if std::mem::take(&mut self.is_reset) {
            return Ok(Some(FeedItem::Reset));
        }
        if self.page.is_empty() && self.is_behind {
            let events = self.db.events(&self.project, self.last, PAGE_EVENTS).await?;
            self.is_behind = !events.is_empty();
            self.page = events.into_iter().map(Arc::new).collect();
        }
        Ok(self.page.pop_front().map(|event| {
            self.last = event.id;
            FeedItem::Event(event)
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::Transaction;

    struct FeedWorld {
        _dir: tempfile::TempDir,
        db: Database,
        feed: EventFeed,
        stop: CancellationToken,
    }

    impl FeedWorld {
        async fn new(max_listeners: usize) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let db = Database::open(&dir.path().join("eyot.db")).await.unwrap();
            let (feed, stop) = (EventFeed::new(db.clone(), max_listeners), CancellationToken::new());
            let (running, stopped) = (feed.clone(), stop.clone());
            tokio::spawn(async move { running.run(Duration::ZERO, &stopped).await });
            Self { _dir: dir, db, feed, stop }
        }

        async fn happen(&self, count: usize) {
            let mut tx: Transaction = self.db.begin().await.unwrap();
            (0..count).for_each(|number| tx.emit(Event::new("a", &number.to_string(), json!({}))));
            tx.commit().await.unwrap();
        }
    }

    async fn ids(listener: &mut EventListener, count: usize) -> Vec<i64> {
        let mut ids = Vec::new();
        while ids.len() < count {
            match listener.next().await.unwrap() {
                FeedItem::Event(event) => ids.push(event.id),
                FeedItem::Reset => ids.push(-1),
            }
        }
        ids
    }

    #[tokio::test]
    async fn listeners_go_on_after_any_event_without_gap_or_double() {
        let world = FeedWorld::new(10).await;
        world.happen(3).await;
        let mut whole = world.feed.listen(&ProjectName::default(), Some(0)).await.unwrap();
        let mut later = world.feed.listen(&ProjectName::default(), Some(2)).await.unwrap();
        let mut new = world.feed.listen(&ProjectName::default(), None).await.unwrap();
        world.happen(2).await;
        assert_eq!(ids(&mut whole, 5).await, [1, 2, 3, 4, 5]);
        assert_eq!(ids(&mut later, 3).await, [3, 4, 5]);
        assert_eq!(ids(&mut new, 2).await, [4, 5]);
        // One that is ahead of what there is gets what comes.
        let mut ahead = world.feed.listen(&ProjectName::default(), Some(99)).await.unwrap();
        world.happen(1).await;
        assert_eq!(ids(&mut ahead, 1).await, [6]);
        world.stop.cancel();
    }

    #[tokio::test]
    async fn who_is_slower_than_what_is_buffered_misses_nothing() {
        let world = FeedWorld::new(2).await;
        let mut slow = world.feed.listen(&ProjectName::default(), None).await.unwrap();
        let mut quick = world.feed.listen(&ProjectName::default(), None).await.unwrap();
        let total = BUFFERED_EVENTS * 2 + 10;
        for _ in 0..total / 10 {
            world.happen(10).await;
            assert_eq!(ids(&mut quick, 10).await.len(), 10);
        }
        let expected: Vec<i64> = (1..=(total / 10 * 10) as i64).collect();
        assert_eq!(ids(&mut slow, expected.len()).await, expected);
        world.stop.cancel();
    }

    #[tokio::test]
    async fn who_asks_for_what_is_forgotten_is_told() {
        let world = FeedWorld::new(1).await;
        world.happen(3).await;
        world.db.forget_events(Timestamp(i64::MAX)).await.unwrap();
        let mut listener = world.feed.listen(&ProjectName::default(), Some(1)).await.unwrap();
        world.happen(1).await;
        assert_eq!(ids(&mut listener, 2).await, [-1, 4]);
        drop(listener);
        // Nothing is missing after the last one.
        let mut listener = world.feed.listen(&ProjectName::default(), Some(4)).await.unwrap();
        world.happen(1).await;
        assert_eq!(ids(&mut listener, 1).await, [5]);
        world.stop.cancel();
    }

    #[tokio::test]
    async fn every_project_counts_for_itself() {
        let world = FeedWorld::new(10).await;
        let fraud: ProjectName = "fraud".parse().unwrap();
        let mut here = world.feed.listen(&ProjectName::default(), None).await.unwrap();
        let mut there = world.feed.listen(&fraud, None).await.unwrap();
        for _ in 0..3 {
            world.happen(2).await;
            let mut tx = world.db.begin().await.unwrap();
            tx.emit(Event::new("a", "x", json!({})).in_project(&fraud));
            tx.emit(Event::new("a", "y", json!({})));
            tx.commit().await.unwrap();
        }
        assert_eq!(ids(&mut here, 9).await, (1..=9).collect::<Vec<_>>());
        assert_eq!(ids(&mut there, 3).await, [1, 2, 3]);
        let mut again = world.feed.listen(&fraud, Some(1)).await.unwrap();
        assert_eq!(ids(&mut again, 2).await, [2, 3]);
        world.stop.cancel();
    }

    #[tokio::test]
    async fn no_more_listen_than_may() {
        let world = FeedWorld::new(1).await;
        let listener = world.feed.listen(&ProjectName::default(), None).await.unwrap();
        let refused = world.feed.listen(&ProjectName::default(), None).await.err().unwrap();
        assert_eq!(refused.kind(), eyot_core::ErrorKind::Exhausted);
        drop(listener);
        world.feed.listen(&ProjectName::default(), None).await.unwrap();
        world.stop.cancel();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn those_who_come_while_events_happen_miss_none() {
        let world = Arc::new(FeedWorld::new(100).await);
        let writer = tokio::spawn({
            let world = world.clone();
            async move {
                for _ in 0..200 {
                    world.happen(1).await;
                }
            }
        });
        let mut listeners = Vec::new();
        for _ in 0..20 {
            let mut listener = world.feed.listen(&ProjectName::default(), Some(0)).await.unwrap();
            listeners.push(tokio::spawn(async move { ids(&mut listener, 200).await }));
            tokio::task::yield_now().await;
        }
        writer.await.unwrap();
        for listener in listeners {
            assert_eq!(listener.await.unwrap(), (1..=200).collect::<Vec<_>>());
        }
        world.stop.cancel();
    }
}
