//! What was lost without being counted when it was lost.

use std::time::{Duration, Instant};

use crate::ledger::Ledger;

/// How often TIME_WAIT entries are looked through.
const SWEEP: Duration = Duration::from_secs(10);

/// Looks at what the ledger knows and can't be.
pub(super) struct Unseen {
    /// See [`Ledger::unseen_ends`].
    ends: u64,
    swept: Instant,
}

impl Unseen {
    pub(super) fn new(now: Instant) -> Self {
        Self { ends: 0, swept: now }
    }

    /// How many ends of sockets and of TIME_WAIT showed since the last call that nobody told of.
    /// A TIME_WAIT that is overdue counts each time, until a scan has ended it.
    pub(super) fn count(&mut self, ledger: &Ledger, now: Instant, now_ns: u64) -> u64 {
        let ends = ledger.unseen_ends();
        let count = ends - std::mem::replace(&mut self.ends, ends);
        if now.duration_since(self.swept) < SWEEP {
            return count;
        }
        self.swept = now;
        count + ledger.holdings().overdue(now_ns) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Endpoint, Event, Flow, Kind, Protocol, Reuse, SocketEvent, SocketId},
        ledger::Options,
    };

    const SECOND: u64 = 1_000_000_000;

    fn time_wait(ledger: &mut Ledger, port: u16, fin_wait2: bool) {
        let local = Endpoint::new("10.0.0.1".parse().unwrap(), port);
        let remote = Some(Endpoint::new("10.0.0.9".parse().unwrap(), 80));
        let flow = Flow { netns: 1, protocol: Protocol::Tcp, local, remote };
        let reuse = Reuse { fin_wait2, timestamps: true };
        let kind = Kind::TimeWait { successor: Some(SocketId(port.into())), done: true, reuse };
        let event = SocketEvent { time_ns: SECOND, socket: SocketId(1), flow, kind };
        ledger.apply(SECOND, Event::Socket(event), None, &mut Vec::new());
    }

    #[test]
    fn a_time_wait_that_should_have_ended_is_counted_at_the_next_sweep() {
        let mut ledger = Ledger::new(Options::default());
        time_wait(&mut ledger, 40000, false);
        time_wait(&mut ledger, 40001, true);
        let began = Instant::now();
        let mut unseen = Unseen::new(began);
        let mut count =
            |after: Duration, seconds: u64| unseen.count(&ledger, began + after, seconds * SECOND);
        assert_eq!(count(SWEEP, 62), 0, "not overdue");
        assert_eq!(count(SWEEP, 100), 0, "swept already");
        assert_eq!(count(2 * SWEEP, 100), 1);
        assert_eq!(count(3 * SWEEP, 140), 2, "after FIN_WAIT2 another minute");
    }
}
