//! From whom the work of a task comes. It goes with the task, so that what is committed can say who did it wherever that
//! is: nobody who writes rows has to be handed a name, and none can forget to hand one on.

use std::borrow::Cow;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use eyot_core::new_id;

use crate::idempotency_claim::IdempotencyClaim;

tokio::task_local! {
    static ORIGIN: Arc<RequestOrigin>;
}

/// Who is named where this server does something by itself.
pub const SERVER_ACTOR: &str = "server";
/// Who is named where a request showed nothing.
const UNKNOWN_ACTOR: &str = "anonymous";

/// Where a request comes from.
#[derive(Debug, Default)]
pub struct RequestOrigin {
    /// The address of the other side; none for what this process asks of itself.
    pub address: Option<IpAddr>,
    /// What the answer and the audit log name the request by; made where it is needed first.
    request_id: OnceLock<String>,
    actor: OnceLock<Cow<'static, str>>,
    /// Where the request was sent with a key.
    claim: OnceLock<Arc<IdempotencyClaim>>,
}

impl RequestOrigin {
    /// Of a request whose sender is not known yet, and that its client may have named.
    pub fn new(address: Option<IpAddr>, request_id: Option<String>) -> Arc<Self> {
        let origin = Self { address, ..Self::default() };
        if let Some(id) = request_id {
            // It is new: there is none yet.
            let _ = origin.request_id.set(id);
        }
        Arc::new(origin)
    }

    /// Does `work` for this origin.
    pub fn scope<F: Future>(self: Arc<Self>, work: F) -> impl Future<Output = F::Output> {
        ORIGIN.scope(self, work)
    }

    /// What names the request.
    pub fn request_id(&self) -> &str {
        self.request_id.get_or_init(new_id)
    }

    /// The same, if its client or anything that was written names it.
    pub fn given_request_id(&self) -> Option<&str> {
        self.request_id.get().map(String::as_str)
    }

    /// That of the work of this task; none where this server does something by itself.
    pub fn current() -> Option<Arc<Self>> {
        ORIGIN.try_with(Arc::clone).ok()
    }

    /// Has work that is done in another task go on for the origin of this one.
    pub fn carry<F: Future>(work: F) -> impl Future<Output = F::Output> {
        let origin = Self::current();
        async move {
            match origin {
                Some(origin) => ORIGIN.scope(origin, work).await,
                None => work.await,
            }
        }
    }

    /// Names who sent the request, once that is known. The first to say so is believed.
    pub fn set_actor(actor: impl FnOnce() -> Cow<'static, str>) {
        // Work without an origin is this server's own.
        let _ = ORIGIN.try_with(|origin| origin.actor.get_or_init(actor).len());
    }

    /// Has what is committed for this origin say that the request was done.
    pub(crate) fn set_claim(&self, claim: Arc<IdempotencyClaim>) {
        // A request is entered once.
        let _ = self.claim.set(claim);
    }

    pub(crate) fn claim(&self) -> Option<Arc<IdempotencyClaim>> {
        self.claim.get().cloned()
    }

    /// Who sent the request.
    pub fn actor(&self) -> &str {
        self.actor.get().map_or(UNKNOWN_ACTOR, |actor| actor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn actor() -> Option<String> {
        RequestOrigin::current().map(|origin| origin.actor().to_owned())
    }

    #[tokio::test]
    async fn it_goes_with_the_work_and_no_further() {
        assert_eq!(actor(), None);
        let origin = RequestOrigin::new(None, Some("r1".to_owned()));
        let seen = origin
            .scope(async {
                let before = actor();
                RequestOrigin::set_actor(|| "user:ana".into());
                RequestOrigin::set_actor(|| "user:bo".into());
                let elsewhere = tokio::spawn(async { actor() }).await.unwrap();
                let carried = tokio::spawn(RequestOrigin::carry(async { actor() })).await.unwrap();
                [before, actor(), elsewhere, carried]
            })
            .await;
        let ana = Some("user:ana".to_owned());
        assert_eq!(seen, [Some("anonymous".to_owned()), ana.clone(), None, ana]);
        assert_eq!(actor(), None);
    }
}
