//! Callers of the registry, and what they are authorized to do.

use std::sync::Arc;

use eyot_core::config::Anonymous;
use eyot_core::{Digest, Error, Permission, Result, Role, new_id};

use crate::scope::{AccessScope, RegistryAction};

/// Marks, in its extensions, a request that this process sends to itself: it acts for the owner of the data folder.
/// A request over a socket never carries it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalRequest;

/// The secret by which commands on a data folder authenticate to the server that runs on it: whoever can read the
/// folder owns it, whatever tokens there are. It is valid as long as the process that made it.
#[derive(Clone)]
pub struct LocalSecret(String);

impl LocalSecret {
    /// A new random secret.
    pub fn random() -> Self {
        Self(format!("eyot-local_{}{}", new_id(), new_id()))
    }

    /// The text that is sent as a bearer token.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares hashes, so that the time it takes tells nothing of the secret.
    pub(crate) fn matches(&self, shown: &str) -> bool {
        Digest::of(&self.0) == Digest::of(shown)
    }
}

impl std::fmt::Debug for LocalSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LocalSecret(…)")
    }
}

/// The owner of an access token: its name and its scopes.
#[derive(Debug, PartialEq, Eq)]
pub struct TokenHolder {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) scopes: Vec<AccessScope>,
    /// In milliseconds since 1970; none for ever.
    pub(crate) expires: Option<i64>,
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub enum RegistryCaller {
    /// The process itself.
    Local,
    /// A client without a token, and what this registry allows those.
    Anonymous(Anonymous),
    /// A client with an access token, which may also do what clients without one may.
    Holder(Arc<TokenHolder>, Anonymous),
    /// A client with a short-lived token that `/v2/token` issued for an access token, or for none.
    Granted { holder: Option<Arc<TokenHolder>>, anonymous: Anonymous, scopes: Arc<[AccessScope]> },
}

impl RegistryCaller {
    /// The actor's name in the audit log.
    pub fn actor(&self) -> String {
        match self {
            Self::Local => "local".to_owned(),
            Self::Holder(holder, _) | Self::Granted { holder: Some(holder), .. } => {
                format!("token:{}", holder.name)
            }
            Self::Anonymous(_) | Self::Granted { holder: None, .. } => "anonymous".to_owned(),
        }
    }

    /// Whether they may do something to a repository, or to the registry.
    pub(crate) fn may(&self, action: RegistryAction, repository: Option<&str>) -> bool {
        match self {
            Self::Granted { scopes, .. } => {
                self.could(action, repository) && scopes.iter().any(|scope| scope.allows(action, repository))
            }
            _ => self.could(action, repository),
        }
    }

    /// Whether they could, if their short-lived token had been issued for it.
    pub(crate) fn could(&self, action: RegistryAction, repository: Option<&str>) -> bool {
        let (holder, anonymous) = match self {
            Self::Local => return true,
            Self::Anonymous(anonymous) => (None, anonymous),
            Self::Holder(holder, anonymous) => (Some(holder), anonymous),
            Self::Granted { holder, anonymous, .. } => (holder.as_ref(), anonymous),
        };
        let by_token =
            holder.is_some_and(|holder| holder.scopes.iter().any(|scope| scope.allows(action, repository)));
        by_token
            || match anonymous {
                Anonymous::All => true,
                Anonymous::Pull => matches!(action, RegistryAction::Pull | RegistryAction::List),
                Anonymous::None | Anonymous::Auto => false,
            }
    }

    /// The role that they have in the project.
    pub fn role(&self) -> Option<Role> {
        let highest = |scopes: &[AccessScope]| scopes.iter().filter_map(AccessScope::role).max();
        match self {
            Self::Local => Some(Role::Owner),
            Self::Anonymous(Anonymous::All) => Some(Role::Owner),
            Self::Anonymous(_) => None,
            Self::Holder(_, Anonymous::All) => Some(Role::Owner),
            Self::Holder(holder, _) => highest(&holder.scopes),
            Self::Granted { holder, anonymous, scopes } => {
                let held = match (anonymous, holder) {
                    (Anonymous::All, _) => Some(Role::Owner),
                    (_, Some(holder)) => highest(&holder.scopes),
                    (_, None) => None,
                };
                // None is less than any role.
                held.min(highest(scopes))
            }
        }
    }

    /// Lets them do something to the project.
    ///
    /// Fails with `Denied`; the hint names a token that would do.
    pub fn require(&self, permission: Permission) -> Result<()> {
        if self.role().is_some_and(|role| role.may(permission)) {
            return Ok(());
        }
        let (what, role) = (permission.description(), permission.least_role());
        let scope = AccessScope::of_role(role);
        if self.is_known() {
            let error = Error::denied(format!("this token does not allow to {what}"));
            return Err(error.hint(format!("a token with the scope {scope} does")));
        }
        let error = Error::denied(format!("to {what} takes a token"));
        Err(error.hint(format!("eyot token create NAME --role {role} makes one; EYOT_TOKEN holds it")))
    }

    /// Lets in callers that may pull from any repository at all.
    ///
    /// Fails with `Denied`; the hint names a token that would do.
    pub fn require_some_repository(&self) -> Result<()> {
        let pulls = match self {
            Self::Local | Self::Anonymous(Anonymous::All | Anonymous::Pull) | Self::Holder(..) => true,
            Self::Granted { holder, anonymous, .. } => {
                holder.is_some() || matches!(anonymous, Anonymous::All | Anonymous::Pull)
            }
            Self::Anonymous(_) => false,
        };
        match pulls {
            true => Ok(()),
            false => Err(Error::denied("to read artifacts takes a token")
                .hint("eyot token create NAME --role viewer makes one; EYOT_TOKEN holds it")),
        }
    }

    /// Lets them pull from a repository.
    ///
    /// Fails with `Denied`, whether there is such a repository or not.
    pub fn require_pull(&self, repository: &str) -> Result<()> {
        if self.may_pull(repository) {
            return Ok(());
        }
        let error = Error::denied(format!("this token does not allow to pull '{repository}'"));
        Err(error.hint(format!("a token with the scope repository:{repository}:pull does")))
    }

    /// Lets them give a token some scopes, or take them away: nobody gives or takes more than they have.
    ///
    /// Fails with `Denied`.
    pub(crate) fn require_to_give(&self, scopes: &[AccessScope]) -> Result<()> {
        match scopes.iter().find(|scope| scope.role() > self.role()) {
            Some(scope) => {
                let own = self.role().map_or("no role", Role::as_str);
                Err(Error::denied(format!("{scope} is more than you have, which is {own}"))
                    .hint("ask an owner"))
            }
            None => Ok(()),
        }
    }

    /// Whether they may pull from a repository.
    pub fn may_pull(&self, repository: &str) -> bool {
        self.may(RegistryAction::Pull, Some(repository))
    }

    /// Whether they said who they are.
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Anonymous(_) | Self::Granted { holder: None, .. })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn holder(scopes: &[&str], anonymous: Anonymous) -> RegistryCaller {
        let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
        let (id, name) = ("1".to_owned(), "ci".to_owned());
        RegistryCaller::Holder(Arc::new(TokenHolder { id, name, scopes, expires: None }), anonymous)
    }

    #[test]
    fn the_highest_role_of_a_token_counts() {
        for (caller, role) in [
            (RegistryCaller::Local, Some(Role::Owner)),
            (RegistryCaller::Anonymous(Anonymous::All), Some(Role::Owner)),
            (RegistryCaller::Anonymous(Anonymous::Pull), None),
            (RegistryCaller::Anonymous(Anonymous::None), None),
            (holder(&["repository:*:pull,push,delete"], Anonymous::None), None),
            (holder(&["registry:admin:*"], Anonymous::None), Some(Role::Owner)),
            (
                holder(&["project:default:viewer", "project:default:deployer"], Anonymous::None),
                Some(Role::Deployer),
            ),
            (holder(&["project:default:viewer"], Anonymous::All), Some(Role::Owner)),
        ] {
            assert_eq!(caller.role(), role, "{caller:?}");
        }
    }

    #[test]
    fn nobody_gives_more_than_they_have() {
        let admin = holder(&["project:default:admin"], Anonymous::None);
        for (scope, given) in [
            ("project:default:viewer", true),
            ("project:default:admin", true),
            ("project:default:owner", false),
            ("registry:admin:*", false),
            ("repository:*:pull", true),
        ] {
            assert_eq!(admin.require_to_give(&[scope.parse().unwrap()]).is_ok(), given, "{scope}");
        }
    }

    #[test]
    fn a_local_secret_is_compared_whole_and_not_shown() {
        let secret = LocalSecret::random();
        assert!(secret.matches(secret.reveal()));
        assert!(!secret.matches(&secret.reveal()[1..]) && !secret.matches(""));
        assert!(!format!("{secret:?}").contains(secret.reveal()));
    }
}
