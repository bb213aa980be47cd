use std::fmt;

use crate::bindings::eyot::ml::types;

/// Why something was not done. `?` makes one of most errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    message: String,
    kind: Kind,
}

/// What kind of error it is: the cases of `eyot:ml/types.error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Data or arguments do not fit.
    InvalidInput,
    /// There is no such thing, or it was not granted.
    NotFound,
    /// Known, but not permitted.
    Denied,
    /// This host cannot do that.
    Unsupported,
    /// Not now; the same may succeed later.
    Unavailable,
    /// The deadline passed first.
    Timeout,
    /// Anything else.
    Internal,
}

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The caller's data or arguments do not fit: 400 over HTTP.
    pub fn invalid(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), kind: Kind::InvalidInput }
    }

    /// The fault is not the caller's: 500 over HTTP.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), kind: Kind::Internal }
    }

    /// What kind of error it is.
    pub fn kind(&self) -> Kind {
        self.kind
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
        let (kind, message) = match error {
            types::Error::InvalidInput(text) => (Kind::InvalidInput, text),
            types::Error::NotFound(text) => (Kind::NotFound, text),
            types::Error::Denied(text) => (Kind::Denied, text),
            types::Error::Unsupported(text) => (Kind::Unsupported, text),
            types::Error::Unavailable(text) => (Kind::Unavailable, text),
            types::Error::Timeout(text) => (Kind::Timeout, text),
            types::Error::Internal(text) => (Kind::Internal, text),
        };
        Self { message, kind }
    }
}

impl From<Error> for types::Error {
    /// What the caller of a component hears. That it misses something, or may not, is no fault of who calls.
    fn from(error: Error) -> Self {
        match error.kind {
            Kind::InvalidInput => types::Error::InvalidInput(error.message),
            Kind::Unavailable => types::Error::Unavailable(error.message),
            Kind::Timeout => types::Error::Timeout(error.message),
            Kind::NotFound | Kind::Denied | Kind::Unsupported | Kind::Internal => {
                types::Error::Internal(error.message)
            }
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
