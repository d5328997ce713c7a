//! `fuzz::tool_calls` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::tool_calls(bytes));
