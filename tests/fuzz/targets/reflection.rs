#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| eyot_engine::fuzzing::reflection(bytes));
