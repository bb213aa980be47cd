//! What users and services are, and their roles.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use eyot_core::{Error, ProjectName, Result, Role};
use serde::{Deserialize, Serialize};

/// What somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    /// A person, who signs in.
    User,
    /// A program, which has tokens; it belongs to a project.
    Service,
}

impl PrincipalKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            PrincipalKind::User => "user",
            PrincipalKind::Service => "service",
        }
    }
}

impl fmt::Display for PrincipalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PrincipalKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let kinds = [PrincipalKind::User, PrincipalKind::Service];
        let known = kinds.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| Error::corrupt(format!("'{text}' is no kind of a principal")))
    }
}

/// A user or a service, and its roles as they are now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PrincipalRights {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) kind: PrincipalKind,
    /// Owns the whole installation.
    pub(crate) is_owner: bool,
    pub(crate) roles: BTreeMap<ProjectName, Role>,
}

impl PrincipalRights {
    pub(crate) fn role_in(&self, project: &ProjectName) -> Option<Role> {
        if self.is_owner { Some(Role::Owner) } else { self.roles.get(project).copied() }
    }
}

/// What is answered where nobody has a name.
pub(crate) fn no_principal(name: &str) -> Error {
    let shown: String = name.chars().take(80).collect();
    Error::not_found(format!("there is no user or service '{shown}'"))
        .hint("eyot user add NAME makes a user, eyot service create NAME a service")
}
