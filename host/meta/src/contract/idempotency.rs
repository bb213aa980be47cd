use eyot_core::{ErrorKind, Result};

use super::{Opened, event, topics};
use crate::{
    Database, IdempotencyState, IdempotentRequest, IdempotentRequests, KeptAnswer, RequestOrigin, sql,
};

fn request(caller: &str, key: &str, hash: &str) -> IdempotentRequest {
    IdempotentRequest { caller: caller.to_owned(), key: key.to_owned(), hash: hash.to_owned() }
}

fn answer(text: &str) -> KeptAnswer {
    KeptAnswer { status: 200, content_type: "application/json".to_owned(), body: Some(text.into()) }
}

/// Does a request as a handler does, in so many transactions; answers what it is told of the request first.
async fn do_request(db: &Database, request: IdempotentRequest, commits: usize, ends: bool) -> Result<String> {
    let requests = IdempotentRequests::new(db.clone());
    RequestOrigin::new(None, None).scope(do_in_scope(db, &requests, request, commits, ends)).await
}

async fn do_in_scope(
    db: &Database,
    requests: &IdempotentRequests,
    request: IdempotentRequest,
    commits: usize,
    ends: bool,
) -> Result<String> {
    let claimed = match requests.begin(request.clone()).await? {
        IdempotencyState::New(claimed) => claimed,
        IdempotencyState::Answered(kept) => {
            return Ok(String::from_utf8(kept.body.unwrap_or_default()).unwrap());
        }
        other => return Ok(format!("{other:?}")),
    };
    let again = requests.begin(request).await?;
    assert!(matches!(again, IdempotencyState::UnderWay), "{again:?}");
    claimed.enter();
    for _ in 0..commits {
        let mut tx = db.begin().await?;
        tx.emit(event("a"));
        tx.commit().await?;
    }
    if ends {
        claimed.answered(&answer("first")).await?;
    }
    Ok("done".to_owned())
}

pub(super) async fn a_request_with_a_key_is_done_once(opened: Opened) {
    let Opened { db, other, .. } = &opened;
    for (server, named, commits, ends, expected, events) in [
        (db, request("ana", "1", "x"), 2, true, "done", 2),
        (db, request("ana", "1", "x"), 1, true, "first", 2),
        (other, request("ana", "1", "x"), 1, true, "first", 2),
        (db, request("ana", "1", "y"), 1, true, "Other", 2),
        // Whose key it is makes it another one.
        (db, request("bo", "1", "x"), 1, true, "done", 3),
        // What has changed nothing may be done again.
        (db, request("ana", "2", "x"), 0, true, "done", 3),
        (db, request("ana", "2", "x"), 1, false, "done", 4),
        // The server ended between the commit and the answer.
        (other, request("ana", "2", "x"), 1, true, "Unanswered", 4),
    ] {
        assert_eq!(do_request(server, named.clone(), commits, ends).await.unwrap(), expected, "{named:?}");
        assert_eq!(topics(db, 0, 100).await.len(), events, "{named:?}");
    }
    // Two servers at once: both begin, and one commits.
    let requests = [IdempotentRequests::new(db.clone()), IdempotentRequests::new(other.clone())];
    let race = async |server: &Database, requests: &IdempotentRequests| {
        let IdempotencyState::New(claimed) = requests.begin(request("ana", "3", "x")).await? else {
            panic!("it is new");
        };
        claimed.enter();
        let mut tx = server.begin().await?;
        tx.emit(event("raced"));
        // Held until both have begun: the second begins while the first has not committed.
        drop(tx);
        Ok::<_, eyot_core::Error>(claimed)
    };
    let origins = [RequestOrigin::new(None, None), RequestOrigin::new(None, None)];
    let [first, second] = origins;
    let commit = async |server: &Database| -> Result<()> {
        let mut tx = server.begin().await?;
        tx.emit(event("raced"));
        tx.commit().await
    };
    let ends = first
        .scope(async {
            let _first = race(db, &requests[0]).await.unwrap();
            let lost = second
                .scope(async {
                    let _second = race(other, &requests[1]).await.unwrap();
                    commit(other).await
                })
                .await;
            (lost, commit(db).await)
        })
        .await;
    assert!(ends.0.is_ok(), "{ends:?}");
    assert_eq!(ends.1.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(topics(db, 4, 100).await.len(), 1);

    // A day later it is another request.
    sql("UPDATE idempotency_keys SET created_at = 0").execute(db).await.unwrap();
    assert_eq!(do_request(db, request("ana", "1", "y"), 1, true).await.unwrap(), "done");
}
