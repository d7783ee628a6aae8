//! See the module that it runs.
#![no_main]

#[path = "../../port-observer/tests/seeds/decode.rs"]
mod decode;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| decode::run(bytes));
