//! What holds for every body, whoever wrote it: numbers and requests beside what serde_json and the
//! standard library make of them.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use eyot_nn::{DataType, NamedTensor, Tensor};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::protocol::SelectedOutput;
use crate::protocol::encode::{self, NonFinite};
use crate::protocol::json::JsonReader;
use crate::protocol::request;

/// Texts that are numbers, or nearly.
fn number_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[0-9]{1,22}",
        "-?[0-9]\\.[0-9]{1,24}",
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][-+]?[0-9]{1,4})?",
        "[-+]?[0-9]{0,3}\\.?[0-9]{0,3}[eE]?[-+]?[0-9]{0,3}",
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| format!("{number:?}")),
        any::<f32>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| format!("{number:e}")),
        // Half way between two FP32, where it matters which side the digits are on.
        (any::<u32>(), 0_u8..3).prop_map(|(bits, side)| {
            let below = f32::from_bits((bits >> 1).min(f32::MAX.to_bits()));
            let number = f64::from(below) * (1.0 + f64::powi(2.0, -24));
            format!("{number:.30}{}", if side == 2 { "1" } else { "" })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2000)))]

    #[test]
    fn numbers_are_rounded_once_and_what_is_none_is_refused(text in number_text()) {
        let is_number = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        let mut reader = JsonReader::new(&text);
        let found = reader.float::<f64>();
        prop_assert_eq!(found.is_some(), is_number, "{}", &text);
        if let Some(found) = found {
            prop_assert_eq!(reader.remaining(), 0);
            prop_assert_eq!(found.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{}", &text);
            let single = JsonReader::new(&text).float::<f32>().unwrap();
            prop_assert_eq!(single.to_bits(), text.parse::<f32>().unwrap().to_bits(), "{}", &text);
        }
        // As i128 reads the digits, where there are no others.
        if let Ok(number) = text.parse::<i128>() && is_number && number.unsigned_abs() < 10_u128.pow(19) {
            prop_assert_eq!(JsonReader::new(&text).whole(), Some(number));
        }
        // Most numbers stand before others, where a quicker way is taken.
        let before_others = format!("{text}, -0.12345678901234567890123456789012");
        let first = JsonReader::new(&before_others).float::<f64>();
        prop_assert_eq!(first.map(f64::to_bits), found.map(f64::to_bits), "{}", &text);
        let first = JsonReader::new(&before_others).float::<f32>();
        prop_assert_eq!(first.map(f32::to_bits), JsonReader::new(&text).float::<f32>().map(f32::to_bits));
        let integer = JsonReader::new(&text).integer::<i64>();
        let expected = text.parse::<i64>().ok().filter(|_| is_number);
        prop_assert_eq!(integer, expected, "{}", &text);
    }
}

/// Any JSON, as serde_json writes it.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("\\PC{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A request of one tensor, and that tensor as it must be found.
fn one_tensor() -> impl Strategy<Value = (Value, NamedTensor)> {
    let shape = proptest::collection::vec(0_usize..4, 1..4);
    (shape, "\\PC{1,8}", any::<bool>()).prop_flat_map(|(shape, name, flat)| {
        let count: usize = shape.iter().product();
        proptest::collection::vec(any::<f32>().prop_filter("finite", |number| number.is_finite()), count)
            .prop_map(move |numbers| {
                let data = if flat { json!(numbers) } else { nested(&shape, &numbers) };
                let input = json!({ "name": name, "shape": shape, "datatype": "FP32", "data": data });
                let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                let tensor = Tensor::new(DataType::F32, shape.clone(), bytes).unwrap();
                (json!({ "inputs": [input] }), NamedTensor { name: name.clone(), tensor })
            })
    })
}

fn nested(shape: &[usize], numbers: &[f32]) -> Value {
    let Some((length, inner)) = shape.split_first() else { return json!(numbers.first()) };
    let size = inner.iter().product::<usize>();
    let part =
        |index: usize| nested(inner, numbers.get(index * size..(index + 1) * size).unwrap_or_default());
    Value::Array((0..*length).map(part).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(500)))]

    #[test]
    fn a_request_is_read_as_it_was_meant((body, expected) in one_tensor(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_vec_pretty(&body) } else { serde_json::to_vec(&body) }.unwrap();
        let asked = request::read(&Bytes::from(text), None);
        // An array of no arrays says nothing of the shape behind it: it is one, and empty.
        let asked = asked.map_err(|error| TestCaseError::fail(error.chain()))?;
        prop_assert_eq!(&asked.inputs[0].name, &expected.name);
        prop_assert_eq!(asked.inputs[0].tensor.shape(), expected.tensor.shape());
        prop_assert_eq!(asked.inputs[0].tensor.bytes(), expected.tensor.bytes());
    }

    /// Fields that nobody knows are skipped, whatever is in them, and only where they are JSON.
    #[test]
    fn what_is_skipped_is_checked(value in any_json(), cut in 0_usize..64) {
        let text = serde_json::to_string(&json!({ "inputs": [], "unknown": value })).unwrap();
        prop_assert!(request::read(&Bytes::from(text.clone()), None).is_ok(), "{}", text);
        let end = text.len().saturating_sub(cut);
        let cut = text.get(..end).unwrap_or_default().to_owned();
        let is_json = serde_json::from_str::<Value>(&cut).is_ok();
        prop_assert_eq!(request::read(&Bytes::from(cut.clone()), None).is_ok(), is_json, "{}", cut);
    }

    /// Whatever became of a request on its way, it is refused or read, and what is read is JSON.
    #[test]
    fn what_is_changed_is_refused_or_read(
        (body, _) in one_tensor(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut text = serde_json::to_vec(&body).unwrap();
        for (place, byte) in changes {
            let place = place.index(text.len());
            text[place] = byte;
        }
        let is_read = request::read(&Bytes::from(text.clone()), None).is_ok();
        let words = ["NaN", "Infinity"].iter().any(|word| String::from_utf8_lossy(&text).contains(word));
        if is_read && !words {
            let skimmed = serde_json::from_slice::<serde::de::IgnoredAny>(&text);
            prop_assert!(skimmed.is_ok(), "{}", String::from_utf8_lossy(&text));
        }
    }

    /// Binary tensors come back as they were sent; one byte more or less is refused.
    #[test]
    fn binary_tensors_are_what_was_sent(
        tensors in proptest::collection::vec(proptest::collection::vec(any::<i16>(), 0..9), 1..4),
        surplus in -1_i8..2,
    ) {
        let inputs: Vec<_> = tensors.iter().enumerate().map(|(index, numbers)| json!({
            "name": format!("t{index}"), "shape": [numbers.len()], "datatype": "INT16",
            "parameters": { "binary_data_size": numbers.len() * 2 },
        })).collect();
        let json = serde_json::to_vec(&json!({ "inputs": inputs })).unwrap();
        let mut body = json.clone();
        tensors.iter().flatten().for_each(|number| body.extend_from_slice(&number.to_le_bytes()));
        let empty = tensors.iter().all(Vec::is_empty);
        match surplus {
            1 => body.push(0),
            -1 if !empty => drop(body.pop()),
            _ => {}
        }
        let asked = request::read(&body.into(), Some(json.len()));
        prop_assert_eq!(asked.is_ok(), surplus == 0 || (surplus == -1 && empty));
        for (input, numbers) in asked.iter().flat_map(|asked| &asked.inputs).zip(&tensors) {
            prop_assert_eq!(&input.tensor.to_vec::<i16>().unwrap(), numbers);
        }
    }

    /// What is answered is JSON whose numbers are the tensor's, to the last bit.
    #[test]
    fn an_answer_says_what_the_tensor_holds(bits in proptest::collection::vec(any::<u32>(), 0..40), name in "\\PC{0,8}") {
        let numbers: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let tensor = Tensor::new(DataType::F32, vec![numbers.len()], bytes).unwrap();
        let outputs = [NamedTensor { name: name.clone(), tensor }];
        let chosen = [SelectedOutput { position: 0, binary: false, classes: None }];
        let encoded = encode::response("m", "1", None, &outputs, &chosen, NonFinite::Null).unwrap();
        let read: Value = serde_json::from_slice(&encoded.json).unwrap();
        prop_assert_eq!(&read["outputs"][0]["name"], &json!(name));
        let text = String::from_utf8(encoded.json).unwrap();
        let data = text.rsplit_once("\"data\":[").and_then(|(_, data)| data.split_once(']')).unwrap().0;
        let found: Vec<&str> = data.split(',').filter(|text| !text.is_empty()).collect();
        prop_assert_eq!(found.len(), numbers.len());
        for (found, number) in found.into_iter().zip(numbers) {
            match number.is_finite() {
                true => prop_assert_eq!(found.parse::<f32>().unwrap().to_bits(), number.to_bits()),
                false => prop_assert_eq!(found, "null"),
            }
        }
    }
}
