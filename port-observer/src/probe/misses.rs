//! Runs of programs that the kernel skipped.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use aya::Ebpf;
use port_observer_ebpf::Kind;

use super::table::loses;

/// The kernel's own count, per program, of runs that it skipped because the program was running on
/// the same processor already (`recursion_misses` in `bpf_prog_show_fdinfo`, kernel/bpf/syscall.c:
/// from Linux 5.12, for kprobes from 6.7).
pub struct Misses(Vec<Program>);

struct Program {
    fd: OwnedFd,
    /// The program that does its work when it is skipped.
    twin: Option<OwnedFd>,
    kind: Kind,
}

impl Misses {
    /// Of all programs that are loaded.
    pub fn of(ebpf: &Ebpf) -> Self {
        let open = |name: &str| ebpf.program(name)?.fd().ok()?.as_fd().try_clone_to_owned().ok();
        let programs = ebpf.programs().filter_map(|(name, _)| {
            let kind = loses(name)?;
            Some(Program { fd: open(name)?, twin: open(&format!("{name}_again")), kind })
        });
        Self(programs.collect())
    }

    /// How many runs were skipped so far, by what each would have told. More than what is lost, for
    /// some would have had nothing to tell. Of pairs, those that both programs missed: `covered` is
    /// how often a twin found the first one skipped, which is too many where two sockets had the
    /// same place (`twin::place` of the kernel programs).
    pub fn read(&self, covered: impl Fn(Kind) -> u64) -> [u64; Kind::SLOTS] {
        let mut alone = [0; Kind::SLOTS];
        let mut firsts = [0; Kind::SLOTS];
        let mut twins = [0; Kind::SLOTS];
        for Program { fd, twin, kind } in &self.0 {
            let slot = *kind as usize;
            match twin {
                None => alone[slot] += skipped_of(fd),
                Some(twin) => {
                    firsts[slot] += skipped_of(fd);
                    twins[slot] += skipped_of(twin);
                }
            }
        }
        for kind in Kind::ALL {
            let slot = kind as usize;
            alone[slot] += missed_by_both(firsts[slot], twins[slot], covered(kind));
        }
        alone
    }
}

fn missed_by_both(firsts: u64, twins: u64, covered: u64) -> u64 {
    firsts.saturating_sub(covered).min(twins)
}

fn skipped_of(program: &OwnedFd) -> u64 {
    let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    skipped(&std::fs::read_to_string(path).unwrap_or_default())
}

fn skipped(fdinfo: &str) -> u64 {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_misses_what_neither_program_saw() {
        assert_eq!(missed_by_both(20, 4, 20), 0);
        assert_eq!(missed_by_both(20, 4, 19), 1);
        // Sockets with one place make `covered` too large; without misses of the twin nothing is lost.
        assert_eq!(missed_by_both(20, 0, 10), 0);
        assert_eq!(missed_by_both(20, 4, 30), 0);
    }

    #[test]
    fn reads_the_count_that_newer_kernels_show() {
        let fdinfo = "pos:\t0\nprog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t17\n";
        assert_eq!(skipped(fdinfo), 17);
        assert_eq!(skipped("pos:\t0\nprog_type:\t26\n"), 0);
    }
}
