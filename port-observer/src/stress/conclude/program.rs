//! The limit that a program of the user's ran into.

use super::{Met, Seen, by_error};
use crate::stress::{
    Limit, Observed, Outcome,
    parts::{End, Progress},
    program::Use,
};

/// Limits that explain why a program gets no further, those that explain others first.
const IN_ORDER: [Limit; 14] = [
    Limit::Seccomp,
    Limit::FileMax,
    Limit::CgroupMemory,
    Limit::CgroupPids,
    Limit::Memory,
    Limit::TcpMemory,
    Limit::Conntrack,
    Limit::Runtime,
    Limit::FileDescriptors,
    Limit::EphemeralPorts,
    Limit::TimeWaitBuckets,
    Limit::Server,
    Limit::AcceptQueue,
    Limit::Threads,
];

impl Seen<'_> {
    /// The limit that a program met: what its calls were refused for, else what is used up.
    pub(super) fn of_program(&self, met: &[Met]) -> Met {
        let found = |wanted: &[Limit]| {
            wanted.iter().find_map(|limit| met.iter().find(|one| one.0 == *limit)).cloned()
        };
        let refused = self.progress.refused.iter().max_by_key(|(_, count)| **count);
        let by_call = refused.and_then(|(&errno, _)| found(&by_error(errno)));
        if let Some(found) = by_call.or_else(|| found(&IN_ORDER)) {
            return found;
        }
        match self.end {
            End::Exited { how, .. } if how.contains("SIGSYS") => {
                (Limit::Seccomp, format!("the program ended by a filter of system calls ({how})"))
            }
            End::Exited { is_success: true, .. } => {
                (Limit::Requested, "the program ended by itself".to_owned())
            }
            End::Exited { how, .. } => (
                // A call that failed met something; another reason to end may be none of connections.
                if refused.is_some() { Limit::Unknown } else { Limit::Duration },
                format!("the program ended ({how}), and no limit that is known was met"),
            ),
            End::Memory => (Limit::Memory, self.memory()),
            _ => (Limit::Duration, "no limit was met while it was watched".to_owned()),
        }
    }

    /// That connections with both ends in the program take two places each.
    pub(super) fn both_ends(&self) -> String {
        match self.evidence.program {
            Some(Use { connections, both_ends, .. }) if both_ends * 2 > connections => format!(
                ". It has both ends of {both_ends} of its {connections} connections, which take \
                 two each: with each end in a program of its own, twice as many go"
            ),
            _ => String::new(),
        }
    }
}

impl Outcome {
    /// Takes in which calls of the program were refused, as far as that was seen from outside: what is
    /// concluded may be another limit then.
    pub fn take_observed(&mut self, observed: &Observed) {
        if self.plan.program.is_none() {
            return;
        }
        // That connect() had no port, and not no such address, is known to an observer that sees all calls.
        if observed.sees_calls() {
            self.refused.remove(&libc::EADDRNOTAVAIL);
        }
        self.refused.extend(&observed.refused);
        let progress = Progress {
            refused: self.refused.clone(),
            worked: self.connections,
            peak: self.connections,
            ..Progress::default()
        };
        let seen = Seen {
            plan: &self.plan,
            end: &self.end,
            progress: &progress,
            evidence: &self.evidence,
        };
        self.verdict = seen.conclude();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{evidence, plan};
    use super::*;
    use crate::stress::{Evidence, Refusals, Verdict, program::Program};

    fn verdict(evidence: &Evidence, end: &End, refused: Refusals) -> Verdict {
        let plan = crate::stress::Plan {
            program: Some(Program::Command(vec!["client".to_owned()])),
            ..plan()
        };
        let progress = Progress { refused, ..Progress::default() };
        Seen { plan: &plan, end, progress: &progress, evidence }.conclude()
    }

    fn exited(is_success: bool) -> End {
        End::Exited { how: "exit status 3".to_owned(), is_success }
    }

    fn of_client(sockets: u64, connections: u64, both_ends: u64) -> Evidence {
        let program = Some(Use { sockets, connections, both_ends });
        Evidence { program, ..evidence() }
    }

    #[test]
    fn both_ends_in_one_program_are_said_to_take_two_places() {
        let mut seen = of_client(1_022, 510, 510);
        seen.client.name = "beam.smp".to_owned();
        seen.client.table = Some(("+Q (ERL_MAX_PORTS)".to_owned(), 1_024));
        let found = verdict(&seen, &exited(false), Refusals::new());
        assert_eq!((found.limit, found.also), (Limit::Runtime, vec![]));
        assert!(found.reasons[0].contains("both ends of 510 of its 510"), "{:?}", found.reasons);
        seen.program = Some(Use { sockets: 1_022, connections: 1_021, both_ends: 0 });
        let found = verdict(&seen, &exited(false), Refusals::new());
        assert!(!found.reasons[0].contains("both ends"), "{:?}", found.reasons);
    }

    #[test]
    fn what_calls_failed_for_comes_before_what_is_used_up() {
        let mut seen = of_client(196, 195, 0);
        seen.client.descriptors = (200, 200);
        seen.ports_used = 1_000;
        let found = verdict(&seen, &exited(false), [(libc::EADDRNOTAVAIL, 1)].into());
        assert_eq!(
            (found.limit, found.also),
            (Limit::EphemeralPorts, vec![Limit::FileDescriptors])
        );
        let found = verdict(&seen, &exited(false), [(libc::EMFILE, 1)].into());
        assert_eq!(
            (found.limit, found.also),
            (Limit::FileDescriptors, vec![Limit::EphemeralPorts])
        );
    }

    #[test]
    fn a_program_that_meets_no_limit_is_said_to_meet_none() {
        let seen = of_client(11, 10, 0);
        assert_eq!(verdict(&seen, &exited(true), Refusals::new()).limit, Limit::Requested);
        let failed = verdict(&seen, &exited(false), Refusals::new());
        assert_eq!(failed.limit, Limit::Duration);
        assert!(failed.reasons[0].contains("exit status 3"), "{:?}", failed.reasons);
        // Nothing that it lacked shows: the error alone is no limit.
        let seen = verdict(&seen, &exited(false), [(libc::EMFILE, 1)].into());
        assert_eq!(seen.limit, Limit::Unknown);
    }
}
