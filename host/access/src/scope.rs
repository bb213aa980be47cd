//! Scopes of tokens, in the syntax of the distribution specification: `repository:acme/*:pull,push`; a role in a project
//! is written the same way: `project:default:deployer`.

use std::fmt;
use std::str::FromStr;

use eyot_core::{Error, ProjectName, Result, Role, glob};

/// An action on a repository or the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryAction {
    Pull,
    Push,
    Delete,
    /// Listing the repositories.
    List,
    /// Tokens, collections, the log.
    Administer,
}

/// What a token authorizes: actions on some repositories or on the registry, or a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessScope {
    subject: ScopeSubject,
    /// Pull, push and delete, in the order of the alphabet.
    actions: ScopeActions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ScopeSubject {
    /// Repositories by a pattern in which `*` stands for any text.
    Repository(String),
    Catalog,
    Admin,
    /// A role in a project.
    Project(ProjectName, Role),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ScopeActions {
    delete: bool,
    pull: bool,
    push: bool,
}

impl ScopeActions {
    fn has(self, action: RegistryAction) -> bool {
        match action {
            RegistryAction::Pull => self.pull,
            RegistryAction::Push => self.push,
            RegistryAction::Delete => self.delete,
            RegistryAction::List | RegistryAction::Administer => false,
        }
    }
}

impl AccessScope {
    /// One action on one repository, or on the registry.
    pub fn of(action: RegistryAction, repository: Option<&str>) -> Self {
        let actions = ScopeActions {
            delete: action == RegistryAction::Delete,
            pull: matches!(action, RegistryAction::Pull | RegistryAction::Push),
            push: action == RegistryAction::Push,
        };
        let subject = match (action, repository) {
            (RegistryAction::Administer, _) => ScopeSubject::Admin,
            (RegistryAction::List, _) | (_, None) => ScopeSubject::Catalog,
            (_, Some(repository)) => ScopeSubject::Repository(repository.to_owned()),
        };
        Self { subject, actions }
    }

    /// Whether it allows an action on a repository, which is in `project`, or on the registry.
    pub(crate) fn allows(
        &self,
        action: RegistryAction,
        repository: Option<&str>,
        project: &ProjectName,
    ) -> bool {
        match (&self.subject, action) {
            // Whoever can make tokens can make one for anything.
            (ScopeSubject::Admin, _) => true,
            (ScopeSubject::Catalog, action) => action == RegistryAction::List,
            (ScopeSubject::Project(_, Role::Owner), _) => true,
            (ScopeSubject::Project(_, _), RegistryAction::List) => true,
            (ScopeSubject::Project(own, role), action) => own == project && *role >= least_role(action),
            (ScopeSubject::Repository(pattern), action) => {
                self.actions.has(action)
                    && repository.is_some_and(|repository| glob::matches(pattern, repository))
            }
        }
    }

    /// A role in a project.
    pub fn of_role(project: &ProjectName, role: Role) -> Self {
        Self { subject: ScopeSubject::Project(project.clone(), role), actions: ScopeActions::default() }
    }

    /// The role that it gives in a project.
    pub fn role_in(&self, project: &ProjectName) -> Option<Role> {
        match &self.subject {
            ScopeSubject::Admin | ScopeSubject::Project(_, Role::Owner) => Some(Role::Owner),
            ScopeSubject::Project(own, role) => (own == project).then_some(*role),
            ScopeSubject::Repository(_) | ScopeSubject::Catalog => None,
        }
    }

    /// The role that it gives, and where; an owner's is in every project.
    pub fn project_role(&self) -> Option<(ProjectName, Role)> {
        match &self.subject {
            ScopeSubject::Admin => Some((ProjectName::default(), Role::Owner)),
            ScopeSubject::Project(project, role) => Some((project.clone(), *role)),
            ScopeSubject::Repository(_) | ScopeSubject::Catalog => None,
        }
    }

    /// The part of this scope that `allowed` permits; none where nothing is left.
    pub(crate) fn intersection(
        &self,
        allowed: impl Fn(RegistryAction, Option<&str>) -> bool,
    ) -> Option<Self> {
        match &self.subject {
            ScopeSubject::Admin => allowed(RegistryAction::Administer, None).then(|| self.clone()),
            ScopeSubject::Catalog => allowed(RegistryAction::List, None).then(|| self.clone()),
            // By the registry's actions alone it cannot be told whether a role is held: whoever holds it says so.
            ScopeSubject::Project(..) => None,
            ScopeSubject::Repository(repository) => {
                let may = |wanted: bool, action| wanted && allowed(action, Some(repository));
                let actions = ScopeActions {
                    delete: may(self.actions.delete, RegistryAction::Delete),
                    pull: may(self.actions.pull, RegistryAction::Pull),
                    push: may(self.actions.push, RegistryAction::Push),
                };
                (actions != ScopeActions::default()).then(|| Self { subject: self.subject.clone(), actions })
            }
        }
    }
}

/// The least role that does something in every repository of the project.
pub(crate) fn least_role(action: RegistryAction) -> Role {
    match action {
        RegistryAction::Pull | RegistryAction::List => Role::Viewer,
        RegistryAction::Push => Role::Editor,
        RegistryAction::Delete | RegistryAction::Administer => Role::Admin,
    }
}

impl FromStr for AccessScope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let shown: String = text.chars().take(80).collect();
            Error::invalid(format!("'{shown}' is no scope"))
                .hint("write repository:NAME:pull,push,delete with '*' for any text, registry:catalog:*, registry:admin:* or project:NAME:ROLE")
        };
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (name, actions) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let kind = kind.split_once('(').map_or(kind, |(kind, _)| kind);
        if kind == "project" {
            return Ok(Self::of_role(&name.parse()?, actions.parse()?));
        }
        let subject = match (kind, name) {
            ("registry", "catalog") => ScopeSubject::Catalog,
            ("registry", "admin") => ScopeSubject::Admin,
            ("repository", name) if is_pattern(name) => ScopeSubject::Repository(name.to_owned()),
            _ => return Err(wrong()),
        };
        let mut found = ScopeActions::default();
        for action in actions.split(',') {
            match action {
                "pull" => found.pull = true,
                "push" => found.push = true,
                "delete" => found.delete = true,
                "*" => found = ScopeActions { delete: true, pull: true, push: true },
                _ => return Err(wrong()),
            }
        }
        Ok(Self { subject, actions: found })
    }
}

fn is_pattern(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/*".contains(&byte);
    !name.is_empty() && name.len() <= 255 && name.bytes().all(plain)
}

impl fmt::Display for AccessScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            ScopeSubject::Catalog => f.write_str("registry:catalog:*"),
            ScopeSubject::Admin => f.write_str("registry:admin:*"),
            ScopeSubject::Project(project, role) => write!(f, "project:{project}:{role}"),
            ScopeSubject::Repository(name) => {
                let words = [
                    (self.actions.pull, "pull"),
                    (self.actions.push, "push"),
                    (self.actions.delete, "delete"),
                ];
                let words: Vec<_> = words.into_iter().filter(|(has, _)| *has).map(|(_, word)| word).collect();
                write!(f, "repository:{name}:{}", words.join(","))
            }
        }
    }
}

impl serde::Serialize for AccessScope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for AccessScope {
    fn deserialize<D: serde::Deserializer<'de>>(de: D) -> std::result::Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(de)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn scopes_allow_what_they_say_and_nothing_else() {
        for (scope, action, repository, expected) in [
            ("repository:acme/*:pull", RegistryAction::Pull, Some("acme/x"), true),
            ("repository:acme/*:pull", RegistryAction::Push, Some("acme/x"), false),
            ("repository:acme/*:pull", RegistryAction::Pull, Some("acme2/x"), false),
            ("repository:acme/x:pull,push", RegistryAction::Delete, Some("acme/x"), false),
            ("repository:acme/x:*", RegistryAction::Delete, Some("acme/x"), true),
            ("repository:*:*", RegistryAction::List, None, false),
            ("repository:*:*", RegistryAction::Administer, None, false),
            ("registry:catalog:*", RegistryAction::List, None, true),
            ("registry:catalog:*", RegistryAction::Pull, Some("x"), false),
            ("registry:admin:*", RegistryAction::Push, Some("x"), true),
            ("repository(plugin):x:pull", RegistryAction::Pull, Some("x"), true),
            ("project:default:viewer", RegistryAction::Pull, Some("x"), true),
            ("project:default:viewer", RegistryAction::Push, Some("x"), false),
            ("project:default:editor", RegistryAction::Push, Some("x"), true),
            ("project:default:deployer", RegistryAction::Delete, Some("x"), false),
            ("project:default:admin", RegistryAction::Delete, Some("x"), true),
            ("project:default:admin", RegistryAction::Administer, None, true),
            ("project:fraud:admin", RegistryAction::Pull, Some("x"), false),
            ("project:fraud:admin", RegistryAction::Administer, None, false),
            ("project:fraud:viewer", RegistryAction::List, None, true),
            ("project:fraud:owner", RegistryAction::Delete, Some("x"), true),
        ] {
            let parsed: AccessScope = scope.parse().unwrap();
            let found = parsed.allows(action, repository, &ProjectName::default());
            assert_eq!(found, expected, "{scope} {action:?}");
        }
        let fraud: ProjectName = "fraud".parse().unwrap();
        for (scope, action, expected) in [
            ("project:fraud:editor", RegistryAction::Push, true),
            ("project:fraud:editor", RegistryAction::Delete, false),
            ("project:default:admin", RegistryAction::Pull, false),
        ] {
            let parsed: AccessScope = scope.parse().unwrap();
            assert_eq!(parsed.allows(action, Some("fraud/x"), &fraud), expected, "{scope} {action:?}");
        }
        for bad in [
            "",
            "x",
            "repository",
            "repository:x",
            "repository:X:pull",
            "repository:x:pull,fly",
            "registry:x:*",
            "repository::pull",
            "project:x:viewer",
            "project:Fraud:viewer",
            "project:default:root",
            "project:default:viewer,editor",
        ] {
            assert!(bad.parse::<AccessScope>().is_err(), "{bad}");
        }
    }

    #[test]
    fn asked_and_allowed_meet() {
        let held: AccessScope = "repository:acme/*:pull,push".parse().unwrap();
        for (asked, granted) in [
            ("repository:acme/x:pull,push,delete", Some("repository:acme/x:pull,push")),
            ("repository:acme/x:*", Some("repository:acme/x:pull,push")),
            ("repository:other:pull", None),
            ("registry:catalog:*", None),
        ] {
            let found = asked
                .parse::<AccessScope>()
                .unwrap()
                .intersection(|action, repository| held.allows(action, repository, &ProjectName::default()));
            assert_eq!(found.map(|scope| scope.to_string()).as_deref(), granted, "{asked}");
        }
    }
}
