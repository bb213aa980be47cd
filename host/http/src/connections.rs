//! The connections of a process: how many there may be, whose they are, and which has to go when there is no
//! room for another.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eyot_core::config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Notify;

use crate::connection::ConnectionState;

/// All connections, to whichever port. Cheap to clone.
#[derive(Clone)]
pub struct ConnectionLimiter(Arc<LimiterState>);

struct LimiterState {
    max: usize,
    max_per_address: usize,
    open: Mutex<OpenConnections>,
    /// Told when one has ended.
    ended: Notify,
}

#[derive(Default)]
struct OpenConnections {
    next_id: u64,
    all: HashMap<u64, Arc<ConnectionState>>,
    by_address: HashMap<IpAddr, usize>,
}

/// More connections than one process serves well.
const MAX_CONNECTIONS: usize = 16_384;
/// Fewer would make a server useless, whatever its limits are.
const MIN_CONNECTIONS: usize = 8;

impl ConnectionLimiter {
    /// As many as the configuration says, or as this process has file descriptors for beside those that files,
    /// models and guests need.
    pub fn new(config: &config::HttpSettings) -> Self {
        let max = match config.max_connections {
            0 => room_for_connections(),
            wanted => wanted,
        };
        let max_per_address = match config.max_connections_per_address {
            0 => max.div_ceil(2),
            wanted => wanted,
        };
        Self(Arc::new(LimiterState { max, max_per_address, open: Mutex::default(), ended: Notify::new() }))
    }

    /// Takes a connection in. Where there is no room, the one that has been idle for longest makes some: who
    /// connects and says nothing keeps nobody out.
    ///
    /// Fails when all are at work.
    pub(crate) async fn admit(&self, address: IpAddr) -> Result<AdmittedConnection, ConnectionsExhausted> {
        let address = owner(address);
        loop {
            // Before the look, so that no end is missed between the two.
            let ended = self.0.ended.notified();
            let idlest = match self.try_admit(address) {
                Ok(admitted) => return Ok(admitted),
                Err(None) => return Err(ConnectionsExhausted(address)),
                Err(Some(idlest)) => idlest,
            };
            idlest.evict();
            // It ends at once; another look, then.
            let _ = tokio::time::timeout(EVICTION_TIME, ended).await;
        }
    }

    /// The idlest connection that would make room, where there is none.
    fn try_admit(&self, address: IpAddr) -> Result<AdmittedConnection, Option<Arc<ConnectionState>>> {
        let mut open = self.0.open();
        let is_crowded = open.by_address.get(&address).is_some_and(|count| *count >= self.0.max_per_address);
        if is_crowded || open.all.len() >= self.0.max {
            return Err(open.idlest(is_crowded.then_some(address)));
        }
        let id = open.next_id;
        open.next_id += 1;
        let connection = Arc::new(ConnectionState::new(address));
        open.all.insert(id, connection.clone());
        *open.by_address.entry(address).or_default() += 1;
        Ok(AdmittedConnection { id, pool: self.0.clone(), connection })
    }

    /// For who finds no file descriptor left: has the idlest connection give its own back, and waits until one
    /// has ended; not for ever.
    pub(crate) async fn make_room(&self) {
        let ended = self.0.ended.notified();
        let idlest = self.0.open().idlest(None);
        if let Some(idlest) = idlest {
            idlest.evict();
        }
        let _ = tokio::time::timeout(EVICTION_TIME, ended).await;
    }
}

impl LimiterState {
    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnections {
    /// The connection that is missed least, of one address or of all; none where all are at work.
    fn idlest(&self, address: Option<IpAddr>) -> Option<Arc<ConnectionState>> {
        let candidates =
            self.all.values().filter(|one| address.is_none_or(|address| one.address() == address));
        candidates.filter(|one| !one.is_working()).min_by_key(|one| one.idleness()).cloned()
    }
}

/// No connection makes room: all that may be open are at work, in the whole or those of this address.
#[derive(Debug)]
pub(crate) struct ConnectionsExhausted(IpAddr);

impl fmt::Display for ConnectionsExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(address) = self;
        write!(
            f,
            "as many connections as may be open are at work; the last to be refused came from {address} \
             (http.max-connections, http.max-connections-per-address)"
        )
    }
}

/// How long a connection that was told to go is waited for.
const EVICTION_TIME: Duration = Duration::from_millis(100);

/// Whose an address is: a network of IPv6 has more addresses than anybody can count.
fn owner(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        },
    }
}

/// Raises the limit of file descriptors as far as this process may, and says how many connections that leaves
/// room for.
fn room_for_connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        // Where it may not be raised, what it is has to do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let current = usize::try_from(current).unwrap_or(usize::MAX);
    let open = std::fs::read_dir("/proc/self/fd").map_or(64, Iterator::count);
    let reserve = (current / 8).clamp(8, 1024);
    current.saturating_sub(open.saturating_add(reserve)).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
}

/// A connection that was taken in; its place is free again when this is dropped.
pub(crate) struct AdmittedConnection {
    id: u64,
    pool: Arc<LimiterState>,
    pub(crate) connection: Arc<ConnectionState>,
}

impl Drop for AdmittedConnection {
    fn drop(&mut self) {
        let mut open = self.pool.open();
        open.all.remove(&self.id);
        if let Some(count) = open.by_address.get_mut(&self.connection.address()) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.connection.address());
            }
        }
        drop(open);
        self.pool.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn limits(max_connections: usize, max_connections_per_address: usize) -> config::HttpSettings {
        config::HttpSettings {
            max_connections,
            max_connections_per_address,
            ..config::HttpSettings::default()
        }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Ends as a connection does that was told to go.
    fn ends_when_told(admitted: AdmittedConnection) {
        let connection = admitted.connection.clone();
        tokio::spawn(async move {
            connection.overdue(&config::HttpSettings::default()).await;
            drop(admitted);
        });
    }

    #[tokio::test]
    async fn who_says_nothing_makes_room_for_others() {
        let all = ConnectionLimiter::new(&limits(2, 2));
        let first = all.admit(address(1)).await.unwrap();
        let second = all.admit(address(2)).await.unwrap();
        drop(second.connection.begin());
        ends_when_told(first);
        // The first has never asked anything, the second has.
        let third = all.admit(address(3)).await.unwrap();
        let works = (second.connection.begin(), third.connection.begin());
        assert!(all.admit(address(4)).await.is_err(), "who works is not sent away");
        drop(works);
    }

    #[tokio::test]
    async fn no_address_takes_all_places() {
        let all = ConnectionLimiter::new(&limits(4, 2));
        let held: Vec<_> =
            [all.admit(address(1)).await.unwrap(), all.admit(address(1)).await.unwrap()].into();
        let works: Vec<_> = held.iter().map(|one| one.connection.begin()).collect();
        let refused = all.admit(address(1)).await.err().unwrap().to_string();
        assert!(refused.contains("10.0.0.1"), "{refused}");
        assert!(all.admit(address(2)).await.is_ok());
        drop(works);
        drop(held);
        assert!(all.admit(address(1)).await.is_ok(), "a place is free again");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let parse = |text: &str| owner(text.parse().unwrap());
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::ffff:1"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:10.0.0.1"), parse("10.0.0.1"));
    }
}
