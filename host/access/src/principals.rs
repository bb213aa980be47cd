//! Users and services.

use std::collections::BTreeMap;
use std::sync::Arc;

use eyot_core::{Error, ErrorKind, Name, Permission, ProjectName, Result, Role, Timestamp, new_id};
use eyot_meta::{Event, SqlRow, sql};
use serde::{Deserialize, Serialize};

use crate::caller::{Caller, CallerIdentity};
use crate::passwords::random_password;
use crate::rights::{PrincipalKind, PrincipalRights, no_principal};
use crate::store::AccessStore;
use crate::tokens::{CreatedToken, NewToken};

/// A user or a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    pub name: String,
    pub kind: PrincipalKind,
    /// Owns the whole installation.
    pub is_owner: bool,
    /// The project of a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectName>,
    pub created: Timestamp,
}

/// A user that was just added.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewUser {
    #[serde(flatten)]
    pub user: Principal,
    /// The password that was made for them, where none was given: the only time it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

impl AccessStore {
    /// Adds a user; without a password one is made. The first user is an owner, and turns sign-in on.
    ///
    /// Fails with `Conflict` when somebody has the name.
    pub async fn add_user(
        &self,
        caller: &Caller,
        name: &str,
        password: Option<&str>,
        is_owner: bool,
    ) -> Result<NewUser> {
        caller.require(Permission::UserManage, &ProjectName::default())?;
        let name: Name = name.parse()?;
        let made = password.is_none().then(random_password);
        let hash = self.0.passwords.hash(made.as_deref().or(password).unwrap_or_default()).await?;
        let mut tx = self.0.db.begin().await?;
        let others =
            sql("SELECT 1 FROM principals WHERE kind = 'user' LIMIT 1").fetch_optional(&mut tx).await?;
        let user = Principal {
            name: name.to_string(),
            kind: PrincipalKind::User,
            // Whoever turns sign-in on would else be locked out by it.
            is_owner: is_owner || others.is_none(),
            project: None,
            created: self.now(),
        };
        insert(&mut tx, &new_id(), &user, Some(&hash)).await?;
        self.set_users_on_commit(&mut tx, true);
        let payload = serde_json::json!({ "owner": user.is_owner, "actor": caller.actor() });
        tx.emit(Event::new("user.added", name.as_str(), payload));
        tx.commit().await?;
        Ok(NewUser { user, password: made })
    }

    /// Every user, by name.
    pub async fn users(&self, caller: &Caller) -> Result<Vec<Principal>> {
        caller.require(Permission::UserManage, &ProjectName::default())?;
        let rows = sql("SELECT * FROM principals WHERE kind = 'user' ORDER BY name");
        rows.fetch_all(&self.0.db).await?.iter().map(read).collect()
    }

    /// Removes a user, with every token and session: they end with the next request.
    ///
    /// Fails with `Conflict` for the last owner as long as there are others.
    pub async fn remove_user(&self, caller: &Caller, name: &str) -> Result<()> {
        caller.require(Permission::UserManage, &ProjectName::default())?;
        let mut tx = self.0.db.begin().await?;
        let row = sql("SELECT id FROM principals WHERE name = $1 AND kind = 'user'");
        let row = row.bind(name).fetch_optional(&mut tx).await?.ok_or_else(|| no_principal(name))?;
        let id: String = row.get("id")?;
        let others = sql("SELECT COUNT(*) AS users, CAST(COALESCE(SUM(is_owner), 0) AS BIGINT) AS owners \
             FROM principals WHERE kind = 'user' AND id <> $1");
        let others = others.bind(&id).fetch_one(&mut tx).await?;
        let (users, owners): (i64, i64) = (others.get("users")?, others.get("owners")?);
        if users > 0 && owners == 0 {
            return Err(Error::conflict(format!("'{name}' is the last owner"))
                .hint("make another first: eyot user add NAME --owner"));
        }
        remove(&mut tx, &id).await?;
        // Without any user everything is as before the first.
        self.set_users_on_commit(&mut tx, users > 0);
        self.forget_on_commit(&mut tx);
        tx.emit(Event::new("user.removed", name, serde_json::json!({ "actor": caller.actor() })));
        tx.commit().await
    }

    /// Removes a service of a project, with its tokens.
    pub async fn remove_service(&self, caller: &Caller, project: &ProjectName, name: &str) -> Result<()> {
        caller.require(Permission::MemberManage, project)?;
        let mut tx = self.0.db.begin().await?;
        let row = sql("SELECT id FROM principals WHERE name = $1 AND kind = 'service' AND project = $2");
        let row = row.bind(name).bind(project.as_str()).fetch_optional(&mut tx).await?;
        let id: String = row.ok_or_else(|| no_principal(name))?.get("id")?;
        remove(&mut tx, &id).await?;
        self.forget_on_commit(&mut tx);
        let payload = serde_json::json!({ "actor": caller.actor() });
        tx.emit(Event::new("service.removed", name, payload).in_project(project));
        tx.commit().await
    }

    /// Gives a user another password: their own, or, for an owner, anybody's. All of their sessions end; tokens stay.
    pub async fn set_password(&self, caller: &Caller, name: &str, password: &str) -> Result<()> {
        let is_own = matches!(&caller.identity, CallerIdentity::User(user) if user.name == name);
        if !is_own {
            caller.require(Permission::UserManage, &ProjectName::default())?;
        }
        let hash = self.0.passwords.hash(password).await?;
        let mut tx = self.0.db.begin().await?;
        let update = sql("UPDATE principals SET password = $1 WHERE name = $2 AND kind = 'user'");
        if update.bind(&hash).bind(name).execute(&mut tx).await? == 0 {
            return Err(no_principal(name));
        }
        let end = sql("DELETE FROM sessions WHERE principal = (SELECT id FROM principals WHERE name = $1)");
        end.bind(name).execute(&mut tx).await?;
        self.forget_failures(&mut tx, name).await?;
        tx.emit(Event::new("user.password-set", name, serde_json::json!({ "actor": caller.actor() })));
        tx.commit().await
    }

    /// Makes a service of a project, which has a role there, and its first token, which is called like it.
    ///
    /// Fails with `Conflict` when somebody, or a token, has the name; then there is neither.
    pub async fn create_service(
        &self,
        caller: &Caller,
        project: &ProjectName,
        name: &str,
        role: Role,
    ) -> Result<(Principal, CreatedToken)> {
        caller.require(Permission::MemberManage, project)?;
        self.check_project(project)?;
        if role == Role::Owner {
            return Err(Error::invalid("a service has a role in its project, and owns no installation")
                .hint("the highest role in a project is admin"));
        }
        let name: Name = name.parse()?;
        let service = Principal {
            name: name.to_string(),
            kind: PrincipalKind::Service,
            is_owner: false,
            project: Some(project.clone()),
            created: self.now(),
        };
        let id = new_id();
        let mut tx = self.0.db.begin().await?;
        insert(&mut tx, &id, &service, None).await?;
        let member = sql("INSERT INTO members (project, principal, role) VALUES ($1, $2, $3)");
        member.bind(project.as_str()).bind(&id).bind(role.as_str()).execute(&mut tx).await?;
        let payload = serde_json::json!({ "role": role, "actor": caller.actor() });
        tx.emit(Event::new("service.created", name.as_str(), payload).in_project(project));
        let token =
            NewToken { name: name.to_string(), project: Some(project.clone()), ..NewToken::default() };
        let token = self.write_token(&mut tx, token, Some(&id), Some(name.as_str())).await?;
        tx.commit().await?;
        Ok((service, token))
    }

    /// What a principal may do now; none where it is no more.
    pub(crate) async fn rights(&self, id: &str) -> Result<Option<Arc<PrincipalRights>>> {
        if let Some(rights) = self.0.principals.get(id) {
            return Ok(Some(rights));
        }
        let epoch = self.0.principals.epoch();
        let row = sql("SELECT * FROM principals WHERE id = $1 AND disabled_at IS NULL").bind(id);
        let Some(row) = row.fetch_optional(&self.0.db).await? else { return Ok(None) };
        let principal = read(&row)?;
        let rows = sql("SELECT project, role FROM members WHERE principal = $1").bind(id);
        let mut roles = BTreeMap::new();
        for row in rows.fetch_all(&self.0.db).await? {
            let (project, role): (String, String) = (row.get("project")?, row.get("role")?);
            roles.insert(project.parse()?, role.parse()?);
        }
        let rights = Arc::new(PrincipalRights {
            id: id.to_owned(),
            name: principal.name,
            kind: principal.kind,
            is_owner: principal.is_owner,
            roles,
        });
        self.0.principals.insert(epoch, id.to_owned(), rights.clone(), 1);
        Ok(Some(rights))
    }
}

async fn remove(tx: &mut eyot_meta::Transaction, id: &str) -> Result<()> {
    for query in [
        "DELETE FROM members WHERE principal = $1",
        "DELETE FROM sessions WHERE principal = $1",
        "DELETE FROM tokens WHERE principal = $1",
        "DELETE FROM principals WHERE id = $1",
    ] {
        sql(query).bind(id).execute(&mut *tx).await?;
    }
    Ok(())
}

async fn insert(
    tx: &mut eyot_meta::Transaction,
    id: &str,
    principal: &Principal,
    password: Option<&str>,
) -> Result<()> {
    let Principal { name, kind, is_owner, project, created } = principal;
    let insert = sql("INSERT INTO principals (id, kind, name, project, password, is_owner, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)");
    let insert =
        insert.bind(id).bind(kind.as_str()).bind(name).bind(project.as_ref().map(ProjectName::as_str));
    let insert = insert.bind(password).bind(i64::from(*is_owner)).bind(created.0);
    insert.execute(tx).await.map(drop).map_err(|error| match error.kind() {
        ErrorKind::Conflict => Error::conflict(format!("there is a user or a service '{name}' already"))
            .hint("choose another name"),
        _ => error,
    })
}

fn read(row: &SqlRow) -> Result<Principal> {
    let kind: String = row.get("kind")?;
    let project: Option<String> = row.get("project")?;
    Ok(Principal {
        name: row.get("name")?,
        kind: kind.parse()?,
        is_owner: row.get::<i64>("is_owner")? == 1,
        project: project.map(|project| project.parse()).transpose()?,
        created: Timestamp(row.get("created_at")?),
    })
}
