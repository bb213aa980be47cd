//! One error for the whole of Eyot. It tells three people three things: the caller a [`ErrorKind`] to
//! branch on, the operator the chain of causes, the user a hint: what to do next.

use std::error::Error as StdError;
use std::fmt;

/// What a caller can do about an error. Each kind has one HTTP status and one exit code, so that the
/// wire, the shell and the code agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The input is wrong and will be wrong again.
    Invalid,
    /// The named thing does not exist.
    NotFound,
    /// The named thing exists already, or changed meanwhile.
    Conflict,
    /// Known, but not permitted.
    Denied,
    /// Larger than a limit.
    TooLarge,
    /// A limit on concurrency or a queue is reached; later it may do.
    Exhausted,
    /// A part that is needed is not there now; later it may be.
    Unavailable,
    /// The deadline passed.
    Timeout,
    /// The caller went away or asked to stop.
    Cancelled,
    /// This build or machine cannot do that.
    Unsupported,
    /// Stored bytes are not what their digest says.
    Corrupt,
    /// A component failed: it trapped, ran out of memory or answered with an error.
    Failed,
    /// A fault of Eyot or of the machine.
    Internal,
    /// There is no room: the disk is full, or what may be used of it.
    Full,
}

impl ErrorKind {
    /// Every kind, in the order of their exit codes.
    pub const ALL: [ErrorKind; 14] = [
        ErrorKind::Internal,
        ErrorKind::Invalid,
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::Denied,
        ErrorKind::TooLarge,
        ErrorKind::Exhausted,
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::Cancelled,
        ErrorKind::Unsupported,
        ErrorKind::Corrupt,
        ErrorKind::Failed,
        ErrorKind::Full,
    ];

    /// The process exit code: 1 for an internal fault, 2 for wrong input (as for wrong flags), and
    /// so on in the order of [`ErrorKind::ALL`].
    pub fn exit_code(self) -> u8 {
        let position = ErrorKind::ALL.iter().position(|kind| *kind == self);
        position.map_or(1, |position| position as u8 + 1)
    }

    /// The HTTP status with which both planes answer.
    pub fn http_status(self) -> u16 {
        match self {
            ErrorKind::Invalid => 400,
            ErrorKind::Denied => 403,
            ErrorKind::NotFound => 404,
            ErrorKind::Conflict => 409,
            ErrorKind::TooLarge => 413,
            ErrorKind::Exhausted => 429,
            ErrorKind::Cancelled => 499,
            ErrorKind::Failed | ErrorKind::Corrupt | ErrorKind::Internal => 500,
            ErrorKind::Unsupported => 501,
            ErrorKind::Unavailable => 503,
            ErrorKind::Timeout => 504,
            ErrorKind::Full => 507,
        }
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Invalid => "invalid",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Denied => "denied",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::Exhausted => "exhausted",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Failed => "failed",
            ErrorKind::Internal => "internal",
            ErrorKind::Full => "full",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<ErrorKind> {
        ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A message in lower case without a full stop, a kind, perhaps a hint and a cause.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self { Self::new(ErrorKind::$kind, message) })*
    };
}

impl Error {
    /// An error without hint or cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hint: None, source: None }))
    }

    constructors! {
        /// See [`ErrorKind::Invalid`].
        invalid => Invalid;
        /// See [`ErrorKind::NotFound`].
        not_found => NotFound;
        /// See [`ErrorKind::Conflict`].
        conflict => Conflict;
        /// See [`ErrorKind::Denied`].
        denied => Denied;
        /// See [`ErrorKind::TooLarge`].
        too_large => TooLarge;
        /// See [`ErrorKind::Exhausted`].
        exhausted => Exhausted;
        /// See [`ErrorKind::Unavailable`].
        unavailable => Unavailable;
        /// See [`ErrorKind::Timeout`].
        timeout => Timeout;
        /// See [`ErrorKind::Cancelled`].
        cancelled => Cancelled;
        /// See [`ErrorKind::Unsupported`].
        unsupported => Unsupported;
        /// See [`ErrorKind::Corrupt`].
        corrupt => Corrupt;
        /// See [`ErrorKind::Failed`].
        failed => Failed;
        /// See [`ErrorKind::Internal`].
        internal => Internal;
        /// See [`ErrorKind::Full`].
        full => Full;
    }

    /// Adds what the user should do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the cause. The message must not repeat the cause's text.
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Wraps this error in what was being done. Kind and hint stay.
    pub fn context(self, message: impl Into<String>) -> Self {
        let (kind, hint) = (self.0.kind, self.0.hint.clone());
        let mut outer = Self::new(kind, message).because(self);
        outer.0.hint = hint;
        outer
    }

    /// The same error with another kind.
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message without its causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What the user should do next.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Message and causes, each once, joined by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.0.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let line = error.to_string();
            if !text.ends_with(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `{:#}` is the whole chain, `{}` one link of it, as with anyhow.
        if f.alternate() { f.write_str(&self.chain()) } else { f.write_str(&self.0.message) }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.chain(), self.0.kind.as_str())?;
        self.0.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; hint: {hint}"))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            std::io::ErrorKind::TimedOut => ErrorKind::Timeout,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            _ => ErrorKind::Internal,
        };
        let found = Self::new(kind, error.to_string());
        if kind == ErrorKind::Full {
            found.hint("make room on the disk; eyot gc removes what nothing uses")
        } else {
            found
        }
    }
}

/// Adds what was being done to the error of a result.
pub trait ResultExt<T> {
    /// Wraps the error; `message` is only built when there is one.
    fn context(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> ResultExt<T> for std::result::Result<T, E> {
    fn context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.into().context(message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_distinct_names_and_exit_codes_and_parse_back() {
        for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(ErrorKind::parse(kind.as_str()), Some(kind));
            assert_eq!(usize::from(kind.exit_code()), index + 1);
            assert!((400..600).contains(&kind.http_status()));
        }
    }

    #[test]
    fn a_chain_says_each_cause_once_and_keeps_kind_and_hint() {
        let inner = Error::corrupt("blob sha256:ab is damaged").hint("run eyot verify");
        let outer = inner.context("cannot load component digits").context("cannot deploy digits");
        assert_eq!(
            outer.chain(),
            "cannot deploy digits: cannot load component digits: blob sha256:ab is damaged"
        );
        assert_eq!(outer.kind(), ErrorKind::Corrupt);
        assert_eq!(outer.hint_text(), Some("run eyot verify"));
        assert_eq!(outer.to_string(), "cannot deploy digits");
    }
}
