use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{Error, Result};

/// A number of bytes: `512 KiB`, `100 MB`, `4096`. Powers of 1024 have an `i`, as in IEC 80000-13.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(pub u64);

/// A span of time: `250us`, `100ms`, `30s`, `5m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(pub Duration);

const BYTES: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];
const MICROSECONDS: &[(&str, u64)] =
    &[("us", 1), ("ms", 1000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)];

fn parse(text: &str, units: &[(&str, u64)], bare: Option<u64>, hint: &str) -> Result<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let factor = if unit.is_empty() { bare } else { factor };
    let value =
        number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    value.ok_or_else(|| Error::invalid(format!("'{text}' cannot be read")).hint(hint))
}

fn print(value: u64, units: &[(&str, u64)]) -> String {
    let mut best = units.iter().filter(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    let chosen = best.by_ref().max_by_key(|(_, factor)| *factor);
    chosen.map_or_else(|| value.to_string(), |(unit, factor)| format!("{} {unit}", value / factor))
}

impl FromStr for ByteCount {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text, BYTES, Some(1), "write a whole number and B, kB, MB, GB, KiB, MiB or GiB").map(Self)
    }
}

impl FromStr for Period {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let micros =
            parse(text, MICROSECONDS, None, "write a whole number and us, ms, s, m or h, as in '30s'")?;
        Ok(Self(Duration::from_micros(micros)))
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self.0, BYTES))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX);
        let text = if micros == 0 { "0s".to_owned() } else { print(micros, MICROSECONDS).replace(' ', "") };
        f.write_str(&text)
    }
}

macro_rules! schema_as_text {
    ($type:ty, $pattern:literal) => {
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}
schema_as_text!(ByteCount, r"^\s*[0-9]+\s*(B|kB|MB|GB|KiB|MiB|GiB)?\s*$");
schema_as_text!(Period, r"^\s*[0-9]+\s*(us|ms|s|m|h)\s*$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_parse_and_print() {
        for (text, value, printed) in [
            ("0", 0, "0"),
            ("100 MB", 100_000_000, "100 MB"),
            ("512KiB", 524_288, "512 KiB"),
            ("1500 B", 1500, "1500 B"),
            ("2 GiB", 2 << 30, "2 GiB"),
        ] {
            let parsed: ByteCount = text.parse().unwrap();
            assert_eq!((parsed.0, parsed.to_string().as_str()), (value, printed));
        }
        for bad in ["", "MB", "-1", "1.5 MB", "1 mb", "99999999999 GiB", "1 TB"] {
            assert!(bad.parse::<ByteCount>().is_err(), "{bad}");
        }
    }

    #[test]
    fn periods_parse_and_print() {
        for text in ["250us", "100ms", "30s", "5m", "1h"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        assert_eq!(Period(Duration::from_secs(90)).to_string(), "90s");
        for bad in ["", "30", "s", "1 day", "-1s"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }
}
