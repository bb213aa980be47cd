//! Users, projects, members, services and tokens.

use std::time::Duration;

use eyot_access::{AccessScope, AccessToken, CreatedToken, NewUser, Principal, Project, ProjectMember};
use eyot_core::{ProjectName, Result, Role, Timestamp};

use super::{ApiClient, escape};
use crate::projects::{MemberRequest, ProjectRequest, RoleRequest};
use crate::sign_in::LoginRequest;
use crate::tokens::{RotateRequest, TokenRequest};
use crate::users::{PasswordRequest, UserRequest};
use crate::{CallerInfo, CreatedService};

impl ApiClient {
    /// What the server takes this client for.
    pub async fn whoami(&self) -> Result<CallerInfo> {
        self.get("/api/v1/whoami").await
    }

    /// A token for a user's name and password.
    pub async fn log_in(&self, user: &str, password: &str, from: &str) -> Result<CreatedToken> {
        let (user, password, from) = (user.to_owned(), password.to_owned(), from.to_owned());
        self.post("/api/v1/login", &LoginRequest { user, password, from }).await
    }

    pub async fn users(&self) -> Result<Vec<Principal>> {
        self.get("/api/v1/users").await
    }

    /// Adds a user; without a password one is made and answered.
    pub async fn add_user(&self, name: &str, password: Option<String>, owner: bool) -> Result<NewUser> {
        self.post("/api/v1/users", &UserRequest { name: name.to_owned(), password, owner }).await
    }

    pub async fn remove_user(&self, name: &str) -> Result<()> {
        self.delete(&format!("/api/v1/users/{}", escape(name))).await
    }

    pub async fn set_password(&self, name: &str, password: String) -> Result<()> {
        self.put(&format!("/api/v1/users/{}/password", escape(name)), &PasswordRequest { password }).await
    }

    /// The projects that the caller has a part in.
    pub async fn projects(&self) -> Result<Vec<Project>> {
        self.get("/api/v1/projects").await
    }

    pub async fn create_project(&self, name: &ProjectName, members: &[(String, Role)]) -> Result<Project> {
        let members = members.iter().cloned().map(|(name, role)| MemberRequest { name, role }).collect();
        self.post("/api/v1/projects", &ProjectRequest { name: name.clone(), members }).await
    }

    pub async fn remove_project(&self, name: &ProjectName) -> Result<()> {
        self.delete(&format!("/api/v1/projects/{name}")).await
    }

    pub async fn members(&self) -> Result<Vec<ProjectMember>> {
        self.get("/api/v1/members").await
    }

    pub async fn set_member(&self, name: &str, role: Role) -> Result<ProjectMember> {
        self.put(&format!("/api/v1/members/{}", escape(name)), &RoleRequest { role }).await
    }

    pub async fn remove_member(&self, name: &str) -> Result<()> {
        self.delete(&format!("/api/v1/members/{}", escape(name))).await
    }

    pub async fn create_service(&self, name: &str, role: Role) -> Result<CreatedService> {
        self.post("/api/v1/services", &MemberRequest { name: name.to_owned(), role }).await
    }

    pub async fn remove_service(&self, name: &str) -> Result<()> {
        self.delete(&format!("/api/v1/services/{}", escape(name))).await
    }

    pub async fn tokens(&self) -> Result<Vec<AccessToken>> {
        self.get("/api/v1/tokens").await
    }

    pub async fn create_token(&self, token: TokenOptions) -> Result<CreatedToken> {
        let TokenOptions { name, scopes, project, service, expires } = token;
        self.post("/api/v1/tokens", &TokenRequest { name, scopes, project, service, expires }).await
    }

    pub async fn revoke_token(&self, name: &str) -> Result<()> {
        self.delete(&format!("/api/v1/tokens/{}", escape(name))).await
    }

    /// Another secret for a token; the one that it had is good for `grace` more.
    pub async fn rotate_token(&self, name: &str, grace: Duration) -> Result<CreatedToken> {
        let grace_milliseconds = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.post(&format!("/api/v1/tokens/{}/rotate", escape(name)), &RotateRequest { grace_milliseconds })
            .await
    }
}

/// A token to be made.
#[derive(Clone, Debug, Default)]
pub struct TokenOptions {
    pub name: String,
    pub scopes: Vec<AccessScope>,
    /// Its only project.
    pub project: Option<ProjectName>,
    /// The service whose it is; without one it is the caller's.
    pub service: Option<String>,
    pub expires: Option<Timestamp>,
}
