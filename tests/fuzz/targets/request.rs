#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| eyot_gateway::fuzzing::request(bytes));
