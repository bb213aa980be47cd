use std::str::FromStr;

use crate::{Error, Result};

/// The name of a deployment, a pipeline, a step, a registered model: a lower-case letter or digit,
/// then at most 127 of lower-case letters, digits, `-`, `_` and `.`. Safe in a URL, a file name, a
/// label and a metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub(crate) String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let starts_well = bytes.first().is_some_and(|byte| plain(*byte));
        let goes_on_well = bytes.iter().all(|byte| plain(*byte) || matches!(byte, b'-' | b'_' | b'.'));
        if starts_well && goes_on_well && bytes.len() <= 128 {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(80).collect();
        // In the message itself: not everybody who shows one has a place for a hint.
        Err(Error::invalid(format!(
            "'{shown}' is no valid name: 1 to 128 lower-case letters, digits, '-', '_' or '.', the first a letter or a digit"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_everywhere() {
        for good in ["a", "digits", "a-b_c.d", "0x", &"n".repeat(128)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "A", "-a", ".a", "a/b", "a b", "ä", "a\n", "../x", &"n".repeat(129)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }
}
