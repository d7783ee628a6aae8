//! What a target elsewhere shows: no more than how it answers.

use super::{Met, Seen};
use crate::{
    stress::{Limit, parts::End},
    words::errno::ErrorName,
};

impl Seen<'_> {
    /// What is seen of a target that is not here.
    pub(super) fn target(&self) -> Vec<Met> {
        let Some(target) = self.plan.target else { return Vec::new() };
        let progress = self.progress;
        let text = match self.end {
            End::Stalled => format!(
                "{} connections to {target} are being made and get no answer; what it lacks shows only there",
                progress.pending
            ),
            End::Closed => format!("{target} closed {} connections", progress.closed),
            End::Refused { errno, .. } if answers(*errno) => {
                format!("{target} answers with {}", ErrorName(*errno))
            }
            _ => return Vec::new(),
        };
        vec![(Limit::Server, text)]
    }
}

/// Whether an error is what the other end, or the way to it, answers.
pub(super) fn answers(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNREFUSED
            | libc::ECONNRESET
            | libc::ETIMEDOUT
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{evidence, plan};
    use super::*;
    use crate::stress::{EndUse, Evidence, Listening, Plan, Verdict, parts::Progress};

    fn verdict(end: &End) -> Verdict {
        let plan = Plan { target: Some("192.0.2.1:80".parse().unwrap()), ..plan() };
        let evidence = Evidence {
            listening: Listening { overflows: 5, ..Listening::default() },
            server: EndUse::default(),
            ..evidence()
        };
        let progress = Progress { worked: 100, pending: 64, closed: 90, ..Progress::default() };
        Seen { plan: &plan, end, progress: &progress, evidence: &evidence }.conclude()
    }

    #[test]
    fn a_target_elsewhere_is_told_by_its_answers_alone() {
        let refused = End::Refused { call: "connect".to_owned(), errno: libc::ECONNREFUSED };
        for (end, says) in [
            (End::Stalled, "64 connections to 192.0.2.1:80 are being made"),
            (End::Closed, "192.0.2.1:80 closed 90 connections"),
            (refused, "192.0.2.1:80 answers with ECONNREFUSED"),
        ] {
            let found = verdict(&end);
            // Overflows are of other queues of this host.
            assert_eq!((found.limit, &*found.also), (Limit::Server, &[][..]));
            assert!(found.reasons[0].contains(says), "{:?}", found.reasons);
        }
        assert_eq!(verdict(&End::Duration).limit, Limit::Duration);
    }
}
