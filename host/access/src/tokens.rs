//! Access tokens, of which only hashes are stored, and the short-lived tokens that clients get for them at `/v2/token`.

mod stored_scopes;

use std::sync::Arc;
use std::time::Duration;

use eyot_core::{Digest, Error, ErrorKind, Permission, ProjectName, Result, Role, Timestamp, new_id};
use eyot_meta::{Event, SqlRow, SqlStatement, Transaction, sql};
use serde::{Deserialize, Serialize};

use crate::caller::{Caller, CallerIdentity, TokenHolder};
use crate::rights::no_principal;
use crate::scope::AccessScope;
use crate::short_lived_token::TokenClaims;
use crate::store::AccessStore;
use stored_scopes::{read_scopes, write_scopes};

/// An access token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    pub id: String,
    pub name: String,
    pub scopes: Vec<AccessScope>,
    /// The user or service whose it is; none for a token of nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its only project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectName>,
    pub created: Timestamp,
    pub expires: Option<Timestamp>,
    pub revoked: Option<Timestamp>,
}

/// A token that was just made: the only time its secret is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreatedToken {
    #[serde(flatten)]
    pub token: AccessToken,
    pub secret: String,
}

/// The prefix of every secret, by which scanners recognize leaked ones.
const SECRET_PREFIX: &str = "eyot_";

fn secret_hash(secret: &str) -> String {
    Digest::of(secret).hex()
}

/// A token to be made.
#[derive(Clone, Debug, Default)]
pub struct NewToken {
    pub name: String,
    /// What it is narrowed to; without any it has what its principal has.
    pub scopes: Vec<AccessScope>,
    /// Its only project.
    pub project: Option<ProjectName>,
    pub expires: Option<Timestamp>,
}

/// How long a secret that was replaced is good at most.
const MAX_GRACE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The statement that reads tokens, all or some.
macro_rules! tokens_query {
    ($some:literal) => {
        concat!(
            "SELECT t.*, p.name AS owner FROM tokens t LEFT JOIN principals p ON p.id = t.principal ",
            $some
        )
    };
}

impl AccessStore {
    /// Makes a token of the caller's: of the user or service that they are, else one of nobody, which allows what its
    /// scopes say.
    ///
    /// Fails with `Conflict` when there is one of that name, and with `Denied` when it would allow more than
    /// the caller has.
    pub async fn create_token(
        &self,
        caller: &Caller,
        project: &ProjectName,
        token: NewToken,
    ) -> Result<CreatedToken> {
        require_some_tokens(caller, project)?;
        caller.require_to_give(&token.scopes)?;
        let token = within(caller, token)?;
        if let Some(project) = &token.project {
            self.check_project(project)?;
        }
        let principal = caller.rights().map(|rights| rights.id.clone());
        if principal.is_none() && token.scopes.is_empty() {
            return Err(Error::invalid("a token without scopes allows nothing")
                .hint("--role editor, or --scope repository:NAME:pull,push"));
        }
        self.insert_token(token, principal.as_deref(), caller.principal().map(|(_, name)| name)).await
    }

    /// Makes a token of a service of the project.
    pub async fn create_service_token(
        &self,
        caller: &Caller,
        project: &ProjectName,
        service: &str,
        token: NewToken,
    ) -> Result<CreatedToken> {
        caller.require(Permission::TokenManage, project)?;
        let row = sql("SELECT id FROM principals WHERE name = $1 AND kind = 'service' AND project = $2");
        let row = row.bind(service).bind(project.as_str()).fetch_optional(&self.0.db).await?;
        let id: String = row.ok_or_else(|| no_principal(service))?.get("id")?;
        let token = NewToken { project: Some(project.clone()), ..token };
        self.insert_token(token, Some(&id), Some(service)).await
    }

    /// Signs a user in on a command line: a token of theirs with all that they may.
    pub async fn log_in(&self, user: &str, password: &str, token: NewToken) -> Result<CreatedToken> {
        let principal = self.check_password(user, password).await?;
        self.insert_token(token, Some(&principal), Some(user)).await
    }

    async fn insert_token(
        &self,
        token: NewToken,
        principal: Option<&str>,
        owner: Option<&str>,
    ) -> Result<CreatedToken> {
        let mut tx = self.0.db.begin().await?;
        let created = self.write_token(&mut tx, token, principal, owner).await?;
        tx.commit().await?;
        Ok(created)
    }

    pub(crate) async fn write_token(
        &self,
        tx: &mut Transaction,
        token: NewToken,
        principal: Option<&str>,
        owner: Option<&str>,
    ) -> Result<CreatedToken> {
        let NewToken { name, scopes, project, expires } = token;
        let name: eyot_core::Name = name.parse()?;
        let secret = new_secret();
        let token = AccessToken {
            id: new_id(),
            name: name.to_string(),
            scopes,
            owner: owner.map(str::to_owned),
            project,
            created: self.now(),
            expires,
            revoked: None,
        };
        let insert = sql(
            "INSERT INTO tokens (id, name, secret_hash, scopes, principal, project, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        );
        let insert = insert.bind(&token.id).bind(&token.name).bind(secret_hash(&secret));
        let insert = insert.bind(write_scopes(&token.scopes)?).bind(principal);
        let insert = insert.bind(token.project.as_ref().map(ProjectName::as_str)).bind(token.created.0);
        let insert = insert.bind(token.expires.map(|time| time.0));
        insert.execute(&mut *tx).await.map_err(|error| match error.kind() {
            ErrorKind::Conflict => {
                Error::conflict(format!("there is a token '{name}' already")).hint("choose another name")
            }
            _ => error,
        })?;
        let payload = serde_json::json!({ "owner": owner, "scopes": token.scopes, "project": token.project });
        tx.emit(Event::new("token.created", name.as_str(), payload));
        Ok(CreatedToken { token, secret })
    }

    /// Whether there is a valid token.
    pub async fn has_good_token(&self) -> Result<bool> {
        let row = sql(
            "SELECT 1 FROM tokens WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1) LIMIT 1",
        );
        Ok(row.bind(self.now().0).fetch_optional(&self.0.db).await?.is_some())
    }

    /// The tokens that the caller may manage, by name: their own, and those of their project; all for an owner.
    pub async fn tokens(&self, caller: &Caller, project: &ProjectName) -> Result<Vec<AccessToken>> {
        require_some_tokens(caller, project)?;
        let rows = sql(tokens_query!("ORDER BY t.name")).fetch_all(&self.0.db).await?;
        let mut tokens = Vec::new();
        for row in &rows {
            let token = token_of_row(row)?;
            if self.may_manage(caller, project, &token) {
                tokens.push(token);
            }
        }
        Ok(tokens)
    }

    fn may_manage(&self, caller: &Caller, project: &ProjectName, token: &AccessToken) -> bool {
        if caller.bound_project().is_some_and(|bound| token.project.as_ref() != Some(bound)) {
            return false;
        }
        let is_own = caller.principal().is_some_and(|(_, name)| token.owner.as_deref() == Some(name));
        let is_owner = caller.role_in(project) == Some(Role::Owner);
        // A token without a project is of `default` when it is nobody's, and of all of its user's otherwise.
        let home = match (&token.project, &token.owner) {
            (Some(home), _) => Some(home.clone()),
            (None, None) => Some(ProjectName::default()),
            (None, Some(_)) => None,
        };
        let is_of_project = home.as_ref() == Some(project)
            && caller.require(Permission::TokenManage, project).is_ok()
            && caller.require_to_give(&token.scopes).is_ok();
        is_own || is_owner || is_of_project
    }

    /// The token of a name, if the caller may manage it.
    ///
    /// Fails with `NotFound` else; with `Denied` for one in sight that has more than the caller.
    async fn managed(&self, caller: &Caller, project: &ProjectName, name: &str) -> Result<AccessToken> {
        require_some_tokens(caller, project)?;
        let missing = || {
            let shown: String = name.chars().take(80).collect();
            Error::not_found(format!("there is no token '{shown}'")).hint("eyot token ls lists them")
        };
        let row = sql(tokens_query!("WHERE t.name = $1 AND t.revoked_at IS NULL"));
        let row = row.bind(name).fetch_optional(&self.0.db).await?.ok_or_else(missing)?;
        let token = token_of_row(&row)?;
        if self.may_manage(caller, project, &token) {
            return Ok(token);
        }
        // Whoever manages tokens is told why not of one that has more than they.
        caller
            .require(Permission::TokenManage, project)
            .and_then(|()| caller.require_to_give(&token.scopes))?;
        Err(missing())
    }

    /// Revokes a token: short-lived ones that were issued for it are invalid from the next request on.
    pub async fn revoke_token(&self, caller: &Caller, project: &ProjectName, name: &str) -> Result<()> {
        let token = self.managed(caller, project, name).await?;
        let mut tx = self.0.db.begin().await?;
        let query = "UPDATE tokens SET revoked_at = $1 WHERE id = $2";
        sql(query).bind(self.now().0).bind(&token.id).execute(&mut tx).await?;
        self.forget_on_commit(&mut tx);
        tx.emit(Event::new("token.revoked", name, serde_json::json!({ "actor": caller.actor() })));
        tx.commit().await
    }

    /// Gives a token another secret. The one that it had is good for `grace` more, so that whoever uses it can be told
    /// the new one meanwhile.
    pub async fn rotate_token(
        &self,
        caller: &Caller,
        project: &ProjectName,
        name: &str,
        grace: Duration,
    ) -> Result<CreatedToken> {
        let token = self.managed(caller, project, name).await?;
        if grace > MAX_GRACE {
            return Err(Error::invalid("a secret that is replaced is good for 30 days more at most")
                .hint("--grace 24h is common; create a second token where both are to stay"));
        }
        let secret = new_secret();
        let until = self.now().0 + i64::try_from(grace.as_millis()).unwrap_or_default();
        let mut tx = self.0.db.begin().await?;
        sql("UPDATE tokens SET previous_hash = secret_hash, previous_until = $1, secret_hash = $2 WHERE id = $3")
            .bind(until)
            .bind(secret_hash(&secret))
            .bind(&token.id)
            .execute(&mut tx)
            .await?;
        self.forget_on_commit(&mut tx);
        tx.emit(Event::new("token.rotated", name, serde_json::json!({ "actor": caller.actor() })));
        tx.commit().await?;
        Ok(CreatedToken { token, secret })
    }

    /// The caller that shows a secret, or a short-lived token; none when it is invalid, revoked or expired.
    pub(crate) async fn of_token(&self, shown: &str) -> Result<Option<Caller>> {
        if is_secret(shown) {
            let holder = self.holder_of_secret(shown).await?;
            return Ok(holder.map(|holder| self.caller(CallerIdentity::Token(holder))));
        }
        let Some(claims) = self.0.key.check(shown, self.now().0) else { return Ok(None) };
        let identity = match claims.holder {
            None => CallerIdentity::Anonymous,
            Some(id) => {
                let query = sql(tokens_query!("WHERE t.id = $1 AND t.revoked_at IS NULL")).bind(&id);
                let Some(holder) = self.holder(&id, query).await? else { return Ok(None) };
                CallerIdentity::Token(holder)
            }
        };
        Ok(Some(Caller { granted: Some(claims.scopes.into()), ..self.caller(identity) }))
    }

    async fn holder_of_secret(&self, secret: &str) -> Result<Option<Arc<TokenHolder>>> {
        let hash = secret_hash(secret);
        let query = sql(tokens_query!(
            "WHERE (t.secret_hash = $1 OR t.previous_hash = $2 AND t.previous_until > $3) AND t.revoked_at IS NULL"
        ));
        let query = query.bind(&hash).bind(&hash).bind(self.now().0);
        self.holder(&hash, query).await
    }

    async fn holder(&self, key: &str, query: SqlStatement) -> Result<Option<Arc<TokenHolder>>> {
        let is_good = |holder: &Arc<TokenHolder>| holder.expires.is_none_or(|expires| self.now() < expires);
        if let Some(holder) = self.0.holders.get(key) {
            return Ok(Some(holder).filter(is_good));
        }
        let epoch = self.0.holders.epoch();
        let Some(row) = query.fetch_optional(&self.0.db).await? else { return Ok(None) };
        let AccessToken { id, name, scopes, project, expires, .. } = token_of_row(&row)?;
        let principal = match row.get::<Option<String>>("principal")? {
            None => None,
            Some(principal) => match self.rights(&principal).await? {
                Some(rights) => Some(rights),
                None => return Ok(None),
            },
        };
        // A secret that was replaced ends before its token does.
        let replaced = row.get::<Option<String>>("previous_hash")?.is_some_and(|hash| hash == key);
        let until = if replaced { row.get::<Option<i64>>("previous_until")?.map(Timestamp) } else { None };
        let expires = [expires, until].into_iter().flatten().min();
        let holder = Arc::new(TokenHolder { id, name, scopes, project, principal, expires });
        self.0.holders.insert(epoch, key.to_owned(), holder.clone(), 1);
        Ok(Some(holder).filter(is_good))
    }

    /// Issues a short-lived token for those requested scopes that the caller may have.
    pub fn grant(&self, caller: &Caller, asked: &[AccessScope], until: Timestamp) -> Result<String> {
        let holder = match &caller.identity {
            CallerIdentity::Token(holder) => Some(holder.id.clone()),
            _ => None,
        };
        let scopes = asked.iter().filter_map(|scope| match scope.project_role() {
            Some((project, role)) => {
                caller.role_in(&project).filter(|held| *held >= role).map(|_| scope.clone())
            }
            None => scope.intersection(|action, name| caller.could(action, name)),
        });
        self.0.key.sign(&TokenClaims { holder, scopes: scopes.collect(), until: until.0 })
    }
}

/// Users and services have tokens of their own; everybody else manages those of nobody, or none. With a token that is
/// narrowed nobody gets at one that is not.
fn require_some_tokens(caller: &Caller, project: &ProjectName) -> Result<()> {
    match caller.rights() {
        Some(_) if caller.is_narrowed() => {
            Err(Error::denied("this token is narrowed by scopes, and manages no tokens")
                .hint("eyot login gets a token that does"))
        }
        Some(_) => Ok(()),
        None => caller.require(Permission::TokenManage, project),
    }
}

/// What is made with a token of one project is for that project.
fn within(caller: &Caller, token: NewToken) -> Result<NewToken> {
    match (caller.bound_project(), &token.project) {
        (Some(bound), Some(wanted)) if bound != wanted => {
            Err(Error::denied(format!("this token is for project '{bound}', and makes none for '{wanted}'"))
                .hint("eyot login gets a token for every project of yours"))
        }
        (Some(bound), _) => Ok(NewToken { project: Some(bound.clone()), ..token }),
        (None, _) => Ok(token),
    }
}

/// Whether a text is the secret of a token, as far as can be seen.
pub(crate) fn is_secret(text: &str) -> bool {
    text.starts_with(SECRET_PREFIX)
}

fn new_secret() -> String {
    format!("{SECRET_PREFIX}{}{}", new_id(), new_id())
}

fn token_of_row(row: &SqlRow) -> Result<AccessToken> {
    let time = |name: &str| row.get::<Option<i64>>(name).map(|time| time.map(Timestamp));
    let (scopes, project): (String, Option<String>) = (row.get("scopes")?, row.get("project")?);
    Ok(AccessToken {
        id: row.get("id")?,
        name: row.get("name")?,
        scopes: read_scopes(&scopes)?,
        owner: row.get("owner")?,
        project: project.map(|project| project.parse()).transpose()?,
        created: Timestamp(row.get("created_at")?),
        expires: time("expires_at")?,
        revoked: time("revoked_at")?,
    })
}
