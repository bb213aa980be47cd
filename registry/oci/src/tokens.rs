//! Access tokens, of which only hashes are stored, and the short-lived tokens that clients get for them at `/v2/token`.

mod stored_scopes;

use std::sync::Arc;

use eyot_core::{Digest, Error, Kind, Result, Timestamp, new_id};
use eyot_meta::{SqlRow, sql};
use serde::{Deserialize, Serialize};

use crate::access::{RegistryCaller, TokenHolder};
use crate::registry::Registry;
use crate::scope::AccessScope;
use crate::short_lived_token::TokenClaims;
use stored_scopes::{read_scopes, write_scopes};

/// An access token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    pub id: String,
    pub name: String,
    pub scopes: Vec<AccessScope>,
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

impl Registry {
    /// Makes a token for `caller`.
    ///
    /// Fails with `Conflict` when there is one of that name, and with `Denied` when it would allow more than
    /// the caller has.
    pub async fn create_token_for(
        &self,
        caller: &RegistryCaller,
        name: &str,
        scopes: Vec<AccessScope>,
        expires: Option<Timestamp>,
    ) -> Result<CreatedToken> {
        caller.require_to_give(&scopes)?;
        self.create_token(name, scopes, expires).await
    }

    /// Whether there is a valid token.
    pub async fn has_good_token(&self) -> Result<bool> {
        let now = Timestamp(self.now());
        let is_good = |token: &AccessToken| {
            token.revoked.is_none() && token.expires.is_none_or(|expires| now < expires)
        };
        Ok(self.tokens().await?.iter().any(is_good))
    }

    /// Makes a token.
    ///
    /// Fails with `Conflict` when there is one of that name.
    pub async fn create_token(
        &self,
        name: &str,
        scopes: Vec<AccessScope>,
        expires: Option<Timestamp>,
    ) -> Result<CreatedToken> {
        let name: eyot_core::Name = name.parse()?;
        if scopes.is_empty() {
            return Err(Error::invalid("a token without scopes allows nothing")
                .hint("--role editor, or --scope repository:NAME:pull,push"));
        }
        let (id, secret) = (new_id(), format!("{SECRET_PREFIX}{}{}", new_id(), new_id()));
        let token = AccessToken {
            id,
            name: name.to_string(),
            scopes,
            created: Timestamp(self.now()),
            expires,
            revoked: None,
        };
        let scopes = write_scopes(&token.scopes)?;
        let mut tx = self.0.db.begin().await?;
        sql("INSERT INTO tokens (id, name, secret_hash, scopes, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(&token.id)
            .bind(&token.name)
            .bind(secret_hash(&secret))
            .bind(scopes)
            .bind(token.created.0)
            .bind(expires.map(|time| time.0))
            .execute(&mut tx)
            .await
            .map_err(|error| match error.kind() {
                Kind::Conflict => Error::conflict(format!("there is a token '{name}' already")).hint("choose another name"),
                _ => error,
            })?;
        tx.commit().await?;
        Ok(CreatedToken { token, secret })
    }

    /// Every token, by name.
    pub async fn tokens(&self) -> Result<Vec<AccessToken>> {
        let rows = sql("SELECT * FROM tokens ORDER BY name").fetch_all(&self.0.db).await?;
        rows.iter().map(token_of_row).collect()
    }

    /// Revokes a token for `caller`.
    ///
    /// Fails with `Denied` when it allows more than the caller has.
    pub async fn revoke_token_for(&self, caller: &RegistryCaller, name: &str) -> Result<()> {
        if let Some(token) = self.tokens().await?.iter().find(|token| token.name == name) {
            caller.require_to_give(&token.scopes)?;
        }
        self.revoke_token(name).await
    }

    /// Revokes a token: short-lived ones that were issued for it are invalid from the next request on.
    pub async fn revoke_token(&self, name: &str) -> Result<()> {
        let mut tx = self.0.db.begin().await?;
        let query = "UPDATE tokens SET revoked_at = $1 WHERE name = $2 AND revoked_at IS NULL";
        let done = sql(query).bind(self.now()).bind(name).execute(&mut tx).await?;
        // After the commit: whoever read the old row before it must not keep it.
        self.on_commit(&mut tx, |inner| inner.holders.clear());
        tx.commit().await?;
        if done == 0 {
            return Err(Error::not_found(format!("there is no token '{name}' to revoke"))
                .hint("eyot token ls lists them"));
        }
        Ok(())
    }

    /// The holder of a secret; none when it is invalid, revoked or expired.
    pub(crate) async fn holder_of_secret(&self, secret: &str) -> Result<Option<Arc<TokenHolder>>> {
        if !secret.starts_with(SECRET_PREFIX) {
            return Ok(None);
        }
        let hash = secret_hash(secret);
        self.holder(&hash, "SELECT * FROM tokens WHERE secret_hash = $1 AND revoked_at IS NULL").await
    }

    async fn holder(&self, key: &str, query: &'static str) -> Result<Option<Arc<TokenHolder>>> {
        let good = |holder: &Arc<TokenHolder>| holder.expires.is_none_or(|expires| self.now() < expires);
        if let Some(holder) = self.0.holders.get(key) {
            return Ok(Some(holder).filter(good));
        }
        let epoch = self.0.holders.epoch();
        let row = sql(query).bind(key).fetch_optional(&self.0.db).await?;
        let Some(token) = row.as_ref().map(token_of_row).transpose()? else { return Ok(None) };
        let expires = token.expires.map(|time| time.0);
        let holder = Arc::new(TokenHolder { id: token.id, name: token.name, scopes: token.scopes, expires });
        self.0.holders.insert(epoch, key.to_owned(), holder.clone(), 1);
        Ok(Some(holder).filter(good))
    }

    /// Issues a short-lived token for those requested scopes that the caller may have.
    pub(crate) fn grant(&self, caller: &RegistryCaller, asked: &[AccessScope], until: i64) -> Result<String> {
        let holder = match caller {
            RegistryCaller::Holder(holder, _) => Some(holder.id.clone()),
            _ => None,
        };
        let scopes = asked.iter().filter_map(|scope| match scope.role() {
            Some(role) => caller.role().filter(|held| *held >= role).map(|_| scope.clone()),
            None => scope.intersection(|action, name| caller.could(action, name)),
        });
        self.0.key.sign(&TokenClaims { holder, scopes: scopes.collect(), until })
    }

    /// The caller of a bearer token: a short-lived one, or a secret itself. None when it is invalid.
    pub(crate) async fn bearer(&self, token: &str) -> Result<Option<RegistryCaller>> {
        if token.starts_with(SECRET_PREFIX) {
            let anonymous = self.0.settings.anonymous;
            return Ok(self
                .holder_of_secret(token)
                .await?
                .map(|holder| RegistryCaller::Holder(holder, anonymous)));
        }
        let Some(claims) = self.0.key.check(token, self.now()) else { return Ok(None) };
        let holder = match claims.holder {
            None => None,
            Some(id) => {
                let holder =
                    self.holder(&id, "SELECT * FROM tokens WHERE id = $1 AND revoked_at IS NULL").await?;
                let Some(holder) = holder else { return Ok(None) };
                Some(holder)
            }
        };
        let anonymous = self.0.settings.anonymous;
        Ok(Some(RegistryCaller::Granted { holder, anonymous, scopes: claims.scopes.into() }))
    }
}

fn token_of_row(row: &SqlRow) -> Result<AccessToken> {
    let time = |name: &str| row.get::<Option<i64>>(name).map(|time| time.map(Timestamp));
    let scopes: String = row.get("scopes")?;
    Ok(AccessToken {
        id: row.get("id")?,
        name: row.get("name")?,
        scopes: read_scopes(&scopes)?,
        created: Timestamp(row.get("created_at")?),
        expires: time("expires_at")?,
        revoked: time("revoked_at")?,
    })
}
