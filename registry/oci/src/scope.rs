//! What a token allows, as the distribution specification writes it: `repository:acme/*:pull,push`; a role
//! in a project is written the same way: `project:default:deployer`.

use std::fmt;
use std::str::FromStr;

use eyot_core::{Error, Result, Role};

use crate::glob;

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Pull,
    Push,
    Delete,
    /// Listing the repositories.
    List,
    /// Tokens, collections, the log.
    Administer,
}

/// Some actions on some repositories, or on the registry itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    subject: Subject,
    /// Pull, push and delete, in the order of the alphabet.
    actions: Actions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    /// Repositories by a pattern in which `*` stands for any text.
    Repository(String),
    Catalog,
    Admin,
    /// A role in the project.
    Project(Role),
}

/// The one project that there is.
const PROJECT: &str = "default";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Actions {
    delete: bool,
    pull: bool,
    push: bool,
}

impl Actions {
    fn has(self, action: Action) -> bool {
        match action {
            Action::Pull => self.pull,
            Action::Push => self.push,
            Action::Delete => self.delete,
            Action::List | Action::Administer => false,
        }
    }
}

impl Scope {
    /// One action on one repository, or on the registry.
    pub(crate) fn of(action: Action, repository: Option<&str>) -> Self {
        let actions = Actions {
            delete: action == Action::Delete,
            pull: matches!(action, Action::Pull | Action::Push),
            push: action == Action::Push,
        };
        let subject = match (action, repository) {
            (Action::Administer, _) => Subject::Admin,
            (Action::List, _) | (_, None) => Subject::Catalog,
            (_, Some(repository)) => Subject::Repository(repository.to_owned()),
        };
        Self { subject, actions }
    }

    /// Whether it allows an action on a repository, or on the registry.
    pub(crate) fn allows(&self, action: Action, repository: Option<&str>) -> bool {
        match (&self.subject, action) {
            // Whoever can make tokens can make one for anything.
            (Subject::Admin, _) => true,
            (Subject::Catalog, action) => action == Action::List,
            (Subject::Project(role), action) => *role >= least_role(action),
            (Subject::Repository(pattern), action) => {
                self.actions.has(action)
                    && repository.is_some_and(|repository| glob::matches(pattern, repository))
            }
        }
    }

    /// A role in the project.
    pub fn of_role(role: Role) -> Self {
        Self { subject: Subject::Project(role), actions: Actions::default() }
    }

    /// The role in the project that it gives.
    pub fn role(&self) -> Option<Role> {
        match &self.subject {
            Subject::Admin => Some(Role::Owner),
            Subject::Project(role) => Some(*role),
            Subject::Repository(_) | Subject::Catalog => None,
        }
    }

    /// The part of this scope that `allowed` says yes to; none where nothing is left.
    pub(crate) fn intersection(&self, allowed: impl Fn(Action, Option<&str>) -> bool) -> Option<Self> {
        match &self.subject {
            Subject::Admin => allowed(Action::Administer, None).then(|| self.clone()),
            Subject::Catalog => allowed(Action::List, None).then(|| self.clone()),
            // By the registry's actions alone it cannot be told whether a role is held: whoever holds it says so.
            Subject::Project(_) => None,
            Subject::Repository(repository) => {
                let may = |wanted: bool, action| wanted && allowed(action, Some(repository));
                let actions = Actions {
                    delete: may(self.actions.delete, Action::Delete),
                    pull: may(self.actions.pull, Action::Pull),
                    push: may(self.actions.push, Action::Push),
                };
                (actions != Actions::default()).then(|| Self { subject: self.subject.clone(), actions })
            }
        }
    }
}

/// The least role that does something in every repository of the project.
fn least_role(action: Action) -> Role {
    match action {
        Action::Pull | Action::List => Role::Viewer,
        Action::Push => Role::Editor,
        Action::Delete | Action::Administer => Role::Admin,
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let shown: String = text.chars().take(80).collect();
            Error::invalid(format!("'{shown}' is no scope"))
                .hint("write repository:NAME:pull,push,delete with '*' for any text, registry:catalog:*, registry:admin:* or project:default:ROLE")
        };
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (name, actions) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let kind = kind.split_once('(').map_or(kind, |(kind, _)| kind);
        if kind == "project" && name == PROJECT {
            return Ok(Self::of_role(actions.parse()?));
        }
        let subject = match (kind, name) {
            ("registry", "catalog") => Subject::Catalog,
            ("registry", "admin") => Subject::Admin,
            ("repository", name) if is_pattern(name) => Subject::Repository(name.to_owned()),
            _ => return Err(wrong()),
        };
        let mut found = Actions::default();
        for action in actions.split(',') {
            match action {
                "pull" => found.pull = true,
                "push" => found.push = true,
                "delete" => found.delete = true,
                "*" => found = Actions { delete: true, pull: true, push: true },
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

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Catalog => f.write_str("registry:catalog:*"),
            Subject::Admin => f.write_str("registry:admin:*"),
            Subject::Project(role) => write!(f, "project:{PROJECT}:{role}"),
            Subject::Repository(name) => {
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

impl serde::Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Scope {
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
            ("repository:acme/*:pull", Action::Pull, Some("acme/x"), true),
            ("repository:acme/*:pull", Action::Push, Some("acme/x"), false),
            ("repository:acme/*:pull", Action::Pull, Some("acme2/x"), false),
            ("repository:acme/x:pull,push", Action::Delete, Some("acme/x"), false),
            ("repository:acme/x:*", Action::Delete, Some("acme/x"), true),
            ("repository:*:*", Action::List, None, false),
            ("repository:*:*", Action::Administer, None, false),
            ("registry:catalog:*", Action::List, None, true),
            ("registry:catalog:*", Action::Pull, Some("x"), false),
            ("registry:admin:*", Action::Push, Some("x"), true),
            ("repository(plugin):x:pull", Action::Pull, Some("x"), true),
            ("project:default:viewer", Action::Pull, Some("x"), true),
            ("project:default:viewer", Action::Push, Some("x"), false),
            ("project:default:editor", Action::Push, Some("x"), true),
            ("project:default:deployer", Action::Delete, Some("x"), false),
            ("project:default:admin", Action::Delete, Some("x"), true),
            ("project:default:admin", Action::Administer, None, true),
        ] {
            assert_eq!(
                scope.parse::<Scope>().unwrap().allows(action, repository),
                expected,
                "{scope} {action:?}"
            );
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
            "project:other:viewer",
            "project:default:root",
            "project:default:viewer,editor",
        ] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }

    #[test]
    fn asked_and_allowed_meet() {
        let held: Scope = "repository:acme/*:pull,push".parse().unwrap();
        for (asked, granted) in [
            ("repository:acme/x:pull,push,delete", Some("repository:acme/x:pull,push")),
            ("repository:acme/x:*", Some("repository:acme/x:pull,push")),
            ("repository:other:pull", None),
            ("registry:catalog:*", None),
        ] {
            let found = asked
                .parse::<Scope>()
                .unwrap()
                .intersection(|action, repository| held.allows(action, repository));
            assert_eq!(found.map(|scope| scope.to_string()).as_deref(), granted, "{asked}");
        }
    }
}
