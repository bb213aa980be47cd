#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| eyot_core::fuzzing::onnx_header(bytes));
