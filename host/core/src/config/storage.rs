use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Where rows are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StorageSettings {
    /// A PostgreSQL database for all metadata, as postgres://USER:PASSWORD@HOST:PORT/DATABASE, in place of the SQLite
    /// file in `data.dir`. It orders text by its bytes (LC_COLLATE 'C') and is one server's. What the address leaves
    /// out is taken from PGHOST, PGUSER, PGPASSWORD and ~/.pgpass. Empty for the file.
    pub database: DatabaseUrl,
}

/// The address of a database. Printed, its password is hidden.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct DatabaseUrl(String);

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
const HIDDEN: &str = "***";

impl DatabaseUrl {
    /// Whether there is none, and rows are in a SQLite file.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The address with its password: for who connects.
    pub fn with_password(&self) -> &str {
        &self.0
    }

    /// Scheme, and what is before the last `@` of the host's part and after it.
    fn parts(&self) -> (&str, Option<&str>, &str) {
        let scheme =
            SCHEMES.iter().find(|scheme| self.0.starts_with(**scheme)).map_or(0, |scheme| scheme.len());
        let (scheme, rest) = self.0.split_at(scheme);
        let host_end = rest.find('/').unwrap_or(rest.len());
        match rest[..host_end].rfind('@') {
            Some(at) => (scheme, Some(&rest[..at]), &rest[at + 1..]),
            None => (scheme, None, rest),
        }
    }
}

impl FromStr for DatabaseUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let url = Self(text.to_owned());
        let hint = "write postgres://USER:PASSWORD@HOST:PORT/DATABASE, or leave it out for a SQLite file";
        if !text.is_empty() && !SCHEMES.iter().any(|scheme| text.starts_with(scheme)) {
            return Err(Error::invalid("the address of a database begins with postgres://").hint(hint));
        }
        if url.parts().2.split_once('?').is_some_and(|(_, query)| query.contains("password=")) {
            return Err(Error::invalid("the password of a database is written before its host").hint(hint));
        }
        Ok(url)
    }
}

impl TryFrom<String> for DatabaseUrl {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, user, rest) = self.parts();
        match user.map(|user| user.split_once(':')) {
            Some(Some((user, _password))) => write!(f, "{scheme}{user}:{HIDDEN}@{rest}"),
            _ => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        for (written, printed) in [
            ("postgres://ana:s3cret@db.example:5432/eyot", "postgres://ana:***@db.example:5432/eyot"),
            ("postgresql://ana:a%40b@p@db/eyot", "postgresql://ana:***@db/eyot"),
            ("postgres://ana@%2Fvar%2Frun/eyot", "postgres://ana@%2Fvar%2Frun/eyot"),
            ("postgres:///eyot", "postgres:///eyot"),
            ("", ""),
        ] {
            let url: DatabaseUrl = written.parse().unwrap();
            assert_eq!(url.to_string(), printed);
            assert_eq!(format!("{url:?}"), printed);
            assert_eq!(serde_json::to_value(&url).unwrap(), printed);
            assert_eq!(url.with_password(), written);
        }
        for wrong in ["mysql://x/y", "eyot.db", "postgres://ana@db/eyot?password=s3cret"] {
            let error = wrong.parse::<DatabaseUrl>().unwrap_err().chain();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
