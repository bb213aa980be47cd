//! W3C trace context: which trace a request belongs to, for the logs and for spans.

use eyot_core::Error;
use http::HeaderMap;

/// The header that says which trace a request, or an answer, belongs to.
pub(crate) const TRACEPARENT_HEADER: &str = "traceparent";

/// A valid `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext(String);

/// The span of a request, and whose part it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestSpan {
    /// What others name as their parent.
    pub(crate) trace: TraceContext,
    pub(crate) parent: Option<String>,
}

impl RequestSpan {
    /// The span of a request that came with this trace, or with none.
    pub(crate) fn begin(parent: Option<&TraceContext>) -> Self {
        match parent {
            Some(parent) => Self { trace: parent.child(), parent: Some(parent.span().to_owned()) },
            None => Self { trace: TraceContext::root(), parent: None },
        }
    }
}

impl TraceContext {
    /// The trace that a request is part of. A header that is wrong is as good as none, as the standard
    /// has it: a client's tracing must not fail its requests.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get(TRACEPARENT_HEADER)?.to_str().ok()?.parse().ok()
    }

    /// The beginning of a trace, which is recorded.
    pub(crate) fn root() -> Self {
        Self(format!("00-{}-{}-01", eyot_core::new_id(), span()))
    }

    /// The same trace as a part of this span's work sees it.
    pub(crate) fn child(&self) -> Self {
        Self(format!("00-{}-{}-01", self.id(), span()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The trace's own name.
    pub(crate) fn id(&self) -> &str {
        self.part(1)
    }

    /// The span that is meant: a request's parent, or the request's own.
    pub(crate) fn span(&self) -> &str {
        self.part(2)
    }

    /// Whether who began the trace records it.
    pub(crate) fn is_sampled(&self) -> bool {
        u8::from_str_radix(self.part(3), 16).is_ok_and(|flags| flags & 1 == 1)
    }

    fn part(&self, place: usize) -> &str {
        self.0.split('-').nth(place).unwrap_or_default()
    }
}

/// A name for a span: half of an id's digits.
fn span() -> String {
    let mut id = eyot_core::new_id();
    id.truncate(16);
    id
}

impl std::str::FromStr for TraceContext {
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
            assert_eq!(text.parse::<TraceContext>().is_ok(), taken, "{text}");
        }
    }
}
