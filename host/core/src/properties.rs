//! What holds for every text and every value: what is printed is read again as it was, and nothing that
//! strangers write ends in a panic.

#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::interface::{Case, Field, Type};
use crate::{ByteCount, Digest, Name, Period, Reference};

proptest! {
    #[test]
    fn references_print_as_they_are_read(
        parts in vec("[a-z0-9]{1,5}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", 1..4),
        tag in "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}",
        bytes in any::<[u8; 32]>(),
    ) {
        let repository = parts.join("/");
        for text in [format!("{repository}:{tag}"), format!("{repository}@{}", Digest::from_bytes(bytes))] {
            prop_assert_eq!(text.parse::<Reference>().map_err(|error| TestCaseError::fail(error.chain()))?.to_string(), text);
        }
    }

    #[test]
    fn texts_are_refused_or_print_as_they_are_read(text in "\\PC{0,24}|[a-z0-9:@./_-]{0,24}|[0-9]{1,20} ?[A-Za-z]{0,3}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }
        if let Ok(digest) = text.parse::<Digest>() {
            prop_assert_eq!(digest.to_string(), text.clone());
        }
        if let Ok(name) = text.parse::<Name>() {
            prop_assert_eq!(name.as_str(), text.as_str());
        }
        if let Ok(count) = text.parse::<ByteCount>() {
            prop_assert_eq!(count.to_string().parse::<ByteCount>().unwrap().0, count.0);
        }
        if let Ok(period) = text.parse::<Period>() {
            prop_assert_eq!(period.to_string().parse::<Period>().unwrap().0, period.0);
        }
    }

    #[test]
    fn every_size_and_time_is_read_as_it_is_printed(number in any::<u64>(), shift in 0_u32..64) {
        let number = number >> shift;
        prop_assert_eq!(ByteCount(number).to_string().parse::<ByteCount>().unwrap().0, number);
        let period = std::time::Duration::from_micros(number);
        prop_assert_eq!(Period(period).to_string().parse::<Period>().unwrap().0, period);
    }
}

/// A type with a value of it.
fn typed() -> impl Strategy<Value = (Type, Value)> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|value| (Type::Bool, json!(value))),
        any::<u8>().prop_map(|value| (Type::U8, json!(value))),
        any::<i64>().prop_map(|value| (Type::S64, json!(value))),
        any::<u64>().prop_map(|value| (Type::U64, json!(value.to_string()))),
        (-1e300..1e300_f64).prop_map(|value| (Type::F64, json!(value))),
        any::<char>().prop_map(|value| (Type::Char, json!(value))),
        "\\PC{0,8}".prop_map(|value| (Type::String, json!(value))),
        any::<[u8; 32]>().prop_map(|bytes| (Type::Artifact, json!(Digest::from_bytes(bytes)))),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (inner.clone(), 0_usize..4).prop_map(|((ty, value), length)| {
                (Type::List(Box::new(ty)), Value::Array(vec![value; length]))
            }),
            vec(inner.clone(), 1..4).prop_map(|parts| {
                let (types, values) = parts.into_iter().unzip();
                (Type::Tuple(types), Value::Array(values))
            }),
            vec(inner.clone(), 1..4).prop_map(|parts| {
                let named = |(index, (ty, value))| {
                    (Field { name: format!("f{index}"), ty }, (format!("f{index}"), value))
                };
                let (fields, values): (Vec<_>, serde_json::Map<_, _>) =
                    parts.into_iter().enumerate().map(named).unzip();
                (Type::Record(fields), Value::Object(values))
            }),
            (inner.clone(), any::<bool>()).prop_map(|((ty, value), is_some)| {
                let value = match is_some {
                    true if ty.is_optional() => json!({ "some": value }),
                    true => value,
                    false => Value::Null,
                };
                (Type::Option(Box::new(ty)), value)
            }),
            inner.clone().prop_map(|(ty, value)| {
                let other = Case { name: "other".into(), ty: None };
                (
                    Type::Variant(vec![other, Case { name: "case".into(), ty: Some(ty) }]),
                    json!({ "case": value }),
                )
            }),
            inner.prop_map(|(ty, value)| {
                (Type::Result { ok: None, err: Some(Box::new(ty)) }, json!({ "err": value }))
            }),
        ]
    })
}

/// How many artifacts a value of a type holds, counted by the digests in its text.
fn digests(value: &Value) -> usize {
    match value {
        Value::String(text) => usize::from(text.parse::<Digest>().is_ok()),
        Value::Array(items) => items.iter().map(digests).sum(),
        Value::Object(map) => map.values().map(digests).sum(),
        _ => 0,
    }
}

proptest! {
    #[test]
    fn values_fit_their_types_and_their_artifacts_are_found((ty, value) in typed(), (other, stranger) in typed()) {
        prop_assert!(ty.check(&value).is_ok(), "{} {}: {:?}", ty, value, ty.check(&value));
        let places = ty.artifacts_in(&value);
        prop_assert_eq!(places.len(), digests(&value), "{} {}", ty, value);
        for place in places {
            let found = value.pointer(&place).and_then(Value::as_str);
            prop_assert!(found.is_some_and(|text| text.parse::<Digest>().is_ok()), "{} {}", ty, place);
        }
        // Whatever fits or not, both say so without a panic.
        let _ = (ty.check(&stranger), ty.artifacts_in(&stranger), other.check(&value), other.artifacts_in(&value));
    }
}
