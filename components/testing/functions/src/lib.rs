//! Functions of every type and with every way to go wrong, for calls with JSON.

#[allow(warnings)]
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "functions" });
}

use std::sync::atomic::{AtomicU32, Ordering};

use bindings::exports::testing::functions::{calls, more};

struct Component;

static COUNT: AtomicU32 = AtomicU32::new(0);

type Others = (calls::Shape, calls::Days, (u8, String), Option<Option<u8>>, Result<u8, String>);

impl calls::Guest for Component {
    fn whole(value: calls::Ten) -> calls::Ten {
        value
    }

    fn others(
        shape: calls::Shape,
        days: calls::Days,
        pair: (u8, String),
        nested: Option<Option<u8>>,
        outcome: Result<u8, String>,
    ) -> Others {
        (shape, days, pair, nested, outcome)
    }

    fn reverse(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.reverse();
        bytes
    }

    fn sum(numbers: Vec<u32>) -> u64 {
        numbers.into_iter().map(u64::from).sum()
    }

    fn count() -> u32 {
        COUNT.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn divide(by: u32, of: u32) -> Result<u32, String> {
        of.checked_div(by).ok_or_else(|| "by nothing".to_owned())
    }

    fn refuse(shape: calls::Shape) -> Result<(), calls::Shape> {
        Err(shape)
    }

    fn nothing() {}

    fn spin() {
        let mut number = 0_u64;
        loop {
            number = std::hint::black_box(number.wrapping_add(1));
        }
    }

    fn crash(message: String) {
        panic!("{message}");
    }

    fn grow(bytes: u64) -> u64 {
        let block = std::hint::black_box(vec![1_u8; usize::try_from(bytes).unwrap_or(usize::MAX)]);
        block.len() as u64
    }

    fn deep(levels: u32) -> u32 {
        if levels == 0 { 0 } else { std::hint::black_box(Self::deep(std::hint::black_box(levels - 1))) + 1 }
    }

    fn many(count: u32) -> Vec<u32> {
        (0..count).collect()
    }

    fn say(line: String) {
        println!("{line}");
    }
}

impl more::Guest for Component {
    fn count(start: u32) -> u32 {
        start + 1
    }
}

impl bindings::Guest for Component {
    fn greet(name: String, times: Option<u32>) -> String {
        vec![format!("Hello, {name}!"); times.unwrap_or(1) as usize].join(" ")
    }
}

bindings::export!(Component with_types_in bindings);
