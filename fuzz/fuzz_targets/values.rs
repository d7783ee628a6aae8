//! See the module that it runs.
#![no_main]

#[path = "../../port-observer/tests/seeds/values.rs"]
mod values;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| values::run(bytes));
