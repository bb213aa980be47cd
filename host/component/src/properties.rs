//! Components that strangers push: each is refused or read, by every reader here, and none ends in a panic.

#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{
    ComponentDescription, Composition, WasmContent, component_names, custom_sections, function_docs,
    outer_names, producers, world_text,
};

const COMPONENT: &str = r#"(component
    (import "wasi:cli/stdin@0.2.0" (instance (export "f" (func (param "x" u32)))))
    (core module $m
        (@producers (language "Rust" "") (processed-by "rustc" "1.95.0"))
        (@custom "eyot-docs" "{\"g\":{\"text\":\"Seven.\"}}")
        (func (export "g") (result i32) (i32.const 7)))
    (core instance $i (instantiate $m))
    (func (export "g") (result u32) (canon lift (core func $i "g"))))"#;
const MODULE: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start") (call $exit (i32.const 0))))"#;

proptest! {
    #[test]
    fn a_component_that_was_changed_is_refused_or_read(
        is_module in any::<bool>(),
        changes in vec((any::<Index>(), any::<u8>()), 1..5),
        cut in proptest::option::of(any::<Index>()),
    ) {
        thread_local! { static WASM: [Vec<u8>; 2] = [COMPONENT, MODULE].map(|text| wat::parse_str(text).unwrap()); }
        let mut bytes = WASM.with(|wasm| wasm[usize::from(is_module)].clone());
        for (place, byte) in &changes {
            let place = place.index(bytes.len());
            bytes[place] = *byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = (WasmContent::read(&bytes), component_names(&bytes), ComponentDescription::read(&bytes));
        let _ = (world_text(&bytes), function_docs(&bytes), Composition::read(&bytes));
        // Each has an end: no more than there are bytes, and the one that cannot be read.
        prop_assert!(outer_names(&bytes).count() <= bytes.len() + 1);
        prop_assert!(producers(&bytes).count() <= bytes.len() + 1);
        prop_assert!(custom_sections(&bytes).count() <= bytes.len() + 1);
    }
}
