//! What the fuzzer begins with, and everything that it ever found: each is taken without a panic, in
//! bounded time. `cargo xtask fuzz` runs the same functions.

mod decode;
mod recording;
mod values;

use std::{
    path::Path,
    time::{Duration, Instant},
};

/// What one input may take, in a build without optimization and beside others.
const LONGEST: Duration = Duration::from_secs(20);

fn run_all(target: &str, run: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut count = 0;
    for seed in std::fs::read_dir(&seeds).expect("a folder of seeds") {
        let seed = seed.expect("a seed").path();
        println!("{}", seed.display());
        let began = Instant::now();
        run(&std::fs::read(&seed).expect("a seed that can be read"));
        assert!(began.elapsed() < LONGEST, "{} takes {:?}", seed.display(), began.elapsed());
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", seeds.display());
}

#[test]
fn the_seeds_of_records_are_decoded_and_accounted() {
    run_all("decode", decode::run);
}

#[test]
fn the_seeds_of_recordings_are_read() {
    run_all("recording", recording::run);
}

#[test]
fn the_seeds_of_values_are_parsed() {
    run_all("values", values::run);
}
