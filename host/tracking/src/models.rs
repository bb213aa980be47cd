use eyot_core::{Clock as _, Error, Name, ProjectName, Result, SystemClock, Timestamp};
use eyot_meta::{Event, SqlRow, sql};
use serde::{Deserialize, Serialize};

use crate::TrackingStore;

/// A name under which versions of a model are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredModel {
    pub name: String,
    /// The number of its newest version.
    pub latest: u64,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// One version of a registered model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelVersion {
    pub name: String,
    /// Counts up from 1.
    pub version: u64,
    /// Where it lies in the registry: REPOSITORY@DIGEST.
    pub source: String,
    /// The tracking run that made it.
    pub run: Option<String>,
    pub created: Timestamp,
    /// The aliases that point to it.
    pub aliases: Vec<String>,
}

impl TrackingStore {
    /// Adds a version. The same source again is the version that has it.
    pub async fn register(
        &self,
        project: &ProjectName,
        name: &str,
        source: &str,
        run: Option<&str>,
    ) -> Result<ModelVersion> {
        let name: Name = name.parse()?;
        let now = SystemClock.now().0;
        let mut tx = self.db.begin().await?;
        let held =
            sql("SELECT version FROM model_versions WHERE project = $1 AND name = $2 AND source = $3 ORDER BY version DESC")
                .bind(project.as_str())
                .bind(name.as_str())
                .bind(source)
                .fetch_optional(&mut tx)
                .await?;
        if let Some(row) = held {
            let version: i64 = row.get("version")?;
            drop(tx);
            return self.model_version(project, name.as_str(), version.unsigned_abs()).await;
        }
        sql(
            "INSERT INTO registered_models (project, name, latest, created_at, updated_at) VALUES ($1, $2, 1, $3, $4) \
             ON CONFLICT (project, name) DO UPDATE SET latest = registered_models.latest + 1, updated_at = excluded.updated_at",
        )
        .bind(project.as_str())
        .bind(name.as_str())
        .bind(now)
        .bind(now)
        .execute(&mut tx)
        .await?;
        sql("INSERT INTO model_versions (project, name, version, source, run, created_at) \
             SELECT project, name, latest, $1, $2, $3 FROM registered_models WHERE project = $4 AND name = $5")
        .bind(source)
        .bind(run)
        .bind(now)
        .bind(project.as_str())
        .bind(name.as_str())
        .execute(&mut tx)
        .await?;
        let row = sql("SELECT latest FROM registered_models WHERE project = $1 AND name = $2");
        let row = row.bind(project.as_str()).bind(name.as_str());
        let version: i64 = row.fetch_one(&mut tx).await.and_then(|row| row.get("latest"))?;
        let payload = serde_json::json!({ "version": version, "source": source });
        tx.emit(Event::new("model.registered", name.as_str(), payload).in_project(project));
        tx.commit().await?;
        self.model_version(project, name.as_str(), version.unsigned_abs()).await
    }

    /// The newest version that has this source.
    pub async fn find_version(
        &self,
        project: &ProjectName,
        name: &str,
        source: &str,
    ) -> Result<Option<ModelVersion>> {
        let versions = self.versions(project, name).await?;
        Ok(versions.into_iter().find(|version| version.source == source))
    }

    /// Points an alias to a version, away from any other.
    pub async fn set_alias(
        &self,
        project: &ProjectName,
        name: &str,
        alias: &str,
        version: u64,
    ) -> Result<()> {
        let alias: Name = alias.parse()?;
        self.model_version(project, name, version).await?;
        let mut tx = self.db.begin().await?;
        sql("INSERT INTO model_aliases (project, name, alias, version) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (project, name, alias) DO UPDATE SET version = excluded.version")
        .bind(project.as_str())
        .bind(name)
        .bind(alias.as_str())
        .bind(i64::try_from(version).unwrap_or(i64::MAX))
        .execute(&mut tx)
        .await?;
        let payload = serde_json::json!({ "alias": alias, "version": version });
        tx.emit(Event::new("model.alias-set", name, payload).in_project(project));
        tx.commit().await
    }

    /// The version that `NAME@ALIAS` or `NAME/VERSION` means; `NAME` alone is the newest.
    ///
    /// Fails with `NotFound`, naming the aliases or versions there are.
    pub async fn resolve_model(&self, project: &ProjectName, text: &str) -> Result<ModelVersion> {
        if let Some((name, alias)) = text.split_once('@') {
            return self.by_alias(project, name, alias).await;
        }
        if let Some((name, version)) = text.split_once('/') {
            let version = version.parse().map_err(|_| {
                Error::invalid(format!("'{version}' is no version of a model"))
                    .hint("write models:/NAME@ALIAS or models:/NAME/VERSION, as in models:/digits/3")
            })?;
            return self.model_version(project, name, version).await;
        }
        let model = self.get_registered_model(project, text).await?;
        self.model_version(project, text, model.latest).await
    }

    async fn by_alias(&self, project: &ProjectName, name: &str, alias: &str) -> Result<ModelVersion> {
        let versions = self.list_model_versions(project, name).await?;
        let aliases: Vec<_> = versions.iter().flat_map(|version| version.aliases.clone()).collect();
        let found = versions.into_iter().find(|version| version.aliases.iter().any(|one| one == alias));
        found.ok_or_else(|| {
            Error::not_found(format!("model '{name}' has no alias '{alias}'")).hint(
                match aliases.as_slice() {
                    [] => "it has no alias at all; a version is models:/NAME/VERSION".to_owned(),
                    aliases => format!("its aliases are: {}", aliases.join(", ")),
                },
            )
        })
    }

    /// One version.
    pub async fn model_version(
        &self,
        project: &ProjectName,
        name: &str,
        version: u64,
    ) -> Result<ModelVersion> {
        let versions = self.list_model_versions(project, name).await?;
        let newest = versions.first().map_or(0, |version| version.version);
        versions.into_iter().find(|one| one.version == version).ok_or_else(|| {
            Error::not_found(format!("model '{name}' has no version {version}"))
                .hint(format!("its newest version is {newest}"))
        })
    }

    /// Every registered model of a project, by name.
    pub async fn list_registered_models(&self, project: &ProjectName) -> Result<Vec<RegisteredModel>> {
        let rows = sql(
            "SELECT name, latest, created_at, updated_at FROM registered_models WHERE project = $1 ORDER BY name",
        );
        rows.bind(project.as_str()).fetch_all(&self.db).await?.iter().map(model).collect()
    }

    /// One registered model.
    pub async fn get_registered_model(&self, project: &ProjectName, name: &str) -> Result<RegisteredModel> {
        let models = self.list_registered_models(project).await?;
        let names: Vec<_> = models.iter().map(|model| model.name.clone()).collect();
        models.into_iter().find(|model| model.name == name).ok_or_else(|| {
            Error::not_found(format!("there is no registered model '{name}'")).hint(match names.as_slice() {
                [] => "none is registered; a pipeline's register step does that".to_owned(),
                names => format!("registered are: {}", names.join(", ")),
            })
        })
    }

    /// The versions of a registered model, newest first.
    pub async fn list_model_versions(&self, project: &ProjectName, name: &str) -> Result<Vec<ModelVersion>> {
        self.get_registered_model(project, name).await?;
        self.versions(project, name).await
    }

    async fn versions(&self, project: &ProjectName, name: &str) -> Result<Vec<ModelVersion>> {
        let query = "SELECT name, version, source, run, created_at FROM model_versions \
             WHERE project = $1 AND name = $2 ORDER BY version DESC";
        let rows = sql(query).bind(project.as_str()).bind(name).fetch_all(&self.db).await?;
        let aliases =
            sql("SELECT alias, version FROM model_aliases WHERE project = $1 AND name = $2 ORDER BY alias");
        let aliases = aliases.bind(project.as_str()).bind(name);
        let aliases = aliases.fetch_all(&self.db).await?;
        let mut versions = rows.iter().map(version).collect::<Result<Vec<_>>>()?;
        for row in &aliases {
            let number: i64 = row.get("version")?;
            if let Some(version) =
                versions.iter_mut().find(|version| version.version == number.unsigned_abs())
            {
                version.aliases.push(row.get("alias")?);
            }
        }
        Ok(versions)
    }
}

fn model(row: &SqlRow) -> Result<RegisteredModel> {
    Ok(RegisteredModel {
        name: row.get("name")?,
        latest: row.get::<i64>("latest")?.unsigned_abs(),
        created: Timestamp(row.get("created_at")?),
        updated: Timestamp(row.get("updated_at")?),
    })
}

fn version(row: &SqlRow) -> Result<ModelVersion> {
    Ok(ModelVersion {
        name: row.get("name")?,
        version: row.get::<i64>("version")?.unsigned_abs(),
        source: row.get("source")?,
        run: row.get("run")?,
        created: Timestamp(row.get("created_at")?),
        aliases: Vec::new(),
    })
}
