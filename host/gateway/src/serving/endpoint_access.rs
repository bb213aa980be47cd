//! Who may call what is deployed, where that is not everybody.

use eyot_access::{AccessStore, Denial};
use eyot_core::config::EndpointAccess;
use eyot_core::{Error, ErrorKind, Permission, ProjectName};
use http::HeaderMap;

use crate::serving::state::GatewayState;

/// Why a caller is not let in.
#[derive(Debug)]
pub(crate) struct CallerRejection {
    pub(crate) error: Error,
    /// They have not said who they are, or not so that it can be believed.
    pub(crate) is_unknown: bool,
}

impl GatewayState {
    /// Lets whoever sends these headers call deployments of a project.
    pub(crate) async fn check_caller(
        &self,
        headers: &HeaderMap,
        project: &str,
    ) -> Result<(), CallerRejection> {
        match self.config.access {
            EndpointAccess::Public => Ok(()),
            EndpointAccess::Project => match self.access.get() {
                Some(access) => check(access, headers, project).await,
                None => Err(Error::internal("nobody says who may call").into()),
            },
        }
    }
}

impl From<Error> for CallerRejection {
    fn from(error: Error) -> Self {
        Self { error, is_unknown: false }
    }
}

async fn check(access: &AccessStore, headers: &HeaderMap, project: &str) -> Result<(), CallerRejection> {
    let caller = access.authenticate_token(headers).await.map_err(|error| {
        let is_unknown = error.kind() == ErrorKind::Denied;
        CallerRejection { error, is_unknown }
    })?;
    let is_unknown = !caller.is_known();
    let project: ProjectName = project.parse().map_err(|_| missing(is_unknown))?;
    let Err(error) = caller.require(Permission::EndpointCall, &project) else { return Ok(()) };
    if !is_unknown {
        let reason = error.to_string();
        let denial = Denial { project: &project, action: "endpoint.call", object: "", reason: &reason };
        Box::pin(access.record_denial(&caller, denial)).await;
    }
    Err(CallerRejection { error, is_unknown })
}

/// Whoever is nobody is told to say who they are, whatever they ask for.
fn missing(is_unknown: bool) -> CallerRejection {
    let error = match is_unknown {
        true => Error::denied("to call endpoints takes a token").hint("eyot login gets one"),
        false => Error::not_found("there is no such project"),
    };
    CallerRejection { error, is_unknown }
}
