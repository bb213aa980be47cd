//! Those who watch requests: what each wants of a request, and who is told when it ends.

use std::sync::Arc;

use eyot_core::{Error, Result};

use super::Exchange;

/// Watches requests. It is asked and told on the request's own thread, so it hands on what takes long.
pub(crate) trait Observer: Send + Sync + 'static {
    /// What it wants of this request. Asked once: when its revision has let it in, or when it ends before that.
    fn interested(&self, exchange: &Exchange) -> Capture;

    /// The request has ended, in whatever way. Told only of requests of which it wanted something.
    fn finished(&self, exchange: &Exchange);
}

/// What an observer wants of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capture {
    Nothing,
    /// Who asked what, how long it took and how it ended.
    Figures,
    /// That, and what was asked and answered; what a component that answers HTTP reads and writes passes unseen.
    Content,
}

/// Who watches the requests of a data plane.
#[derive(Default)]
pub(crate) struct ObserverList(Vec<Arc<dyn Observer>>);

/// Who is told of a request when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObserverSelection {
    Unasked,
    /// By a bit for each observer, and whether one of them wants the content.
    Asked {
        observers: u64,
        captures: bool,
    },
}

impl ObserverSelection {
    pub(super) fn captures(self) -> bool {
        matches!(self, Self::Asked { captures: true, .. })
    }
}

impl ObserverList {
    /// Fails with `Internal` for more than can be told apart.
    pub(crate) fn new(observers: Vec<Arc<dyn Observer>>) -> Result<Self> {
        match observers.len() {
            0..=64 => Ok(Self(observers)),
            count => Err(Error::internal(format!("{count} observers of requests are more than 64"))),
        }
    }

    pub(super) fn ask(&self, exchange: &Exchange) -> ObserverSelection {
        let (mut observers, mut captures) = (0, false);
        for (place, observer) in self.0.iter().enumerate() {
            let capture = observer.interested(exchange);
            observers |= u64::from(capture != Capture::Nothing) << place;
            captures |= capture == Capture::Content;
        }
        ObserverSelection::Asked { observers, captures }
    }

    pub(super) fn tell(&self, exchange: &Exchange) {
        let ObserverSelection::Asked { observers, .. } = exchange.watching else { return };
        let wanted = self.0.iter().enumerate().filter(|(place, _)| observers >> place & 1 == 1);
        wanted.for_each(|(_, observer)| observer.finished(exchange));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::{Ipv4Addr, SocketAddr};

    use parking_lot::Mutex;

    use super::*;
    use crate::serving::exchange::{CapturedCall, ExchangeKind, ExchangeOutcome};
    use crate::serving::route_table::RouteTable;
    use crate::tests::{MINUTE, echo, revision};

    /// Wants so much of every request, and keeps how each ended.
    struct Watcher {
        wants: Capture,
        seen: Mutex<Vec<&'static str>>,
    }

    impl Observer for Watcher {
        fn interested(&self, _: &Exchange) -> Capture {
            self.seen.lock().push("asked");
            self.wants
        }

        fn finished(&self, exchange: &Exchange) {
            self.seen.lock().push(match (exchange.outcome(), exchange.captured()) {
                (ExchangeOutcome::Answered, Some(_)) => "answered, with its content",
                (ExchangeOutcome::Answered, None) => "answered",
                (ExchangeOutcome::Cancelled, _) => "cancelled",
                _ => "failed",
            });
        }
    }

    /// Sees one request, which has its revision's room before it ends or not.
    async fn watch(wants: &[Capture], is_admitted: bool, ends: bool) -> Vec<Vec<&'static str>> {
        let watchers: Vec<_> =
            wants.iter().map(|wants| Arc::new(Watcher { wants: *wants, seen: Mutex::default() })).collect();
        let observers = watchers.iter().map(|watcher| watcher.clone() as Arc<dyn Observer>).collect();
        let observers = Arc::new(ObserverList::new(observers).unwrap());
        let revisions = RouteTable::default();
        revisions.add(revision(1, echo(&Arc::default(), None), MINUTE));
        let deployment = revisions.get("echo").unwrap();
        let caller = SocketAddr::from((Ipv4Addr::LOCALHOST, 7));
        let mut exchange = Exchange::begin(ExchangeKind::Prediction, caller, None, None, observers);
        exchange.select(deployment.version("1").unwrap().clone());
        if is_admitted {
            exchange.admit().await.unwrap();
        }
        if exchange.captures() {
            exchange.capture(CapturedCall::Prediction { inputs: Vec::new(), outputs: None });
        }
        if ends {
            exchange.finish(ExchangeOutcome::Answered);
        } else {
            drop(exchange);
        }
        watchers.iter().map(|watcher| watcher.seen.lock().clone()).collect()
    }

    #[tokio::test]
    async fn observers_are_asked_once_and_told_once_what_they_wanted() {
        use Capture::{Content, Figures, Nothing};
        for (wants, is_admitted, ends, seen) in [
            (&[Figures, Nothing][..], true, true, &[&["asked", "answered"][..], &["asked"]][..]),
            (
                &[Nothing, Content, Figures],
                true,
                true,
                &[
                    &["asked"],
                    &["asked", "answered, with its content"],
                    &["asked", "answered, with its content"],
                ],
            ),
            (&[Content], false, true, &[&["asked", "answered"]]),
            (&[Content, Nothing], true, false, &[&["asked", "cancelled"], &["asked"]]),
            (&[Figures], false, false, &[&["asked", "cancelled"]]),
        ] {
            assert_eq!(watch(wants, is_admitted, ends).await, seen, "{wants:?} {is_admitted} {ends}");
        }
    }

    #[test]
    fn there_are_as_many_observers_as_can_be_told_apart() {
        let watcher = || Arc::new(Watcher { wants: Capture::Nothing, seen: Mutex::default() });
        let observers = |count| (0..count).map(|_| watcher() as Arc<dyn Observer>).collect();
        assert!(ObserverList::new(observers(64)).is_ok());
        assert!(ObserverList::new(observers(65)).is_err());
    }
}
