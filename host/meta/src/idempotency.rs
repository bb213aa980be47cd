//! Requests that are sent again: by its `Idempotency-Key` one that was done is not done a second time, and its answer is
//! given again. That it was done is written in the transaction in which it is.

use std::collections::HashSet;
use std::sync::Arc;

use eyot_core::{Error, Result};
use parking_lot::Mutex;

use crate::idempotency_claim::{IdempotencyClaim, IdempotentRequest, oldest};
use crate::origin::RequestOrigin;
use crate::{Database, sql};

/// A larger answer is not kept: what changes something answers with less.
const MAX_KEPT_ANSWER_BYTES: usize = 1 << 20;

/// What a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    pub status: u16,
    pub content_type: String,
    /// None where it is not to be kept, or too large for that.
    pub body: Option<Vec<u8>>,
}

/// Where a request with a key stands.
#[derive(Debug)]
pub enum IdempotencyState {
    /// It has not changed anything yet, and is now this caller's to do.
    New(ClaimedRequest),
    /// It was done, and answered so.
    Answered(KeptAnswer),
    /// It was done, and its answer is not known: the server ended before it was written.
    Unanswered,
    /// Another request had this key.
    Other,
    /// It is being done.
    UnderWay,
}

/// Requests with keys, in the metadata database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct IdempotentRequests {
    db: Database,
    under_way: Arc<Mutex<HashSet<(String, String)>>>,
}

impl IdempotentRequests {
    pub fn new(db: Database) -> Self {
        Self { db, under_way: Arc::default() }
    }

    /// Where a request stands; whoever is answered `New` does it.
    pub async fn begin(&self, request: IdempotentRequest) -> Result<IdempotencyState> {
        let id = (request.caller.clone(), request.key.clone());
        if !self.under_way.lock().insert(id) {
            return Ok(IdempotencyState::UnderWay);
        }
        let claim = Arc::new(IdempotencyClaim::new(request));
        let claimed = ClaimedRequest { requests: self.clone(), claim };
        let IdempotentRequest { caller, key, hash } = claimed.claim.request();
        let row = sql("SELECT request_hash, status, content_type, body FROM idempotency_keys \
             WHERE caller = $1 AND key = $2 AND created_at > $3");
        let row = row.bind(caller).bind(key).bind(oldest()).fetch_optional(&self.db).await?;
        let Some(row) = row else { return Ok(IdempotencyState::New(claimed)) };
        if row.get::<String>("request_hash")? != *hash {
            return Ok(IdempotencyState::Other);
        }
        let Some(status) = row.get::<Option<i64>>("status")? else { return Ok(IdempotencyState::Unanswered) };
        Ok(IdempotencyState::Answered(KeptAnswer {
            status: u16::try_from(status)
                .map_err(|error| Error::corrupt("a kept status is none").because(error))?,
            content_type: row.get("content_type")?,
            body: row.get("body")?,
        }))
    }
}

/// A request that is this caller's to do. Dropped, it may be sent again.
#[derive(Debug)]
pub struct ClaimedRequest {
    requests: IdempotentRequests,
    claim: Arc<IdempotencyClaim>,
}

impl ClaimedRequest {
    /// Has the first transaction of this task's request that makes something true write that the request was done.
    pub fn enter(&self) {
        if let Some(origin) = RequestOrigin::current() {
            origin.set_claim(self.claim.clone());
        }
    }

    /// Keeps the answer, if the request has changed anything; one that has not may be done again.
    pub async fn answered(&self, answer: &KeptAnswer) -> Result<()> {
        if !self.claim.is_written() {
            return Ok(());
        }
        let IdempotentRequest { caller, key, .. } = self.claim.request();
        let body = answer.body.clone().filter(|body| body.len() <= MAX_KEPT_ANSWER_BYTES);
        let mut tx = self.requests.db.begin().await?;
        let keep = sql("UPDATE idempotency_keys SET status = $1, content_type = $2, body = $3 \
             WHERE caller = $4 AND key = $5");
        let keep = keep.bind(i64::from(answer.status)).bind(&answer.content_type).bind(body);
        keep.bind(caller).bind(key).execute(&mut tx).await?;
        sql("DELETE FROM idempotency_keys WHERE created_at <= $1").bind(oldest()).execute(&mut tx).await?;
        tx.commit().await
    }
}

impl Drop for ClaimedRequest {
    fn drop(&mut self) {
        let IdempotentRequest { caller, key, .. } = self.claim.request();
        self.requests.under_way.lock().remove(&(caller.clone(), key.clone()));
    }
}
