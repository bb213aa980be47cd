//! What somebody may do: roles, each of which has all that the one before it has, and permissions,
//! each with the least role that it takes.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A place in a project, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads, pulls and calls endpoints.
    Viewer,
    /// Also pushes and runs pipelines.
    Editor,
    /// Also deploys, moves traffic and rolls back.
    Deployer,
    /// Also deletes, makes tokens, sets policies and reads the audit log.
    Admin,
    /// Everything in the whole installation.
    Owner,
}

impl Role {
    /// Every role, from the least to the most.
    pub const ALL: [Role; 5] = [Role::Viewer, Role::Editor, Role::Deployer, Role::Admin, Role::Owner];

    /// The name on the wire and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Editor => "editor",
            Role::Deployer => "deployer",
            Role::Admin => "admin",
            Role::Owner => "owner",
        }
    }

    /// Whether this role includes a permission.
    pub fn may(self, permission: Permission) -> bool {
        self >= permission.least_role()
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Error::invalid(format!("'{shown}' is no role"))
                .hint("roles are viewer, editor, deployer, admin and owner")
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that a request does to the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    DeploymentRead,
    DeploymentLogRead,
    ModelRead,
    RunRead,
    RunSubmit,
    EventRead,
    EndpointCall,
    RunCancel,
    DeploymentWrite,
    TrafficWrite,
    ProjectRead,
    MemberManage,
    TokenManage,
    PolicyManage,
    AuditRead,
    QuotaRead,
    GarbageCollect,
    UserManage,
    ProjectManage,
    BackUp,
}

impl Permission {
    /// The least role that includes it.
    pub const fn least_role(self) -> Role {
        match self {
            Self::DeploymentRead
            | Self::DeploymentLogRead
            | Self::ModelRead
            | Self::RunRead
            | Self::ProjectRead
            | Self::EndpointCall
            | Self::EventRead => Role::Viewer,
            Self::RunSubmit | Self::RunCancel => Role::Editor,
            Self::DeploymentWrite | Self::TrafficWrite => Role::Deployer,
            Self::MemberManage
            | Self::TokenManage
            | Self::PolicyManage
            | Self::AuditRead
            | Self::QuotaRead => Role::Admin,
            Self::GarbageCollect | Self::BackUp | Self::UserManage | Self::ProjectManage => Role::Owner,
        }
    }

    /// What it is in words that follow "to".
    pub const fn description(self) -> &'static str {
        match self {
            Self::DeploymentRead => "read deployments",
            Self::DeploymentLogRead => "read what deployments print",
            Self::ModelRead => "read registered models",
            Self::RunRead => "read runs",
            Self::EventRead => "read events",
            Self::EndpointCall => "call endpoints of the project",
            Self::RunSubmit => "run pipelines",
            Self::RunCancel => "cancel runs",
            Self::DeploymentWrite => "deploy and undeploy",
            Self::TrafficWrite => "move traffic",
            Self::ProjectRead => "look at the project",
            Self::MemberManage => "manage the members of the project",
            Self::TokenManage => "manage tokens",
            Self::PolicyManage => "manage policies",
            Self::AuditRead => "read the audit log",
            Self::QuotaRead => "read quotas",
            Self::GarbageCollect => "collect and check what is stored",
            Self::UserManage => "manage users",
            Self::ProjectManage => "make and remove projects",
            Self::BackUp => "make backups",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_role_has_what_the_one_before_it_has() {
        for (role, permission, expected) in [
            (Role::Viewer, Permission::RunRead, true),
            (Role::Viewer, Permission::RunSubmit, false),
            (Role::Editor, Permission::RunSubmit, true),
            (Role::Editor, Permission::DeploymentWrite, false),
            (Role::Deployer, Permission::DeploymentWrite, true),
            (Role::Deployer, Permission::TokenManage, false),
            (Role::Admin, Permission::TokenManage, true),
            (Role::Admin, Permission::GarbageCollect, false),
            (Role::Owner, Permission::GarbageCollect, true),
            (Role::Admin, Permission::BackUp, false),
            (Role::Owner, Permission::RunRead, true),
        ] {
            assert_eq!(role.may(permission), expected, "{role} {permission:?}");
        }
    }

    #[test]
    fn names_of_roles_read_back() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse::<Role>().unwrap(), role);
        }
        assert!("root".parse::<Role>().is_err());
    }
}
