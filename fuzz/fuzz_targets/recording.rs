//! See the module that it runs.
#![no_main]

#[path = "../../port-observer/tests/seeds/recording.rs"]
mod recording;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| recording::run(bytes));
