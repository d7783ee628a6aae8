//! The environments of processes, as they were started (proc_pid_environ(5)): what of them tells something
//! about pools.

use std::{collections::BTreeMap, fs::File, io::Read as _};

use super::kernel::holder;
use crate::{
    pools::{Running, is_read},
    process::{ProcFs, ProcessTable},
};

/// Processes that are looked at.
const MOST_PROCESSES: usize = 100_000;
/// Processes that are told of.
const MOST_FOUND: usize = 1_000;
/// How much is read of one.
const MOST_BYTES: u64 = 128 << 10;

/// Those that can be read: of other users' processes that takes privilege, and what can't be read is not
/// known to be old.
pub fn read() -> Vec<Running> {
    let proc_fs = ProcFs::default();
    let mut processes = ProcessTable::default();
    let mut found = Vec::new();
    let own = std::process::id();
    for pid in proc_fs.pids().unwrap_or_default().into_iter().take(MOST_PROCESSES) {
        let variables = match pid == own {
            false => of_process(pid),
            true => continue,
        };
        if variables.is_empty() || found.len() == MOST_FOUND {
            continue;
        }
        if let Some(task) = proc_fs.task(pid) {
            found.push(Running { holder: holder(&task, &mut processes), variables });
        }
    }
    found
}

fn of_process(pid: u32) -> BTreeMap<String, String> {
    let mut bytes = Vec::new();
    let Ok(file) = File::open(format!("/proc/{pid}/environ")) else { return BTreeMap::new() };
    // A process without memory has none.
    let _ = file.take(MOST_BYTES).read_to_end(&mut bytes);
    variables(&bytes)
}

fn variables(environment: &[u8]) -> BTreeMap<String, String> {
    environment
        .split(|byte| *byte == 0)
        .filter_map(|one| std::str::from_utf8(one).ok()?.split_once('='))
        .filter(|(name, value)| is_read(name) && !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_environment_what_is_about_pools_is_taken() {
        let found = variables(
            b"HOME=/\0PORT_RANGE=1-2\0PORT_RANGE_HOST=\0\xff=1\0GLUETUN_PORT_RANGE_1=a=b\0",
        );
        let expected = [("GLUETUN_PORT_RANGE_1", "a=b"), ("PORT_RANGE", "1-2")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, BTreeMap::from(expected));
    }
}
