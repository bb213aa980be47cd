//! One error for the whole of Eyot. It tells three people three things: the caller a [`Kind`] to
//! branch on, the operator the chain of causes, the user a hint: what to do next.

use std::error::Error as StdError;
use std::fmt;

/// What a caller can do about an error. Each kind has one HTTP status and one exit code, so that the
/// wire, the shell and the code agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
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

impl Kind {
    /// Every kind, in the order of their exit codes.
    pub const ALL: [Kind; 14] = [
        Kind::Internal,
        Kind::Invalid,
        Kind::NotFound,
        Kind::Conflict,
        Kind::Denied,
        Kind::TooLarge,
        Kind::Exhausted,
        Kind::Unavailable,
        Kind::Timeout,
        Kind::Cancelled,
        Kind::Unsupported,
        Kind::Corrupt,
        Kind::Failed,
        Kind::Full,
    ];

    /// The process exit code: 1 for an internal fault, 2 for wrong input (as for wrong flags), and
    /// so on in the order of [`Kind::ALL`].
    pub fn exit_code(self) -> u8 {
        let position = Kind::ALL.iter().position(|kind| *kind == self);
        position.map_or(1, |position| position as u8 + 1)
    }

    /// The HTTP status with which both planes answer.
    pub fn http_status(self) -> u16 {
        match self {
            Kind::Invalid => 400,
            Kind::Denied => 403,
            Kind::NotFound => 404,
            Kind::Conflict => 409,
            Kind::TooLarge => 413,
            Kind::Exhausted => 429,
            Kind::Cancelled => 499,
            Kind::Failed | Kind::Corrupt | Kind::Internal => 500,
            Kind::Unsupported => 501,
            Kind::Unavailable => 503,
            Kind::Timeout => 504,
            Kind::Full => 507,
        }
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::NotFound => "not_found",
            Kind::Conflict => "conflict",
            Kind::Denied => "denied",
            Kind::TooLarge => "too_large",
            Kind::Exhausted => "exhausted",
            Kind::Unavailable => "unavailable",
            Kind::Timeout => "timeout",
            Kind::Cancelled => "cancelled",
            Kind::Unsupported => "unsupported",
            Kind::Corrupt => "corrupt",
            Kind::Failed => "failed",
            Kind::Internal => "internal",
            Kind::Full => "full",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A message in lower case without a full stop, a kind, perhaps a hint and a cause.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self { Self::new(Kind::$kind, message) })*
    };
}

impl Error {
    /// An error without hint or cause.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hint: None, source: None }))
    }

    constructors! {
        /// See [`Kind::Invalid`].
        invalid => Invalid;
        /// See [`Kind::NotFound`].
        not_found => NotFound;
        /// See [`Kind::Conflict`].
        conflict => Conflict;
        /// See [`Kind::Denied`].
        denied => Denied;
        /// See [`Kind::TooLarge`].
        too_large => TooLarge;
        /// See [`Kind::Exhausted`].
        exhausted => Exhausted;
        /// See [`Kind::Unavailable`].
        unavailable => Unavailable;
        /// See [`Kind::Timeout`].
        timeout => Timeout;
        /// See [`Kind::Cancelled`].
        cancelled => Cancelled;
        /// See [`Kind::Unsupported`].
        unsupported => Unsupported;
        /// See [`Kind::Corrupt`].
        corrupt => Corrupt;
        /// See [`Kind::Failed`].
        failed => Failed;
        /// See [`Kind::Internal`].
        internal => Internal;
        /// See [`Kind::Full`].
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
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> Kind {
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
            std::io::ErrorKind::NotFound => Kind::NotFound,
            std::io::ErrorKind::PermissionDenied => Kind::Denied,
            std::io::ErrorKind::TimedOut => Kind::Timeout,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::Full,
            _ => Kind::Internal,
        };
        let found = Self::new(kind, error.to_string());
        if kind == Kind::Full {
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
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
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
        assert_eq!(outer.kind(), Kind::Corrupt);
        assert_eq!(outer.hint_text(), Some("run eyot verify"));
        assert_eq!(outer.to_string(), "cannot deploy digits");
    }
}
