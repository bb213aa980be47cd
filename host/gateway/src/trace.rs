//! W3C trace context: which trace a request belongs to, for the logs.

use eyot_core::Error;
use http::HeaderMap;

/// A valid `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace(String);

impl Trace {
    /// The trace that a request is part of. A header that is wrong is as good as none, as the standard
    /// has it: a client's tracing must not fail its requests.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get("traceparent")?.to_str().ok()?.parse().ok()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Trace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::invalid("the traceparent is none");
        let hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
        let parts: Vec<&str> = text.split('-').collect();
        let [version, trace, parent, flags, later @ ..] = parts.as_slice() else { return Err(wrong()) };
        let well_formed = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
        let known = *version != "ff" && (*version != "00" || later.is_empty());
        if !well_formed || !known || zero(trace) || zero(parent) {
            return Err(wrong());
        }
        Ok(Self(format!("{version}-{trace}-{parent}-{flags}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_standard_takes_is_taken() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for (text, taken) in [
            (format!("00-{trace}"), true),
            (format!("01-{trace}-later"), true),
            (format!("00-{trace}-later"), false),
            (format!("ff-{trace}"), false),
            (format!("00-{}", trace.to_uppercase()), false),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
            ("00".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(text.parse::<Trace>().is_ok(), taken, "{text}");
        }
    }
}
