//! Projects: what everything else is in.

use eyot_core::{DEFAULT_PROJECT, Error, ErrorKind, Permission, ProjectName, Result, Role, Timestamp};
use eyot_meta::{Event, SqlRow, Transaction, sql};
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::project_index::no_project;
use crate::store::AccessStore;

/// A project, which MLflow calls a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub name: ProjectName,
    pub created: Timestamp,
    /// What the caller is in it; none where it was not asked by anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

impl AccessStore {
    pub(crate) async fn read_projects(&self) -> Result<()> {
        let rows = sql("SELECT name FROM projects WHERE removed_at IS NULL").fetch_all(&self.0.db).await?;
        let names = rows.iter().map(|row| row.get::<String>("name")?.parse());
        *self.0.projects.0.write() = names.collect::<Result<_>>()?;
        Ok(())
    }

    /// The project that a repository is in.
    pub fn project_of(&self, repository: &str) -> ProjectName {
        self.0.projects.project_of(repository)
    }

    /// The repository that a name means in a project: `fraud/NAME`, or the name itself in `default`. A name that begins
    /// with a project's is taken as it stands, so that everything can be named from everywhere; `default/NAME` is
    /// `NAME` in the project `default`.
    pub fn repository_in(&self, project: &ProjectName, name: &str) -> String {
        match name.split_once('/') {
            Some((DEFAULT_PROJECT, rest)) => rest.to_owned(),
            _ if project.is_default() || !self.project_of(name).is_default() => name.to_owned(),
            _ => format!("{project}/{name}"),
        }
    }

    /// Whether there is no project but `default`.
    pub fn is_only_default(&self) -> bool {
        self.0.projects.0.read().len() <= 1
    }

    /// Fails with `NotFound` where there is no such project.
    pub fn check_project(&self, project: &ProjectName) -> Result<()> {
        if self.0.projects.contains(project) { Ok(()) } else { Err(no_project(project)) }
    }

    /// The projects that the caller has a part in, by name.
    pub async fn projects(&self, caller: &Caller) -> Result<Vec<Project>> {
        let rows = sql("SELECT name, created_at FROM projects WHERE removed_at IS NULL ORDER BY name")
            .fetch_all(&self.0.db)
            .await?;
        let mut projects = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
        projects.retain_mut(|project| {
            let role = caller.role_in(&project.name);
            project.role = role.map(|role| role.to_string());
            role.is_some()
        });
        Ok(projects)
    }

    /// Makes a project with its first members.
    ///
    /// Fails with `Conflict` where there is one of that name, and where a repository of `default` begins with it: what
    /// is in the registry would change its project.
    pub async fn create_project(
        &self,
        caller: &Caller,
        name: &ProjectName,
        members: &[(String, Role)],
    ) -> Result<Project> {
        caller.require(Permission::ProjectManage, &ProjectName::default())?;
        let created = self.now();
        let mut tx = self.0.db.begin().await?;
        if let Some(repository) = repository_below(&mut tx, name).await? {
            return Err(Error::conflict(format!(
                "the repository '{repository}' is in the project 'default' and would be in '{name}'"
            ))
            .hint("choose another name, or delete that repository"));
        }
        let insert = sql("INSERT INTO projects (name, created_at) VALUES ($1, $2)");
        insert.bind(name.as_str()).bind(created.0).execute(&mut tx).await.map_err(|error| {
            match error.kind() {
                ErrorKind::Conflict => {
                    Error::conflict(format!("there is a project '{name}' already, or there was one"))
                        .hint("choose another name: names of projects are not given twice")
                }
                _ => error,
            }
        })?;
        for (member, role) in members {
            self.write_member(&mut tx, caller, name, member, *role).await?;
        }
        let index = self.0.projects.clone();
        let made = name.clone();
        tx.then(move || {
            index.0.write().insert(made);
        });
        let actor = serde_json::json!({ "actor": caller.actor() });
        tx.emit(Event::new("project.created", name.as_str(), actor));
        tx.commit().await?;
        let role = caller.role_in(name).map(|role| role.to_string());
        Ok(Project { name: name.clone(), created, role })
    }

    /// Removes a project that nothing is in any more. Its members and the tokens that were for it go with it; its name
    /// is not given again, since numbers and stores of what was in it are kept under it.
    ///
    /// Fails with `Conflict` naming what it still holds.
    pub async fn remove_project(&self, caller: &Caller, name: &ProjectName) -> Result<()> {
        caller.require(Permission::ProjectManage, &ProjectName::default())?;
        self.check_project(name)?;
        if name.is_default() {
            return Err(Error::invalid("the project 'default' is always there"));
        }
        let mut tx = self.0.db.begin().await?;
        for (what, query) in CONTENTS {
            if sql(query).bind(name.as_str()).fetch_optional(&mut tx).await?.is_some() {
                return Err(Error::conflict(format!("the project '{name}' still has {what}"))
                    .hint("delete them first: a project goes only when it is empty"));
            }
        }
        if let Some(repository) = repository_below(&mut tx, name).await? {
            return Err(Error::conflict(format!(
                "the project '{name}' still has the repository '{repository}'"
            ))
            .hint(format!("eyot --project {name} ls shows them; delete them first")));
        }
        for query in [
            "DELETE FROM members WHERE project = $1",
            "DELETE FROM tokens WHERE project = $1",
            "DELETE FROM members WHERE principal IN (SELECT id FROM principals WHERE project = $1)",
            "DELETE FROM tokens WHERE principal IN (SELECT id FROM principals WHERE project = $1)",
            "DELETE FROM principals WHERE project = $1",
        ] {
            sql(query).bind(name.as_str()).execute(&mut tx).await?;
        }
        let remove = sql("UPDATE projects SET removed_at = $1 WHERE name = $2");
        remove.bind(self.now().0).bind(name.as_str()).execute(&mut tx).await?;
        let (index, removed) = (self.0.projects.clone(), name.clone());
        tx.then(move || {
            index.0.write().remove(&removed);
        });
        self.forget_on_commit(&mut tx);
        tx.emit(Event::new("project.removed", name.as_str(), serde_json::json!({ "actor": caller.actor() })));
        tx.commit().await
    }
}

/// What keeps a project, and how to find some of it.
const CONTENTS: [(&str, &str); 4] = [
    ("deployments", "SELECT 1 FROM deployments WHERE project = $1 AND serving IS NOT NULL LIMIT 1"),
    ("registered models", "SELECT 1 FROM registered_models WHERE project = $1 LIMIT 1"),
    ("pipeline runs", "SELECT 1 FROM pipeline_runs WHERE project = $1 LIMIT 1"),
    ("experiments", "SELECT 1 FROM experiments WHERE project = $1 LIMIT 1"),
];

/// A repository whose first segment is this name, if there is one. It looks at the registry's tables, in the transaction
/// of who asks: what the registry holds and what a project is must not change between the look and the row.
async fn repository_below(tx: &mut Transaction, name: &ProjectName) -> Result<Option<String>> {
    for query in [
        "SELECT repository FROM manifests WHERE repository >= $1 AND repository < $2 LIMIT 1",
        "SELECT repository FROM repository_blobs WHERE repository >= $1 AND repository < $2 LIMIT 1",
    ] {
        // '0' is the character after '/'.
        let found = sql(query).bind(format!("{name}/")).bind(format!("{name}0"));
        if let Some(row) = found.fetch_optional(&mut *tx).await? {
            return row.get("repository").map(Some);
        }
    }
    Ok(None)
}

fn read(row: &SqlRow) -> Result<Project> {
    let name: String = row.get("name")?;
    Ok(Project { name: name.parse()?, created: Timestamp(row.get("created_at")?), role: None })
}
