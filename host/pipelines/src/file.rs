//! The pipeline file as it is written, with the place of everything that can be wrong.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use eyot_core::{ByteCount, Error, Name, Period, Result};
use indexmap::IndexMap;
use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct PipelineFile {
    pub(crate) pipeline: PipelineHeader,
    #[serde(default)]
    pub(crate) inputs: IndexMap<String, InputEntry>,
    #[serde(default)]
    pub(crate) params: IndexMap<String, Spanned<toml::Value>>,
    #[serde(default)]
    pub(crate) steps: IndexMap<String, Spanned<StepEntry>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct PipelineHeader {
    pub(crate) name: Name,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct InputEntry {
    pub(crate) path: Spanned<String>,
    #[serde(default = "octets")]
    pub(crate) media_type: String,
}

fn octets() -> String {
    "application/octet-stream".to_owned()
}

/// A step: either a call into a component, or the registration of a model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct StepEntry {
    pub(crate) component: Option<Spanned<String>>,
    pub(crate) call: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) with: IndexMap<String, Spanned<toml::Value>>,
    #[serde(default)]
    pub(crate) after: Vec<Spanned<String>>,
    /// What a command is called with, in place of what `with` makes.
    pub(crate) args: Option<Spanned<Vec<String>>>,
    /// Environment variables of a command, beside those that are made of `with`.
    #[serde(default)]
    pub(crate) env: IndexMap<String, Spanned<String>>,
    /// The files below `/out` that a command writes.
    #[serde(default)]
    pub(crate) outputs: IndexMap<String, Spanned<OutputFile>>,
    pub(crate) timeout: Option<Period>,
    pub(crate) memory: Option<ByteCount>,
    pub(crate) cache: Option<bool>,
    pub(crate) register: Option<Spanned<String>>,
    pub(crate) model: Option<Spanned<toml::Value>>,
    pub(crate) alias: Option<Spanned<String>>,
}

/// A file that a command writes: its path below `/out`, or that and what it is.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields, rename_all_fields = "kebab-case")]
pub(crate) enum OutputFile {
    Path(String),
    Typed {
        path: String,
        #[serde(default = "octets")]
        media_type: String,
    },
}

impl OutputFile {
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Path(path) | Self::Typed { path, .. } => path,
        }
    }

    pub(crate) fn media_type(&self) -> String {
        match self {
            Self::Path(_) => octets(),
            Self::Typed { media_type, .. } => media_type.clone(),
        }
    }
}

/// Line and column of a byte, both from 1.
pub(crate) fn place(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

impl PipelineFile {
    /// Fails with `Invalid`, naming file, line and column.
    pub(crate) fn parse(source: &str, file: &str) -> Result<Self> {
        toml::from_str(source).map_err(|error| {
            let (line, column) = place(source, error.span().map_or(0, |span| span.start));
            Error::invalid(format!("{file}:{line}:{column}: {}", error.message().trim_end()))
        })
    }
}

/// The component references that a file names. A file that cannot be read names none: the planner
/// says what is wrong with it.
pub fn component_references(source: &str) -> Vec<String> {
    let Ok(file) = toml::from_str::<PipelineFile>(source) else { return Vec::new() };
    let steps = file.steps.into_values().filter_map(|step| step.into_inner().component);
    let mut references: Vec<String> = steps.map(Spanned::into_inner).collect();
    references.sort();
    references.dedup();
    references
}

/// The files that a pipeline reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFiles {
    /// The pipeline's name.
    pub name: Name,
    /// Paths by input name, relative to the pipeline file's folder.
    pub files: BTreeMap<String, PathBuf>,
}

/// The input files that a pipeline file names.
///
/// Fails with `Invalid` when it cannot be read, or a path leaves its folder.
pub fn input_files(source: &str, file: &str) -> Result<InputFiles> {
    let parsed = PipelineFile::parse(source, file)?;
    let mut files = BTreeMap::new();
    for (name, input) in parsed.inputs {
        let offset = input.path.span().start;
        let path = PathBuf::from(input.path.into_inner());
        if !stays_inside(&path) {
            let (line, column) = place(source, offset);
            let message = format!(
                "{file}:{line}:{column}: input '{name}' leaves the pipeline's folder: {}",
                path.display()
            );
            return Err(Error::invalid(message).hint("inputs lie in the pipeline file's folder or below it"));
        }
        files.insert(name, path);
    }
    Ok(InputFiles { name: parsed.pipeline.name, files })
}

pub(crate) fn stays_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}
