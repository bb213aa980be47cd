//! What a model computes on and how exactly: asked for by a deployment, not by the server as a whole.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    #[default]
    Cpu,
    Gpu,
    Tpu,
}

/// How exactly a model's FP32 operators compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As the file says.
    #[default]
    F32,
    /// Products of 8 significant bits, sums of 24: twice as fast where the processor has it.
    Bf16,
    /// Weights and activations of 8 bits.
    Int8,
}

/// How far outputs at a lower precision may be from those at full precision: the largest difference of
/// any element, as a part of the largest element. Kept in millionths, so that it can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tolerance(u32);

impl Target {
    pub fn as_str(self) -> &'static str {
        match self {
            Target::Cpu => "cpu",
            Target::Gpu => "gpu",
            Target::Tpu => "tpu",
        }
    }
}

impl Precision {
    pub fn as_str(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const MILLION: f64 = 1e6;

impl Tolerance {
    /// A part from 0 to 1.
    pub fn new(part: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&part) {
            return Err(Error::invalid(format!("a tolerance of {part} makes no sense"))
                .hint("write a part of the largest output, from 0 to 1, as in 0.02"));
        }
        Ok(Self((part * MILLION).round() as u32))
    }

    pub fn part(self) -> f64 {
        f64::from(self.0) / MILLION
    }
}

impl Default for Tolerance {
    fn default() -> Self {
        Self(20_000)
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.part())
    }
}

impl FromStr for Tolerance {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let part = text.trim().parse().map_err(|_| {
            Error::invalid(format!("'{text}' is no tolerance")).hint("write a part from 0 to 1, as in 0.02")
        })?;
        Self::new(part)
    }
}

impl Serialize for Tolerance {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.part())
    }
}

impl<'de> Deserialize<'de> for Tolerance {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Self::new(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerances_are_parts_that_survive_being_written() {
        for (text, written) in [("0.02", "0.02"), ("0", "0.0"), ("1", "1.0"), ("0.0000004", "0.0")] {
            let tolerance: Tolerance = text.parse().unwrap();
            let json = serde_json::to_string(&tolerance).unwrap();
            assert_eq!(json, written);
            assert_eq!(serde_json::from_str::<Tolerance>(&json).unwrap(), tolerance);
        }
        for wrong in ["-0.1", "1.1", "NaN", "many", ""] {
            assert!(wrong.parse::<Tolerance>().is_err(), "{wrong}");
        }
    }
}
