//! How much memory this process takes.

use std::{fs::File, os::unix::fs::FileExt as _, sync::OnceLock};

use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{SysconfVar, sysconf};

/// Kept open: a sandbox may forbid to open it later.
static STATM: OnceLock<Option<File>> = OnceLock::new();

/// Opens what tells how much memory the process takes, before a sandbox forbids it.
pub fn open_gauge() {
    STATM.get_or_init(|| File::open("/proc/self/statm").ok());
}

/// What of the process is in memory, in bytes.
pub fn resident() -> u64 {
    sizes().map_or_else(peak, |(_, resident)| resident)
}

/// What the process has mapped, and what of it is in memory, in bytes; `None`: /proc is not there.
pub fn sizes() -> Option<(u64, u64)> {
    open_gauge();
    STATM.get().and_then(Option::as_ref).and_then(read)
}

/// The first two numbers of `/proc/self/statm`, which are in pages (`proc_pid_statm`, fs/proc/array.c).
fn read(statm: &File) -> Option<(u64, u64)> {
    let mut text = [0; 128];
    let length = statm.read_at(&mut text, 0).ok()?;
    let text = str::from_utf8(text.get(..length)?).ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096).unsigned_abs();
    let mut sizes = text.split_ascii_whitespace().map_while(|pages| pages.parse::<u64>().ok());
    Some((sizes.next()?.saturating_mul(page), sizes.next()?.saturating_mul(page)))
}

/// The most that ever was, where /proc is not there. Of who started the process too: the kernel hands it
/// on (`setmax_mm_hiwater_rss`, `exec_mmap`, fs/exec.c).
fn peak() -> u64 {
    let kilobytes = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss());
    u64::try_from(kilobytes).unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_measured_while_it_is_used() {
        let before = resident();
        assert!((1 << 20..1 << 32).contains(&before), "{before}");
        let some = vec![1_u8; 32 << 20];
        assert!(resident() > before + (16 << 20), "{} {before}", resident());
        assert_eq!(some.last(), Some(&1));
        assert!(peak() > before);
    }
}
