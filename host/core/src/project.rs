//! Projects, and names in them.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Name, Result};

/// The name of a project, which MLflow calls a workspace: 2 to 63 lower-case letters, digits and `-`, the first and
/// the last no `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectName(pub(crate) String);

/// The project that is always there.
pub const DEFAULT_PROJECT: &str = "default";

/// Names that would be taken for a part of an address, and those under which `default` keeps what Eyot itself pushes.
const RESERVED_NAMES: [&str; 8] =
    ["workspaces", "api", "ajax-api", "static-files", "v2", "p", "models", "pipelines"];

impl ProjectName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the project that is always there.
    pub fn is_default(&self) -> bool {
        self.0 == DEFAULT_PROJECT
    }
}

impl Default for ProjectName {
    fn default() -> Self {
        Self(DEFAULT_PROJECT.to_owned())
    }
}

impl FromStr for ProjectName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let (starts, ends) =
            (bytes.first().copied().is_some_and(plain), bytes.last().copied().is_some_and(plain));
        let is_word = starts && ends && bytes.iter().all(|byte| plain(*byte) || *byte == b'-');
        if !is_word || !(2..=63).contains(&bytes.len()) {
            let shown: String = text.chars().take(80).collect();
            return Err(Error::invalid(format!(
                "'{shown}' is no name of a project: 2 to 63 lower-case letters, digits or '-', the first and the last no '-'"
            )));
        }
        if RESERVED_NAMES.contains(&text) {
            let error =
                Error::invalid(format!("'{text}' is no name of a project: addresses or repositories use it"));
            return Err(error.hint("choose another, as in fraud"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of a deployment in its project. Its text is `PROJECT~NAME`, or only `NAME` in the project `default`: it
/// names one deployment of the server wherever there is room for one word alone, as in a request over gRPC.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScopedName {
    pub(crate) text: String,
    /// Where in the text the name begins.
    name_start: usize,
}

/// Stands between a project and a name, and in neither.
const SEPARATOR: char = '~';

impl ScopedName {
    /// The name `name` in a project.
    pub fn new(project: &ProjectName, name: &Name) -> Self {
        if project.is_default() {
            return Self { text: name.to_string(), name_start: 0 };
        }
        Self { text: format!("{project}{SEPARATOR}{name}"), name_start: project.as_str().len() + 1 }
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name without its project.
    pub fn name(&self) -> &str {
        self.text.get(self.name_start..).unwrap_or_default()
    }

    /// The project's name.
    pub fn project(&self) -> &str {
        match self.name_start {
            0 => DEFAULT_PROJECT,
            start => self.text.get(..start - 1).unwrap_or_default(),
        }
    }

    /// The name without its project, as a name.
    pub fn unscoped(&self) -> Name {
        Name(self.name().to_owned())
    }

    /// The project's name, as a name.
    pub fn project_name(&self) -> ProjectName {
        ProjectName(self.project().to_owned())
    }
}

impl FromStr for ScopedName {
    type Err = Error;

    /// Reads `PROJECT~NAME`, or `NAME` in the project `default`.
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(SEPARATOR) {
            Some((project, name)) => Ok(Self::new(&project.parse()?, &name.parse()?)),
            None => Ok(Self::new(&ProjectName::default(), &text.parse()?)),
        }
    }
}

impl fmt::Debug for ScopedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// As its text is hashed, by which it is looked up.
impl std::hash::Hash for ScopedName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_projects_are_safe_in_hosts_paths_and_repositories() {
        for good in ["default", "ab", "a-b", "0x", "fraud-2026", &"p".repeat(63)] {
            assert_eq!(good.parse::<ProjectName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "a",
            "A1",
            "-ab",
            "ab-",
            "a_b",
            "a.b",
            "a~b",
            "ä1",
            "a b",
            "api",
            "workspaces",
            "models",
            "v2",
            "p",
        ]
        .into_iter()
        .chain([&*"p".repeat(64)])
        {
            assert!(bad.parse::<ProjectName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn one_word_names_a_deployment_of_any_project() {
        for (text, project, name) in
            [("iris", "default", "iris"), ("fraud~iris", "fraud", "iris"), ("a-b~c.d_e", "a-b", "c.d_e")]
        {
            let scoped: ScopedName = text.parse().unwrap();
            assert_eq!((scoped.as_str(), scoped.project(), scoped.name()), (text, project, name));
            let made = ScopedName::new(&project.parse().unwrap(), &name.parse().unwrap());
            assert_eq!(made, scoped);
            assert_eq!((scoped.project_name().as_str(), scoped.unscoped().as_str()), (project, name));
        }
        let found = std::collections::HashSet::from(["fraud~iris".parse::<ScopedName>().unwrap()]);
        assert!(found.contains("fraud~iris") && !found.contains("iris"));
        assert_eq!("default~iris".parse::<ScopedName>().unwrap().as_str(), "iris", "one text for one thing");
        for bad in ["", "~", "~iris", "fraud~", "a~iris", "fraud~a~b", "fraud/iris"] {
            assert!(bad.parse::<ScopedName>().is_err(), "{bad:?}");
        }
    }
}
