//! Who has which role in a project.

use eyot_core::{Error, Permission, ProjectName, Result, Role};
use eyot_meta::{Event, SqlRow, Transaction, sql};
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::rights::{PrincipalKind, no_principal};
use crate::store::AccessStore;

/// A user or service of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectMember {
    pub name: String,
    pub kind: PrincipalKind,
    pub role: Role,
}

impl AccessStore {
    /// The members of a project, by name. Owners of the installation have a part in every project and are not among them.
    pub async fn members(&self, project: &ProjectName) -> Result<Vec<ProjectMember>> {
        let rows =
            sql("SELECT p.name, p.kind, m.role FROM members m JOIN principals p ON p.id = m.principal \
             WHERE m.project = $1 ORDER BY p.name");
        rows.bind(project.as_str()).fetch_all(&self.0.db).await?.iter().map(read).collect()
    }

    /// Gives a user or service a role in a project, in place of the one that it had.
    ///
    /// Fails with `Denied` when that is more than the caller has, or when it had more.
    pub async fn set_member(
        &self,
        caller: &Caller,
        project: &ProjectName,
        name: &str,
        role: Role,
    ) -> Result<ProjectMember> {
        caller.require(Permission::MemberManage, project)?;
        self.check_project(project)?;
        let mut tx = self.0.db.begin().await?;
        let member = self.write_member(&mut tx, caller, project, name, role).await?;
        tx.commit().await?;
        Ok(member)
    }

    pub(crate) async fn write_member(
        &self,
        tx: &mut Transaction,
        caller: &Caller,
        project: &ProjectName,
        name: &str,
        role: Role,
    ) -> Result<ProjectMember> {
        if role == Role::Owner {
            return Err(Error::invalid("an owner owns the whole installation and is no member of a project")
                .hint("eyot user add NAME --owner makes one; the highest role in a project is admin"));
        }
        let row = sql("SELECT id, kind, project FROM principals WHERE name = $1 AND disabled_at IS NULL");
        let row = row.bind(name).fetch_optional(&mut *tx).await?.ok_or_else(|| no_principal(name))?;
        let (id, kind): (String, String) = (row.get("id")?, row.get("kind")?);
        let home: Option<String> = row.get("project")?;
        if home.is_some_and(|home| home != project.as_str()) {
            return Err(Error::conflict(format!("'{name}' is a service of another project"))
                .hint(format!("eyot service create NAME makes one of '{project}'")));
        }
        let write = sql("INSERT INTO members (project, principal, role) VALUES ($1, $2, $3) \
             ON CONFLICT (project, principal) DO UPDATE SET role = excluded.role");
        write.bind(project.as_str()).bind(&id).bind(role.as_str()).execute(&mut *tx).await?;
        self.changed(tx, caller, project, name, Some(role));
        Ok(ProjectMember { name: name.to_owned(), kind: kind.parse()?, role })
    }

    /// Takes a user out of a project: the next request of theirs finds no project.
    pub async fn remove_member(&self, caller: &Caller, project: &ProjectName, name: &str) -> Result<()> {
        caller.require(Permission::MemberManage, project)?;
        let mut tx = self.0.db.begin().await?;
        let delete = sql("DELETE FROM members WHERE project = $1 \
             AND principal = (SELECT id FROM principals WHERE name = $2)");
        if delete.bind(project.as_str()).bind(name).execute(&mut tx).await? == 0 {
            return Err(Error::not_found(format!("'{name}' is no member of project '{project}'"))
                .hint(format!("eyot --project {project} project members lists them")));
        }
        self.changed(&mut tx, caller, project, name, None);
        tx.commit().await
    }

    fn changed(
        &self,
        tx: &mut Transaction,
        caller: &Caller,
        project: &ProjectName,
        name: &str,
        role: Option<Role>,
    ) {
        self.forget_on_commit(tx);
        let payload = serde_json::json!({ "member": name, "role": role, "actor": caller.actor() });
        tx.emit(Event::new("project.member-changed", project.as_str(), payload).in_project(project));
    }
}

fn read(row: &SqlRow) -> Result<ProjectMember> {
    let (kind, role): (String, String) = (row.get("kind")?, row.get("role")?);
    Ok(ProjectMember { name: row.get("name")?, kind: kind.parse()?, role: role.parse()? })
}
