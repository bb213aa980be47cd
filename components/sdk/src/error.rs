use std::fmt;

use crate::bindings::eyot::ml::types;

/// Why something was not done. `?` makes one of most errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    message: String,
    /// Whether the caller's data are at fault.
    invalid: bool,
}

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The caller's data or arguments do not fit: 400 over HTTP.
    pub fn invalid(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), invalid: true }
    }

    /// The fault is not the caller's: 500 over HTTP.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), invalid: false }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::InvalidInput(text) => Self::invalid(text),
            types::Error::NotFound(text)
            | types::Error::Denied(text)
            | types::Error::Unsupported(text)
            | types::Error::Unavailable(text)
            | types::Error::Timeout(text)
            | types::Error::Internal(text) => Self::internal(text),
        }
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        if error.invalid {
            types::Error::InvalidInput(error.message)
        } else {
            types::Error::Internal(error.message)
        }
    }
}

macro_rules! from {
    ($($type:ty),* $(,)?) => {$(
        impl From<$type> for Error {
            fn from(error: $type) -> Self {
                Self::internal(error)
            }
        }
    )*};
}

from!(String, &str, std::io::Error, std::fmt::Error, std::string::FromUtf8Error, std::str::Utf8Error);
from!(std::num::ParseIntError, std::num::ParseFloatError, std::num::TryFromIntError);
