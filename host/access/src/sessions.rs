//! Signing in with a password: sessions of browsers, and the check that a login by the command line passes as well.

use std::time::Duration;

use eyot_core::ProjectName;
use eyot_core::{Digest, Error, Result, Timestamp, new_id};
use eyot_meta::{AuditAction, RequestOrigin, SqlRow, Transaction, sql};
use serde::{Deserialize, Serialize};

use crate::audit::Denial;
use crate::caller::{Caller, CallerIdentity};
use crate::store::AccessStore;

/// A session that nobody uses for so long ends.
const IDLE_TIME: Duration = Duration::from_secs(12 * 3600);
/// And every one after so long.
const MAX_SESSION_TIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// How exactly it is known when one was used last: every request would be a write.
const SEEN_STEP: Duration = Duration::from_secs(300);
/// After so many wrong passwords each further try waits, twice as long each time.
const FREE_FAILURE_COUNT: i64 = 5;
const MAX_DELAY: Duration = Duration::from_secs(900);
/// How long wrong passwords are held against a name, and of how many names.
const FAILURES_KEPT: Duration = Duration::from_secs(24 * 3600);
const MAX_FAILING_NAME_COUNT: i64 = 10_000;
/// Longer is no name.
const MAX_NAME_CHAR_COUNT: usize = 128;

/// A session of a browser, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrowserSession {
    pub id: String,
    pub created: Timestamp,
    /// When it was used last, to five minutes.
    pub seen: Timestamp,
    pub expires: Timestamp,
    /// What the browser said of itself.
    pub agent: String,
}

/// A session that has just begun.
pub struct NewSession {
    pub session: BrowserSession,
    /// What the browser keeps in its cookie.
    pub secret: String,
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl AccessStore {
    /// Checks a user's password; answers their id.
    ///
    /// Fails with `Denied` in the same words whether there is no such user or the password is another, and with
    /// `Exhausted` for a while after many wrong ones.
    pub(crate) async fn check_password(&self, name: &str, password: &str) -> Result<String> {
        let name: String = name.chars().take(MAX_NAME_CHAR_COUNT).collect();
        // Counted before it is tried: of a thousand tries at once, each would else be the first.
        self.count_failure(&name).await?;
        let row = sql("SELECT id, password FROM principals \
             WHERE name = $1 AND kind = 'user' AND disabled_at IS NULL");
        let row = row.bind(&name).fetch_optional(&self.0.db).await?;
        let hash = row.as_ref().map(|row| row.get::<Option<String>>("password")).transpose()?.flatten();
        let is_right = self.0.passwords.check(password, hash).await?;
        let Some(row) = row.filter(|_| is_right) else {
            let error = Error::denied("there is no such user with that password")
                .hint("an owner sets another with eyot user password NAME");
            let (project, reason) = (&ProjectName::default(), error.to_string());
            let denial = Denial { project, action: "user.sign-in", object: &name, reason: &reason };
            self.write_denial(false, denial).await;
            return Err(error);
        };
        RequestOrigin::set_actor(|| format!("user:{name}").into());
        let mut tx = self.0.db.begin().await?;
        self.forget_failures(&mut tx, &name).await?;
        tx.commit().await?;
        row.get("id")
    }

    /// Counts a try as a failure, until it is known to be none. Names that nobody has are counted just so.
    async fn count_failure(&self, name: &str) -> Result<()> {
        let now = self.now().0;
        let mut tx = self.0.db.begin().await?;
        let row = sql("SELECT failures, failed_at FROM sign_in_failures WHERE name = $1").bind(name);
        if let Some(row) = row.fetch_optional(&mut tx).await? {
            let wait = row.get::<i64>("failed_at")? + delay(row.get("failures")?) - now;
            if wait > 0 {
                let seconds = wait / 1000 + 1;
                return Err(Error::exhausted(format!("too many wrong passwords for '{name}'"))
                    .hint(format!("try again in {seconds} s, or ask an owner for another password")));
            }
        }
        let old = sql("DELETE FROM sign_in_failures WHERE failed_at < $1 OR name IN \
             (SELECT name FROM sign_in_failures ORDER BY failed_at DESC LIMIT $2 OFFSET $3)");
        let old = old
            .bind(now - milliseconds(FAILURES_KEPT))
            .bind(MAX_FAILING_NAME_COUNT)
            .bind(MAX_FAILING_NAME_COUNT);
        old.execute(&mut tx).await?;
        let count = sql("INSERT INTO sign_in_failures (name, failures, failed_at) VALUES ($1, 1, $2) \
             ON CONFLICT (name) DO UPDATE SET failures = sign_in_failures.failures + 1, failed_at = excluded.failed_at");
        count.bind(name).bind(now).execute(&mut tx).await?;
        tx.commit().await
    }

    /// Forgets the wrong passwords of a user.
    pub(crate) async fn forget_failures(&self, tx: &mut Transaction, name: &str) -> Result<()> {
        let delete = sql("DELETE FROM sign_in_failures WHERE name = $1").bind(name);
        delete.execute(tx).await.map(drop)
    }

    /// Signs a user in.
    pub async fn sign_in(&self, name: &str, password: &str, agent: &str) -> Result<NewSession> {
        let principal = self.check_password(name, password).await?;
        let (now, secret) = (self.now(), format!("{}{}", new_id(), new_id()));
        let session = BrowserSession {
            id: new_id(),
            created: now,
            seen: now,
            expires: Timestamp(now.0 + milliseconds(MAX_SESSION_TIME)),
            agent: agent.chars().take(200).collect(),
        };
        let mut tx = self.0.db.begin().await?;
        let old = sql("DELETE FROM sessions WHERE expires_at <= $1 OR seen_at <= $2");
        old.bind(now.0).bind(now.0 - milliseconds(IDLE_TIME)).execute(&mut tx).await?;
        let insert =
            sql("INSERT INTO sessions (id, secret_hash, principal, created_at, seen_at, expires_at, agent) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)");
        let insert = insert.bind(&session.id).bind(Digest::of(&secret).hex()).bind(&principal).bind(now.0);
        insert.bind(now.0).bind(session.expires.0).bind(&session.agent).execute(&mut tx).await?;
        let detail = serde_json::json!({ "session": session.id, "agent": session.agent });
        tx.audit(AuditAction::done(&ProjectName::default(), "user.sign-in", name, detail));
        tx.commit().await?;
        Ok(NewSession { session, secret })
    }

    /// Ends the session of a secret, if there is one.
    pub async fn sign_out(&self, secret: &str) -> Result<()> {
        let mut tx = self.0.db.begin().await?;
        let delete = sql("DELETE FROM sessions WHERE secret_hash = $1").bind(Digest::of(secret).hex());
        delete.execute(&mut tx).await?;
        tx.commit().await
    }

    /// The caller's own sessions, newest first.
    pub async fn sessions(&self, caller: &Caller) -> Result<Vec<BrowserSession>> {
        let principal = own_id(caller)?;
        let rows = sql("SELECT * FROM sessions WHERE principal = $1 ORDER BY created_at DESC, id");
        rows.bind(principal).fetch_all(&self.0.db).await?.iter().map(read).collect()
    }

    /// Ends one of the caller's own sessions.
    pub async fn end_session(&self, caller: &Caller, id: &str) -> Result<()> {
        let principal = own_id(caller)?;
        let mut tx = self.0.db.begin().await?;
        let delete = sql("DELETE FROM sessions WHERE principal = $1 AND id = $2").bind(principal).bind(id);
        if delete.execute(&mut tx).await? == 0 {
            let shown: String = id.chars().take(40).collect();
            return Err(Error::not_found(format!("you have no session '{shown}'")));
        }
        tx.commit().await
    }

    /// Whose session a secret is of; none where it has ended.
    pub(crate) async fn of_session(&self, secret: &str) -> Result<Option<CallerIdentity>> {
        let hash = Digest::of(secret).hex();
        let row = sql("SELECT * FROM sessions WHERE secret_hash = $1").bind(&hash);
        let Some(row) = row.fetch_optional(&self.0.db).await? else { return Ok(None) };
        let (session, now) = (read(&row)?, self.now());
        if session.expires <= now || session.seen.0 + milliseconds(IDLE_TIME) <= now.0 {
            return Ok(None);
        }
        if session.seen.0 + milliseconds(SEEN_STEP) <= now.0 {
            let mut tx = self.0.db.begin().await?;
            let update =
                sql("UPDATE sessions SET seen_at = $1 WHERE secret_hash = $2").bind(now.0).bind(&hash);
            update.execute(&mut tx).await?;
            tx.commit().await?;
        }
        let principal: String = row.get("principal")?;
        Ok(self.rights(&principal).await?.map(CallerIdentity::User))
    }
}

fn own_id(caller: &Caller) -> Result<&str> {
    let rights = caller.rights().ok_or_else(|| {
        Error::denied("only users have sessions").hint("eyot login signs in as one; eyot user add makes one")
    })?;
    Ok(&rights.id)
}

/// How long the next try waits, in milliseconds.
fn delay(failures: i64) -> i64 {
    match u32::try_from(failures - FREE_FAILURE_COUNT) {
        Ok(more) => milliseconds(MAX_DELAY).min(1000_i64.saturating_mul(1_i64 << more.min(20))),
        Err(_) => 0,
    }
}

fn read(row: &SqlRow) -> Result<BrowserSession> {
    Ok(BrowserSession {
        id: row.get("id")?,
        created: Timestamp(row.get("created_at")?),
        seen: Timestamp(row.get("seen_at")?),
        expires: Timestamp(row.get("expires_at")?),
        agent: row.get("agent")?,
    })
}
