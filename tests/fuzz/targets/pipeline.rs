#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| eyot_pipelines::fuzzing::pipeline(bytes));
