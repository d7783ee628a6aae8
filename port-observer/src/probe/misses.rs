//! Runs of programs that the kernel skipped.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use aya::Ebpf;
use port_observer_ebpf::{Kind, PerKind};

use super::table::loses;

/// The kernel's own count, per program, of runs that it skipped because the program was running on
/// the same processor already (`recursion_misses` in `bpf_prog_show_fdinfo`, kernel/bpf/syscall.c:
/// from Linux 5.12, for kprobes from 6.7).
pub struct Misses {
    programs: Vec<Program>,
    /// As last read.
    read: [Counts; Kind::SLOTS],
    missed: PerKind,
}

struct Program {
    fd: OwnedFd,
    /// The program that does its work when it is skipped.
    twin: Option<OwnedFd>,
    kind: Kind,
}

/// Skipped runs of programs that would have told of the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Of programs without a twin.
    alone: u64,
    /// Of the first programs of pairs.
    firsts: u64,
    /// Of their twins.
    twins: u64,
    /// How often a twin found the first one skipped.
    covered: u64,
}

/// How often the counters are read while they change.
const ATTEMPTS: usize = 3;

impl Misses {
    /// Of all programs that are loaded.
    pub fn of(ebpf: &Ebpf) -> Self {
        let open = |name: &str| ebpf.program(name)?.fd().ok()?.as_fd().try_clone_to_owned().ok();
        let programs = ebpf.programs().filter_map(|(name, _)| {
            let kind = loses(name)?;
            Some(Program { fd: open(name)?, twin: open(&format!("{name}_again")), kind })
        });
        Self {
            programs: programs.collect(),
            read: [Counts::default(); Kind::SLOTS],
            missed: [0; Kind::SLOTS],
        }
    }

    /// How many runs were skipped so far, by what each would have told. More than what is lost, for
    /// some would have had nothing to tell. Of pairs, those that both programs missed; `covered` is
    /// too large where two sockets had the same place (`twin::place` of the kernel programs).
    pub fn read(&mut self, covered: impl Fn() -> PerKind) -> PerKind {
        let mut counts = self.read;
        for _ in 0..ATTEMPTS {
            // Skipped between two of the files, a run would be seen of one program only.
            let before = std::mem::replace(&mut counts, self.counts(&covered));
            if before == counts {
                break;
            }
        }
        let all = self.missed.iter_mut().zip(&mut self.read).zip(counts);
        for ((missed, read), now) in all {
            *missed += now.missed_since(read);
            *read = now;
        }
        self.missed
    }

    fn counts(&self, covered: impl Fn() -> PerKind) -> [Counts; Kind::SLOTS] {
        let mut counts = [Counts::default(); Kind::SLOTS];
        for Program { fd, twin, kind } in &self.programs {
            let of = &mut counts[*kind as usize];
            match twin {
                None => of.alone += skipped_of(fd),
                Some(twin) => {
                    of.firsts += skipped_of(fd);
                    of.twins += skipped_of(twin);
                }
            }
        }
        for (counts, covered) in counts.iter_mut().zip(covered()) {
            counts.covered = covered;
        }
        counts
    }
}

impl Counts {
    /// What nobody saw since these were `before`. A run that both programs missed, both missed at
    /// nearly the same time: what each missed at another time, the other one saw.
    fn missed_since(&self, before: &Self) -> u64 {
        let since = |of: fn(&Self) -> u64| of(self).saturating_sub(of(before));
        let uncovered = since(|it| it.firsts).saturating_sub(since(|it| it.covered));
        since(|it| it.alone) + uncovered.min(since(|it| it.twins))
    }
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

    fn pair(firsts: u64, twins: u64, covered: u64) -> Counts {
        Counts { alone: 0, firsts, twins, covered }
    }

    #[test]
    fn a_pair_misses_what_neither_program_saw() {
        let missed = |now: Counts| now.missed_since(&Counts::default());
        assert_eq!(missed(pair(20, 4, 20)), 0);
        assert_eq!(missed(pair(20, 4, 19)), 1);
        // Sockets with one place make `covered` too large; without misses of the twin nothing is lost.
        assert_eq!(missed(pair(20, 0, 10)), 0);
        assert_eq!(missed(pair(20, 4, 30)), 0);
        assert_eq!(missed(Counts { alone: 3, ..pair(20, 4, 19) }), 4);
    }

    #[test]
    fn what_each_of_a_pair_misses_at_another_time_is_not_lost() {
        // A run that had nothing to tell, so that the twin does not count it; later one of the twin.
        let (first, second) = (pair(1, 0, 0), pair(1, 1, 0));
        assert_eq!(first.missed_since(&Counts::default()) + second.missed_since(&first), 0);
        assert_eq!(second.missed_since(&Counts::default()), 1);
    }

    #[test]
    fn reads_the_count_that_newer_kernels_show() {
        let fdinfo = "pos:\t0\nprog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t17\n";
        assert_eq!(skipped(fdinfo), 17);
        assert_eq!(skipped("pos:\t0\nprog_type:\t26\n"), 0);
    }
}
