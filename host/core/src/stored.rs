//! Documents that are stored, with the version of their format.
//!
//! A document is a JSON object whose first field says what it is: `{"format": "eyot.traffic-split/1", …}`. What was
//! written before formats had versions has no such field and is version 0. A reader takes every version up to its own,
//! and ignores fields that it does not know, which a newer Eyot of the same version may have written beside an older one;
//! a higher version is another meaning, and refused.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Result};

/// The field that says what a document is.
const FORMAT: &str = "format";

/// What a document holds, apart from the types that the program works with and those on the wire.
pub trait StoredFormat: Serialize + DeserializeOwned {
    /// What such documents are called, as in `eyot.traffic-split`.
    const NAME: &'static str;
    /// The version that is written.
    const VERSION: u32;

    /// Brings what an earlier `version` wrote into the shape of the next. Called once a version.
    fn upgrade(_version: u32, document: Map<String, Value>) -> Result<Map<String, Value>> {
        Ok(document)
    }
}

/// The text of a document.
pub fn write_stored<T: StoredFormat>(document: &T) -> Result<String> {
    let fields = serde_json::to_value(document);
    let fields =
        fields.map_err(|error| Error::internal(format!("{} has no JSON form", T::NAME)).because(error))?;
    let Value::Object(fields) = fields else {
        return Err(Error::internal(format!("{} is no JSON object", T::NAME)));
    };
    let mut whole = Map::new();
    whole.insert(FORMAT.to_owned(), Value::String(format!("{}/{}", T::NAME, T::VERSION)));
    whole.extend(fields);
    Ok(Value::Object(whole).to_string())
}

/// Reads a document of any version up to this program's own.
///
/// Fails with `Corrupt` where it is none, and with `Unsupported` where a newer Eyot wrote it.
pub fn read_stored<T: StoredFormat>(text: &str) -> Result<T> {
    let corrupt = || Error::corrupt(format!("what is stored is no {}", T::NAME));
    let mut document: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| corrupt().because(error))?;
    let version = match document.shift_remove(FORMAT) {
        None => 0,
        Some(Value::String(format)) => {
            let version = format.strip_prefix(T::NAME).and_then(|rest| rest.strip_prefix('/'));
            version.and_then(|version| version.parse().ok()).ok_or_else(corrupt)?
        }
        Some(_) => return Err(corrupt()),
    };
    if version > T::VERSION {
        let (name, known) = (T::NAME, T::VERSION);
        return Err(Error::unsupported(format!(
            "a newer Eyot wrote this: {name}/{version}, and up to {known} is known here"
        ))
        .hint("run the version that wrote it; eyot version says which this is"));
    }
    for version in version..T::VERSION {
        document = T::upgrade(version, document)?;
    }
    serde_json::from_value(Value::Object(document)).map_err(|error| corrupt().because(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde::Deserialize;

    use super::*;
    use crate::ErrorKind;

    /// Version 0 had `weight`, version 1 has `weights`, version 2 tells the unit.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Share {
        weights_percent: Vec<u32>,
    }

    impl StoredFormat for Share {
        const NAME: &'static str = "eyot.share";
        const VERSION: u32 = 2;

        fn upgrade(version: u32, mut document: Map<String, Value>) -> Result<Map<String, Value>> {
            let (old, new) =
                if version == 0 { ("weight", "weights") } else { ("weights", "weights_percent") };
            if let Some(value) = document.shift_remove(old) {
                let value = if version == 0 { Value::Array(vec![value]) } else { value };
                document.insert(new.to_owned(), value);
            }
            Ok(document)
        }
    }

    #[test]
    fn every_version_up_to_ones_own_is_read() {
        let expected = Share { weights_percent: vec![7] };
        for text in [
            r#"{"weight": 7}"#,
            r#"{"format": "eyot.share/0", "weight": 7}"#,
            r#"{"format": "eyot.share/1", "weights": [7]}"#,
            r#"{"format": "eyot.share/2", "weights_percent": [7]}"#,
            // A later minor change: a field more.
            r#"{"format": "eyot.share/2", "weights_percent": [7], "sticky": true}"#,
        ] {
            assert_eq!(read_stored::<Share>(text).unwrap(), expected, "{text}");
        }
        assert_eq!(write_stored(&expected).unwrap(), r#"{"format":"eyot.share/2","weights_percent":[7]}"#);
    }

    #[test]
    fn what_is_none_or_too_new_is_refused() {
        for (text, kind) in [
            ("", ErrorKind::Corrupt),
            ("[]", ErrorKind::Corrupt),
            (r#"{"format": 2}"#, ErrorKind::Corrupt),
            (r#"{"format": "eyot.other/1"}"#, ErrorKind::Corrupt),
            (r#"{"format": "eyot.share/x"}"#, ErrorKind::Corrupt),
            (r#"{"format": "eyot.share"}"#, ErrorKind::Corrupt),
            (r#"{"format": "eyot.share/1"}"#, ErrorKind::Corrupt),
            (r#"{"format": "eyot.share/3", "weights_percent": [7]}"#, ErrorKind::Unsupported),
            (r#"{"format": "eyot.share/4294967296"}"#, ErrorKind::Corrupt),
        ] {
            assert_eq!(read_stored::<Share>(text).unwrap_err().kind(), kind, "{text}");
        }
    }
}
