//! What a component that serves may reach: as its eyot.toml says, and flags over that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use eyot_api::ApiClient;
use eyot_core::config::{ComponentGrants, Config, ModelGrants};
use eyot_core::{Error, Name, Result};
use eyot_deploy::RevisionGrants;

use crate::model_path::ModelPath;

/// Flags that grant something to a component.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct GrantOptions {
    /// Grants a model to the component under a name; may be repeated.
    #[arg(long = "model", value_name = "NAME=SOURCE")]
    models: Vec<String>,
    /// Lets the component send requests to a host: api.example.com, *.example.com, localhost:8000 or *. This machine
    /// and its link (127.0.0.1, 169.254.169.254, …) are reached only where they are named themselves;
    /// may be repeated.
    #[arg(long = "allow-http", value_name = "HOST")]
    http: Vec<String>,
    /// Gives the component a setting; may be repeated.
    #[arg(long = "var", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// Gives the component an environment variable; may be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE")]
    environment: Vec<String>,
    /// Grants a key-value store under the label that the component opens; may be repeated. The store is
    /// the deployment's own unless another is named.
    #[arg(long = "key-value", value_name = "LABEL[=STORE]")]
    stores: Vec<String>,
    /// Grants a SQLite database, likewise.
    #[arg(long = "sqlite", value_name = "LABEL[=DATABASE]")]
    databases: Vec<String>,
}

/// What is granted, with models as they were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GrantedNames {
    pub(crate) models: BTreeMap<String, String>,
    pub(crate) grants: RevisionGrants,
}

impl GrantOptions {
    /// What a deployment is granted: what is written in the eyot.toml of `dir`, and these over it.
    pub(crate) fn over(
        &self,
        written: &ComponentGrants,
        dir: &Path,
        deployment: &Name,
    ) -> Result<GrantedNames> {
        let file = |source: &String| match is_model_file(source) {
            true => dir.join(source).to_string_lossy().into_owned(),
            false => source.clone(),
        };
        let (sources, declared) = match &written.models {
            ModelGrants::Sources(sources) => (sources.clone(), &[][..]),
            ModelGrants::Names(names) => (BTreeMap::new(), names.as_slice()),
        };
        let mut models: BTreeMap<_, _> =
            sources.into_iter().map(|(name, source)| (name, file(&source))).collect();
        models.extend(pairs(
            &self.models,
            "--model NAME=SOURCE, as in --model digits=models:/digits@champion",
        )?);
        declared.iter().try_for_each(|name| given(name, &models))?;
        let mut variables = written.variables.clone();
        variables.extend(pairs(&self.variables, "--var NAME=VALUE")?);
        let mut environment = written.environment.clone();
        environment.extend(pairs(&self.environment, "--env NAME=VALUE")?);
        let mut stores = labelled(deployment, &written.key_value)?;
        stores.extend(labelled(deployment, &self.stores)?);
        let mut databases = labelled(deployment, &written.sqlite)?;
        databases.extend(labelled(deployment, &self.databases)?);
        let mut http = written.http.clone();
        http.extend(self.http.iter().filter(|host| !written.http.contains(*host)).cloned());
        Ok(GrantedNames {
            models,
            grants: RevisionGrants { http, variables, environment, stores, databases },
        })
    }
}

/// Fails where a model that the component declares is none of those that it is granted.
fn given(name: &str, models: &BTreeMap<String, String>) -> Result<()> {
    if models.contains_key(name) {
        return Ok(());
    }
    Err(Error::invalid(format!("its eyot.toml declares the model '{name}', which it was not granted")).hint(
        format!("add --model {name}=SOURCE, as in --model {name}=models:/{name}@champion, or say which it is in eyot.toml: models = {{ {name} = \"SOURCE\" }}"),
    ))
}

/// Whether a model is a file and no reference.
pub(crate) fn is_model_file(source: &str) -> bool {
    Path::new(source).extension().is_some_and(|extension| extension == "onnx")
}

/// A model as a reference of a server: a file is pushed first, with those beside it that it takes weights from.
pub(crate) async fn reference(client: &ApiClient, name: &str, source: &str) -> Result<String> {
    let path = Path::new(source);
    let found = match path.is_dir() {
        true => ModelPath::in_folder(path)?,
        false if is_model_file(source) || path.is_file() => Some(ModelPath::at(path)?),
        false => None,
    };
    let Some(found) = found else { return Ok(source.to_owned()) };
    let model = found.push(client.registry(), &client.repository("models"), Some(name)).await?;
    Ok(format!("{}@{}", model.repository, model.digest))
}

/// What is granted to DIR/build/NAME.wasm in DIR/eyot.toml, if that is of this name.
pub(crate) fn of_build(file: &Path) -> Result<(ComponentGrants, PathBuf)> {
    let build = file.parent().filter(|dir| dir.ends_with("build"));
    let Some(dir) = build.and_then(Path::parent).filter(|dir| dir.join("eyot.toml").is_file()) else {
        return Ok(Default::default());
    };
    let component = Config::load(Some(&dir.join("eyot.toml")), &[])?.component;
    let name = file.file_stem().and_then(|stem| stem.to_str());
    let component = component.filter(|component| component.name.rsplit('/').next() == name);
    Ok(component.map(|component| (component.grants, dir.to_owned())).unwrap_or_default())
}

fn pairs(all: &[String], how: &str) -> Result<Vec<(String, String)>> {
    let pair = |text: &String| {
        let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let pair = pair.map(|(name, value)| (name.to_owned(), value.to_owned()));
        pair.ok_or_else(|| Error::invalid(format!("'{text}' grants nothing")).hint(format!("write {how}")))
    };
    all.iter().map(pair).collect()
}

/// What stands under each label: what is named, or something of the deployment's own.
fn labelled(deployment: &Name, all: &[String]) -> Result<BTreeMap<String, Name>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((label, name)) => Ok((label.to_owned(), name.parse()?)),
        None => Ok((text.clone(), format!("{deployment}.{text}").parse()?)),
    };
    all.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn whatever_can_be_granted_has_a_flag_and_a_key() {
        let command = GrantOptions::augment_args(clap::Command::new("deploy"));
        let schema = Config::schema();
        let mut granted = 0;
        for (flag, key) in eyot_engine::grant_flags() {
            let known = command.get_arguments().filter_map(|argument| argument.get_long());
            assert!(known.into_iter().any(|long| format!("--{long}") == flag), "no flag {flag}");
            assert!(schema["$defs"]["ComponentGrants"]["properties"].get(key).is_some(), "no key {key}");
            granted += 1;
        }
        assert!(granted > 0);
    }

    #[test]
    fn flags_stand_over_what_is_written() {
        let text = |text: &str| text.to_owned();
        let written = ComponentGrants {
            models: ModelGrants::Sources(BTreeMap::from([
                (text("a"), text("a.onnx")),
                (text("b"), text("models:/b/1")),
            ])),
            http: vec![text("one.test")],
            variables: BTreeMap::from([(text("x"), text("1")), (text("y"), text("2"))]),
            environment: BTreeMap::from([(text("LEVEL"), text("3"))]),
            key_value: vec![text("default"), text("shared=all")],
            sqlite: Vec::new(),
        };
        let options = GrantOptions {
            models: vec![text("b=models:/b/2")],
            http: vec![text("two.test"), text("one.test")],
            variables: vec![text("y=3")],
            environment: vec![text("LEVEL=4")],
            stores: vec![text("default=mine")],
            databases: vec![text("default")],
        };
        let granted = options.over(&written, Path::new("dir"), &"d".parse().unwrap()).unwrap();
        let of = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(a, b)| (text(a), text(b))).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(granted.models, of(&[("a", "dir/a.onnx"), ("b", "models:/b/2")]));
        assert_eq!(granted.grants.http, ["one.test", "two.test"]);
        assert_eq!(granted.grants.variables, of(&[("x", "1"), ("y", "3")]));
        assert_eq!(granted.grants.environment, of(&[("LEVEL", "4")]));
        let named = |all: &BTreeMap<String, Name>| {
            all.iter().map(|(label, name)| format!("{label}={name}")).collect::<Vec<_>>()
        };
        assert_eq!(named(&granted.grants.stores), ["default=mine", "shared=all"]);
        assert_eq!(named(&granted.grants.databases), ["default=d.default"]);
        let declared =
            ComponentGrants { models: ModelGrants::Names(vec![text("b"), text("c")]), ..written.clone() };
        let missing = options.over(&declared, Path::new("."), &"d".parse().unwrap()).unwrap_err();
        assert_eq!(missing.message(), "its eyot.toml declares the model 'c', which it was not granted");
        let wrong = GrantOptions { variables: vec![text("x")], ..GrantOptions::default() };
        assert!(wrong.over(&written, Path::new("."), &"d".parse().unwrap()).is_err());
    }
}
