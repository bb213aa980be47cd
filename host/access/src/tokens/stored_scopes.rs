//! The stored format of a token's scopes: versioned, and separate from what clients send.

use eyot_core::{Error, Result, StoredFormat, read_stored, write_stored};
use serde::{Deserialize, Serialize};

use crate::scope::AccessScope;

/// The scopes of an access token, version 1. Version 0 is the bare list of them.
#[derive(Debug, Serialize, Deserialize)]
struct StoredScopes {
    scopes: Vec<String>,
}

impl StoredFormat for StoredScopes {
    const NAME: &'static str = "eyot.token-scopes";
    const VERSION: u32 = 1;
}

/// The text that is stored for scopes.
pub(super) fn write_scopes(scopes: &[AccessScope]) -> Result<String> {
    write_stored(&StoredScopes { scopes: scopes.iter().map(AccessScope::to_string).collect() })
}

/// Reads what any version stored.
///
/// Fails with `Corrupt` for other text, with `Unsupported` for a newer version.
pub(super) fn read_scopes(text: &str) -> Result<Vec<AccessScope>> {
    let scopes = match serde_json::from_str::<Vec<String>>(text) {
        Ok(scopes) => scopes,
        Err(_) => read_stored::<StoredScopes>(text)?.scopes,
    };
    let scopes = scopes.iter().map(|scope| scope.parse());
    scopes
        .collect::<Result<_>>()
        .map_err(|error: Error| Error::corrupt("a token has a scope that is not known here").because(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_core::ErrorKind;

    use super::*;

    #[test]
    fn scopes_of_every_version_are_read() {
        let newest = read_scopes(include_str!("stored_scopes/token-scopes-1.json")).unwrap();
        assert_eq!(read_scopes(include_str!("stored_scopes/token-scopes-0.json")).unwrap(), newest);
        let texts: Vec<_> = newest.iter().map(AccessScope::to_string).collect();
        assert_eq!(texts, ["repository:acme/*:pull,push", "project:default:viewer"]);
        let written = write_scopes(&newest).unwrap();
        assert_eq!(written, include_str!("stored_scopes/token-scopes-1.json").trim_end());
    }

    #[test]
    fn scopes_that_are_none_or_too_new_are_refused() {
        for (text, kind) in [
            ("", ErrorKind::Corrupt),
            ("{}", ErrorKind::Corrupt),
            (r#"["all"]"#, ErrorKind::Corrupt),
            (r#"{"format":"eyot.policy/1","scopes":[]}"#, ErrorKind::Corrupt),
            (r#"{"format":"eyot.token-scopes/2","scopes":[]}"#, ErrorKind::Unsupported),
        ] {
            assert_eq!(read_scopes(text).unwrap_err().kind(), kind, "{text}");
        }
    }
}
