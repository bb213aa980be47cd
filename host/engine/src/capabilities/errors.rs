//! Errors of `eyot:ml/types`, and ours.

use eyot_core::{Error, ErrorKind};
use eyot_world::types;

/// One of our errors as a guest gets it, in the terms of `eyot:ml/types`.
pub(crate) fn to_guest(error: &Error) -> types::Error {
    let text = match error.hint_text() {
        Some(hint) => format!("{}; {hint}", error.chain()),
        None => error.chain(),
    };
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::TooLarge => types::Error::InvalidInput(text),
        ErrorKind::NotFound => types::Error::NotFound(text),
        ErrorKind::Denied => types::Error::Denied(text),
        ErrorKind::Unsupported => types::Error::Unsupported(text),
        ErrorKind::Exhausted | ErrorKind::Unavailable => types::Error::Unavailable(text),
        ErrorKind::Timeout => types::Error::Timeout(text),
        _ => types::Error::Internal(text),
    }
}

/// Our error for one that a guest answered with.
pub(crate) fn from_guest(error: types::Error) -> Error {
    match error {
        types::Error::InvalidInput(text) => Error::invalid(text),
        types::Error::NotFound(text) => Error::not_found(text),
        types::Error::Denied(text) => Error::denied(text),
        types::Error::Unsupported(text) => Error::unsupported(text),
        types::Error::Unavailable(text) => Error::unavailable(text),
        types::Error::Timeout(text) => Error::timeout(text),
        types::Error::Internal(text) => Error::failed(text),
    }
}
