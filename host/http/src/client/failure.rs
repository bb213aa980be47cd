//! Why a request got no answer.

use std::fmt;
use std::time::Duration;

use eyot_core::Error;
use http::Uri;

use super::BoxError;

/// Why a request got no answer; into an [`Error`] whoever asked may put a hint of its own.
#[derive(Debug)]
pub enum RequestFailure {
    /// The server's certificate is of nobody who is trusted.
    UntrustedCertificate(Error),
    /// The policy of addresses forbids it.
    ForbiddenAddress(Error),
    /// The policy of redirects does.
    ForbiddenRedirect(Error),
    /// It was not sent, or nothing came back in time: `Unavailable` or `Timeout`.
    NoAnswer(Error),
}

impl RequestFailure {
    pub(super) fn of(target: &Uri, error: hyper_util::client::legacy::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        let mut is_late = false;
        while let Some(found) = cause {
            if let Some(rustls::Error::InvalidCertificate(why)) = found.downcast_ref() {
                let text = format!("{} shows a certificate that is not trusted: {why}", origin(target));
                return Self::UntrustedCertificate(Error::unavailable(text));
            }
            if let Some(forbidden) = found.downcast_ref::<ForbiddenAddress>() {
                return forbidden.clone().into();
            }
            let io = found.downcast_ref::<std::io::Error>();
            is_late |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut);
            // An I/O error shows what it holds as itself, and not as its source.
            let held = io.and_then(std::io::Error::get_ref);
            cause = held.map(|held| held as _).or_else(|| found.source());
        }
        let text = format!("{} does not answer", origin(target));
        let failure = if is_late { Error::timeout(text) } else { Error::unavailable(text) };
        Self::NoAnswer(failure.because(error))
    }
}

/// A host that the policy does not allow.
#[derive(Clone, Debug)]
pub(super) struct ForbiddenAddress(pub(super) String);

impl fmt::Display for ForbiddenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is an address inside of a private network", self.0)
    }
}

impl std::error::Error for ForbiddenAddress {}

impl From<ForbiddenAddress> for RequestFailure {
    fn from(forbidden: ForbiddenAddress) -> Self {
        Self::ForbiddenAddress(Error::denied(forbidden.to_string()))
    }
}

impl From<RequestFailure> for Error {
    fn from(failure: RequestFailure) -> Self {
        match failure {
            RequestFailure::UntrustedCertificate(error)
            | RequestFailure::ForbiddenAddress(error)
            | RequestFailure::ForbiddenRedirect(error)
            | RequestFailure::NoAnswer(error) => error,
        }
    }
}

pub(super) fn no_answer_within(target: &Uri, limit: Duration) -> RequestFailure {
    let text = format!("{} does not answer within {} ms", origin(target), limit.as_millis());
    RequestFailure::NoAnswer(Error::timeout(text))
}

/// What a connection was not made within.
pub(super) fn no_connection_within(limit: Duration) -> BoxError {
    let text = format!("no connection within {} ms", limit.as_millis());
    std::io::Error::new(std::io::ErrorKind::TimedOut, text).into()
}

/// Scheme and authority: a path or query may hold what nobody else should read.
pub(super) fn origin(target: &Uri) -> String {
    let scheme = target.scheme_str().unwrap_or("http");
    let host = target.host().unwrap_or_default();
    match target.port() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}
