//! The kernel's symbols by name.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
};

/// Whether the kernel has a symbol of this name. Names are shown without privilege too; where they
/// can't be read, no.
pub fn has(symbol: &str) -> bool {
    let Ok(file) = File::open("/proc/kallsyms") else { return false };
    BufReader::new(file)
        .lines()
        .map_while(Result::ok)
        .any(|line| line.split(' ').nth(2).is_some_and(|name| name == symbol))
}
