//! Who asks, and what they may do.

use std::sync::Arc;

use eyot_core::config::Anonymous;

use crate::scope::{Action, Scope};

/// Put into the extensions of a request that this process sends to itself: it acts for whoever owns
/// the data folder. A request over a socket never carries it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local;

/// A token's name and what it allows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
    /// In milliseconds since 1970; none for ever.
    pub(crate) expires: Option<i64>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// The process itself.
    Local,
    /// Somebody without a token, and what that means here.
    Anonymous(Anonymous),
    /// Somebody with a token, who may do what those without may, too.
    Holder(Arc<Holder>, Anonymous),
    /// Somebody with what they got for a token at `/v2/token`, or for none.
    Granted { holder: Option<Arc<Holder>>, anonymous: Anonymous, scopes: Arc<[Scope]> },
}

impl Caller {
    /// How the log names them.
    pub(crate) fn actor(&self) -> String {
        match self {
            Self::Local => "local".to_owned(),
            Self::Holder(holder, _) | Self::Granted { holder: Some(holder), .. } => {
                format!("token:{}", holder.name)
            }
            Self::Anonymous(_) | Self::Granted { holder: None, .. } => "anonymous".to_owned(),
        }
    }

    /// Whether they may do something to a repository, or to the registry.
    pub(crate) fn may(&self, action: Action, repository: Option<&str>) -> bool {
        match self {
            Self::Granted { scopes, .. } => {
                self.could(action, repository) && scopes.iter().any(|scope| scope.allows(action, repository))
            }
            _ => self.could(action, repository),
        }
    }

    /// Whether they could, if they had asked for it at `/v2/token`.
    pub(crate) fn could(&self, action: Action, repository: Option<&str>) -> bool {
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
                Anonymous::Pull => matches!(action, Action::Pull | Action::List),
                Anonymous::None | Anonymous::Auto => false,
            }
    }

    /// Whether they may pull from a repository.
    pub(crate) fn may_pull(&self, repository: &str) -> bool {
        self.may(Action::Pull, Some(repository))
    }

    /// Whether they said who they are.
    pub(crate) fn is_known(&self) -> bool {
        !matches!(self, Self::Anonymous(_) | Self::Granted { holder: None, .. })
    }
}
