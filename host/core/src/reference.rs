use std::fmt;
use std::str::FromStr;

use crate::{Digest, Error, Result};

/// A component or model in the registry: `repository`, `repository:tag` or `repository@sha256:…`.
/// Without tag or digest it means the tag `latest`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The repository: path parts as the OCI distribution specification allows them.
    pub repository: String,
    /// Which manifest of the repository.
    pub selector: Selector,
}

/// Which manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// By a tag, which may move.
    Tag(String),
    /// By digest, which can't.
    Digest(Digest),
}

const GRAMMAR: &str = "write REPOSITORY:TAG or REPOSITORY@sha256:…; a repository has lower-case letters \
     and digits, joined by '.', '_', '-' or '/'; a tag up to 128 letters, digits, '_', '.' or '-'";

impl Reference {
    /// Checks a repository name: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/…)*`, at most 255 bytes.
    pub fn check_repository(repository: &str) -> Result<()> {
        let good = repository.len() <= 255 && repository.split('/').all(is_path_part);
        if good { Ok(()) } else { Err(wrong("repository name", repository)) }
    }

    /// Checks a tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
    pub fn check_tag(tag: &str) -> Result<()> {
        let bytes = tag.as_bytes();
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let good = bytes.len() <= 128
            && bytes.first().is_some_and(|byte| word(*byte))
            && bytes.iter().all(|byte| word(*byte) || matches!(byte, b'.' | b'-'));
        if good { Ok(()) } else { Err(wrong("tag", tag)) }
    }
}

fn wrong(what: &str, text: &str) -> Error {
    let shown: String = text.chars().take(80).collect();
    Error::invalid(format!("'{shown}' is no valid {what}")).hint(GRAMMAR)
}

fn is_path_part(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !plain(*first) || !plain(*last) {
        return false;
    }
    // Between two runs of letters and digits stands one '.', one or two '_', or any number of '-'.
    bytes.split(|byte| plain(*byte)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
    })
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (repository, selector) = if let Some((repository, digest)) = text.split_once('@') {
            (repository, Selector::Digest(digest.parse()?))
        } else if let Some((repository, tag)) = text.rsplit_once(':') {
            Self::check_tag(tag)?;
            (repository, Selector::Tag(tag.to_owned()))
        } else {
            (text, Selector::Tag("latest".to_owned()))
        };
        Self::check_repository(repository)?;
        Ok(Self { repository: repository.to_owned(), selector })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.selector {
            Selector::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Selector::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_parse_and_print_back() {
        let digest = Digest::of("x");
        for (text, printed) in [
            ("digits", "digits:latest".to_owned()),
            ("eyot/digits:0.1.0", "eyot/digits:0.1.0".to_owned()),
            (&format!("a/b-c__d.e@{digest}"), format!("a/b-c__d.e@{digest}")),
            ("a---b:V_1", "a---b:V_1".to_owned()),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn what_could_leave_its_folder_is_refused() {
        for bad in [
            "",
            ":",
            "a:",
            "A",
            "a//b",
            "/a",
            "a/",
            "../a",
            "a/../b",
            "a..b",
            "a___b",
            "a._b",
            "-a",
            "a-",
            "a@sha256:00",
            "a:b:c d",
            "a b",
            "a%2fb",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
        assert!(Reference::check_repository(&"a".repeat(256)).is_err());
        assert!(Reference::check_tag(&"a".repeat(129)).is_err());
    }
}
