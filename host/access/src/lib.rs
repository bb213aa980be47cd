//! Who sends a request and what they may do: users, services, projects and their members, tokens, sessions. Every plane
//! asks here, and nowhere else.

mod audit;
mod authentication;
mod caller;
mod denials;
mod members;
mod passwords;
mod principals;
mod project_index;
mod projects;
mod rights;
mod scope;
mod sessions;
mod short_lived_token;
mod store;
#[cfg(test)]
mod tests;
mod tokens;

pub use audit::Denial;
pub use authentication::{LocalRequest, SESSION_COOKIES, session_cookie};
pub use caller::{Caller, LocalSecret};
pub use members::ProjectMember;
pub use passwords::{MAX_PASSWORD_BYTES, MIN_PASSWORD_BYTES};
pub use principals::{NewUser, Principal};
pub use projects::Project;
pub use rights::PrincipalKind;
pub use scope::{AccessScope, RegistryAction};
pub use sessions::{BrowserSession, NewSession};
pub use store::{AccessSettings, AccessStore};
pub use tokens::{AccessToken, CreatedToken, NewToken};
