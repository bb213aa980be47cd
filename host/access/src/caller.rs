//! Callers, and what they are authorized to do.

use std::borrow::Cow;
use std::sync::Arc;

use eyot_core::config::AnonymousAccess;
use eyot_core::{Digest, Error, Permission, ProjectName, Result, Role, Timestamp, new_id};

use crate::project_index::{ProjectIndex, no_project};
use crate::rights::{PrincipalKind, PrincipalRights};
use crate::scope::{AccessScope, RegistryAction, least_role};

/// The secret by which commands on a data folder authenticate to the server that runs on it: whoever can read the
/// folder owns it, whatever users and tokens there are. It is valid as long as the process that made it.
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

/// The holder of an access token: whose it is, and what it narrows that to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenHolder {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Without any, a token of somebody has all that they have, and a token of nobody nothing.
    pub(crate) scopes: Vec<AccessScope>,
    /// Its only project; none for every project of the principal's.
    pub(crate) project: Option<ProjectName>,
    /// Whose it is. What a token of nobody allows is what its scopes say.
    pub(crate) principal: Option<Arc<PrincipalRights>>,
    pub(crate) expires: Option<Timestamp>,
}

impl TokenHolder {
    fn highest_scope(&self, project: &ProjectName) -> Option<Role> {
        self.scopes.iter().filter_map(|scope| scope.role_in(project)).max()
    }

    fn role_in(&self, project: &ProjectName) -> Option<Role> {
        let Some(principal) = &self.principal else { return self.highest_scope(project) };
        let own = principal.role_in(project);
        let ceiling = if self.scopes.is_empty() { Some(Role::Owner) } else { self.highest_scope(project) };
        let bound = match &self.project {
            None => Some(Role::Owner),
            // The whole installation is more than a project.
            Some(bound) => (bound == project).then_some(Role::Admin),
        };
        // None is less than any role.
        own.min(ceiling).min(bound)
    }

    /// A token of nobody reaches repositories of its project, which is `default`, unless it owns everything.
    fn may(&self, action: RegistryAction, repository: Option<&str>, project: &ProjectName) -> bool {
        let is_reached = match (&self.principal, &self.project) {
            (_, Some(bound)) => bound == project,
            (None, None) => project.is_default() || self.role_in(project) == Some(Role::Owner),
            (Some(_), None) => true,
        };
        let is_held = self.principal.as_ref().is_none_or(|principal| {
            principal.role_in(project).is_some_and(|role| role >= least_role(action))
        });
        let is_in_scope = match (self.scopes.as_slice(), &self.principal) {
            ([], Some(_)) => true,
            (scopes, _) => scopes.iter().any(|scope| scope.allows(action, repository, project)),
        };
        is_reached && is_held && is_in_scope
    }
}

#[derive(Clone, Debug)]
pub(crate) enum CallerIdentity {
    /// The process itself, or who owns the data folder.
    Local,
    /// A client that showed nothing.
    Anonymous,
    Token(Arc<TokenHolder>),
    /// Somebody who signed in.
    User(Arc<PrincipalRights>),
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(crate) identity: CallerIdentity,
    /// What a client that shows nothing may do, and so everybody else as well.
    pub(crate) anonymous: AnonymousAccess,
    /// What a short-lived token was issued for.
    pub(crate) granted: Option<Arc<[AccessScope]>>,
    pub(crate) projects: ProjectIndex,
}

impl Caller {
    /// The actor's name in the audit log.
    pub fn actor(&self) -> Cow<'static, str> {
        match &self.identity {
            CallerIdentity::Local => "local".into(),
            CallerIdentity::Anonymous => "anonymous".into(),
            CallerIdentity::User(user) => format!("{}:{}", user.kind, user.name).into(),
            CallerIdentity::Token(holder) => match &holder.principal {
                Some(principal) => {
                    format!("{}:{} token:{}", principal.kind, principal.name, holder.name).into()
                }
                None => format!("token:{}", holder.name).into(),
            },
        }
    }

    /// The name of the user or service, where the caller is one.
    pub fn principal(&self) -> Option<(PrincipalKind, &str)> {
        self.rights().map(|rights| (rights.kind, rights.name.as_str()))
    }

    pub(crate) fn rights(&self) -> Option<&Arc<PrincipalRights>> {
        match &self.identity {
            CallerIdentity::User(user) => Some(user),
            CallerIdentity::Token(holder) => holder.principal.as_ref(),
            CallerIdentity::Local | CallerIdentity::Anonymous => None,
        }
    }

    /// The project that the caller's token is for.
    pub fn bound_project(&self) -> Option<&ProjectName> {
        match &self.identity {
            CallerIdentity::Token(holder) => holder.project.as_ref(),
            _ => None,
        }
    }

    /// Whether scopes take something away from what the user or service may.
    pub(crate) fn is_narrowed(&self) -> bool {
        let has_scopes = matches!(&self.identity, CallerIdentity::Token(holder) if !holder.scopes.is_empty());
        has_scopes || self.granted.is_some()
    }

    /// The project that a repository is in.
    pub fn project_of(&self, repository: &str) -> ProjectName {
        self.projects.project_of(repository)
    }

    /// Whether they may do something to a repository, or to the registry.
    pub fn may(&self, action: RegistryAction, repository: Option<&str>) -> bool {
        let allows = |scopes: &[AccessScope]| {
            let project = self.project_of_any(repository);
            scopes.iter().any(|scope| scope.allows(action, repository, &project))
        };
        self.could(action, repository) && self.granted.as_deref().is_none_or(allows)
    }

    /// Whether they could, if their short-lived token had been issued for it.
    pub fn could(&self, action: RegistryAction, repository: Option<&str>) -> bool {
        let project = self.project_of_any(repository);
        let held = match &self.identity {
            CallerIdentity::Local => true,
            CallerIdentity::Anonymous => false,
            CallerIdentity::Token(holder) => holder.may(action, repository, &project),
            CallerIdentity::User(user) => {
                user.role_in(&project).is_some_and(|role| role >= least_role(action))
            }
        };
        let is_listing = action == RegistryAction::List
            && self.rights().is_some_and(|rights| rights.is_owner || !rights.roles.is_empty());
        held || is_listing
            || match self.anonymous {
                AnonymousAccess::All => true,
                AnonymousAccess::Pull => {
                    project.is_default() && matches!(action, RegistryAction::Pull | RegistryAction::List)
                }
                AnonymousAccess::None | AnonymousAccess::Auto => false,
            }
    }

    fn project_of_any(&self, repository: Option<&str>) -> ProjectName {
        repository.map_or_else(ProjectName::default, |repository| self.project_of(repository))
    }

    /// The role that they have in a project.
    pub fn role_in(&self, project: &ProjectName) -> Option<Role> {
        let own = match &self.identity {
            CallerIdentity::Local => Some(Role::Owner),
            CallerIdentity::Anonymous => None,
            CallerIdentity::Token(holder) => holder.role_in(project),
            CallerIdentity::User(user) => user.role_in(project),
        };
        let open = (self.anonymous == AnonymousAccess::All).then_some(Role::Owner);
        let held = own.max(open);
        match &self.granted {
            // None is less than any role.
            Some(scopes) => held.min(scopes.iter().filter_map(|scope| scope.role_in(project)).max()),
            None => held,
        }
    }

    /// Lets them do something in a project.
    ///
    /// Fails with `Denied`, naming what would do; with `NotFound` for a project that they have no part in.
    pub fn require(&self, permission: Permission, project: &ProjectName) -> Result<()> {
        let held = self.role_in(project);
        if held.is_some_and(|role| role.may(permission)) {
            return Ok(());
        }
        let (what, role) = (permission.description(), permission.least_role());
        if !self.is_known() {
            let error = Error::denied(format!("to {what} takes a token"));
            return Err(error.hint(format!(
                "eyot token create NAME --role {role} makes one, eyot login gets one; EYOT_TOKEN holds it"
            )));
        }
        // Whoever has no part in a project is not told whether there is one.
        if held.is_none() && !project.is_default() {
            return Err(no_project(project));
        }
        let own = self.rights().map(|rights| rights.role_in(project));
        match own {
            Some(own) if own.is_none_or(|own| !own.may(permission)) => {
                let is = own.map_or_else(|| "no member".to_owned(), |own| format!("its {own}"));
                let error = Error::denied(format!("you may not {what}: of project '{project}' you are {is}"));
                Err(error.hint(match (role, own) {
                    (Role::Owner, _) => "an owner of the installation may".to_owned(),
                    (_, None) => "--project names another; eyot project ls lists yours".to_owned(),
                    (role, _) => format!("an admin of the project can make you its {role}"),
                }))
            }
            _ => {
                let error = Error::denied(format!("this token does not allow to {what}"));
                let scope = AccessScope::of_role(project, role);
                Err(error.hint(format!("a token with the scope {scope} does")))
            }
        }
    }

    /// Lets in whoever is somebody.
    ///
    /// Fails with `Denied`.
    pub fn require_known(&self) -> Result<()> {
        if self.is_known() || self.anonymous == AnonymousAccess::All {
            return Ok(());
        }
        Err(Error::denied("this takes a token or a session")
            .hint("eyot login gets a token; EYOT_TOKEN holds one"))
    }

    /// Lets in callers that may pull from any repository at all.
    ///
    /// Fails with `Denied`; the hint names a token that would do.
    pub fn require_some_repository(&self) -> Result<()> {
        let shows = !matches!(self.identity, CallerIdentity::Anonymous);
        if shows || matches!(self.anonymous, AnonymousAccess::All | AnonymousAccess::Pull) {
            return Ok(());
        }
        Err(Error::denied("to read artifacts takes a token")
            .hint("eyot token create NAME --role viewer makes one, eyot login gets one; EYOT_TOKEN holds it"))
    }

    /// Lets them pull from a repository.
    ///
    /// Fails with `Denied`, whether there is such a repository or not.
    pub fn require_pull(&self, repository: &str) -> Result<()> {
        if self.may_pull(repository) {
            return Ok(());
        }
        let project = self.project_of(repository);
        if self.is_known() && !project.is_default() && self.role_in(&project).is_none() {
            // As for one that is not there.
            return Err(Error::not_found(format!("there is no '{repository}' in the registry"))
                .hint("eyot ls shows what is there; eyot push adds to it"));
        }
        let error = Error::denied(format!("this token does not allow to pull '{repository}'"));
        Err(error.hint(format!("a token with the scope repository:{repository}:pull does")))
    }

    /// Lets them give a token some scopes, or take them away: nobody gives or takes more than they have.
    ///
    /// Fails with `Denied`.
    pub(crate) fn require_to_give(&self, scopes: &[AccessScope]) -> Result<()> {
        let exceeding = |scope: &&AccessScope| {
            scope.project_role().is_some_and(|(project, role)| Some(role) > self.role_in(&project))
        };
        match scopes.iter().find(exceeding) {
            Some(scope) => {
                let project = scope.project_role().map(|(project, _)| project).unwrap_or_default();
                let own = self.role_in(&project).map_or("no role", Role::as_str);
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
        !matches!(self.identity, CallerIdentity::Anonymous)
    }

    /// Whether they own the data folder that the server runs on.
    pub fn is_local(&self) -> bool {
        matches!(self.identity, CallerIdentity::Local)
    }

    /// Whether they showed nothing at all, not even a short-lived token.
    pub fn shows_nothing(&self) -> bool {
        !self.is_known() && self.granted.is_none()
    }
}
