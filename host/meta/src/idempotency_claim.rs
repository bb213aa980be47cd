//! What a transaction writes of the request in which it is, where that was sent with a key.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eyot_core::{Clock as _, Error, SystemClock};

use crate::{SqlStatement, sql};

/// How long a key is known.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// What was done before this is known no more, in milliseconds since 1970.
pub(crate) fn oldest() -> i64 {
    SystemClock.now().0 - i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX)
}

/// A request that its sender gave a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotentRequest {
    /// Whose key it is: two callers may have the same.
    pub caller: String,
    pub key: String,
    /// The hash of all that makes it this request.
    pub hash: String,
}

/// A request that is being done.
#[derive(Debug)]
pub(crate) struct IdempotencyClaim {
    request: IdempotentRequest,
    /// A transaction that says so is committed.
    is_written: AtomicBool,
}

impl IdempotencyClaim {
    pub(crate) fn new(request: IdempotentRequest) -> Self {
        Self { request, is_written: AtomicBool::new(false) }
    }

    pub(crate) fn request(&self) -> &IdempotentRequest {
        &self.request
    }

    pub(crate) fn is_written(&self) -> bool {
        self.is_written.load(Ordering::Acquire)
    }

    pub(crate) fn set_written(&self) {
        self.is_written.store(true, Ordering::Release);
    }

    /// Forgets a request of long ago that had the same key.
    pub(crate) fn forget_old(&self) -> SqlStatement {
        let IdempotentRequest { caller, key, .. } = &self.request;
        let forget = sql("DELETE FROM idempotency_keys WHERE caller = $1 AND key = $2 AND created_at <= $3");
        forget.bind(caller).bind(key).bind(oldest())
    }

    /// Says that the request is done; it changes no row where another server has said so before.
    pub(crate) fn insert(&self) -> SqlStatement {
        let IdempotentRequest { caller, key, hash } = &self.request;
        let insert = sql("INSERT INTO idempotency_keys (caller, key, request_hash, created_at) \
             VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING");
        insert.bind(caller).bind(key).bind(hash).bind(SystemClock.now().0)
    }

    pub(crate) fn lost() -> Error {
        Error::conflict("this request is being done by another server")
            .hint("send it again in a moment; it is done once")
    }
}
