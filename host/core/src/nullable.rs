//! JSON's null for what may be left out: Go writes a list that was never filled as null.

use serde::{Deserialize, Deserializer};

/// For `#[serde(deserialize_with)]`, beside `default`: null is what a field without a value is.
pub fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
