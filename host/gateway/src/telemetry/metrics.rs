//! Counts every request with the revision that it was for, without locks. [`super::prometheus`] writes the figures
//! down when somebody asks.

use eyot_core::ErrorKind;

use crate::serving::exchange::observer::{Capture, Observer};
use crate::serving::exchange::{Exchange, ExchangeKind, ExchangeOutcome};
use crate::serving::stats::RevisionStats;

pub(super) struct MetricsObserver;

impl Observer for MetricsObserver {
    fn interested(&self, _: &Exchange) -> Capture {
        Capture::Figures
    }

    fn finished(&self, exchange: &Exchange) {
        // What no revision was found for counts nowhere.
        let Some(revision) = exchange.revision() else { return };
        add_timings(&revision.stats, exchange);
        let outcome = match exchange.outcome() {
            ExchangeOutcome::Answered => Ok(()),
            ExchangeOutcome::Declined(kind) => Err(*kind),
            ExchangeOutcome::Failed(error) => Err(error.kind()),
            ExchangeOutcome::Cancelled => Err(ErrorKind::Cancelled),
        };
        revision.stats.end(exchange.timings.total(), outcome);
    }
}

fn add_timings(stats: &RevisionStats, exchange: &Exchange) {
    let timings = &exchange.timings;
    if let Some(decode) = timings.decode {
        stats.decode.add(decode);
    }
    if let Some((arrived, begun)) = timings.admission {
        stats.queue.add(begun.saturating_duration_since(arrived));
    }
    match (timings.work, exchange.kind) {
        (Some(work), ExchangeKind::Http) => stats.inference.add(work),
        (Some(work), _) => stats.record_prediction(work, exchange.usage),
        (None, _) => {}
    }
    if let Some(encode) = timings.encode {
        stats.encode.add(encode);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use eyot_core::Error;

    use super::*;
    use crate::serving::exchange::observer::ObserverList;
    use crate::serving::route_table::RouteTable;
    use crate::tests::{MINUTE, echo, revision};

    #[test]
    fn every_request_ends_in_one_way() {
        let revisions = RouteTable::default();
        revisions.add(revision(1, echo(&Arc::default(), None), MINUTE));
        let deployment = revisions.get("echo").unwrap();
        let live = deployment.version("1").unwrap();
        let observers = Arc::new(ObserverList::new(vec![Arc::new(MetricsObserver)]).unwrap());
        let caller = SocketAddr::from((Ipv4Addr::LOCALHOST, 7));
        let begin = || {
            let mut exchange =
                Exchange::begin(ExchangeKind::Prediction, caller, None, None, observers.clone());
            exchange.set_deployment(deployment.clone());
            exchange.select(live.clone());
            exchange
        };
        begin().finish(ExchangeOutcome::Answered);
        begin().finish(ExchangeOutcome::Failed(Error::exhausted("full")));
        let pending = begin();
        let stats = &live.stats;
        assert_eq!(stats.in_flight.load(Ordering::Relaxed), 1);
        drop(pending);
        let outcomes: Vec<_> = stats.outcomes().filter(|(_, count)| *count > 0).collect();
        assert_eq!(outcomes, [("ok", 1), ("exhausted", 1), ("cancelled", 1)]);
        assert_eq!((stats.success.total().count, stats.fail.total().count), (1, 2));
        assert!(stats.last() > 0 && stats.in_flight.load(Ordering::Relaxed) == 0);
    }
}
