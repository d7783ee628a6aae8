//! What was lost without being counted when it was lost.

use super::super::Holdings;

/// How often TIME_WAIT entries are looked through.
const SWEEP_NS: u64 = 10_000_000_000;

/// Looks at what the ledger knows and can't be.
#[derive(Debug, Default)]
pub struct Missed {
    /// Ends of sockets that showed until the last call.
    ends: u64,
    swept_ns: u64,
}

impl Missed {
    /// How many ends of sockets and of TIME_WAIT showed since the last call that nobody told of; of
    /// sockets there were `ends` in all. A TIME_WAIT that is overdue counts each time, until a scan
    /// has ended it.
    pub fn count(&mut self, ends: u64, holdings: &Holdings, now_ns: u64) -> u64 {
        let count = ends - std::mem::replace(&mut self.ends, ends);
        if now_ns.saturating_sub(self.swept_ns) < SWEEP_NS {
            return count;
        }
        self.swept_ns = now_ns;
        count + holdings.overdue(now_ns) as u64
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        event::{Ask, Endpoint, Event, Flow, Kind, Protocol, Reuse, SocketEvent, SocketId},
        ledger::{Ledger, Options},
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
        assert_eq!(ledger.ask(62 * SECOND), None, "not overdue");
        assert_eq!(ledger.ask(71 * SECOND), None, "swept already");
        assert_eq!(ledger.ask(100 * SECOND), Some(Ask::Scan { missed: 1 }));
        assert_eq!(ledger.ask(140 * SECOND), Some(Ask::Scan { missed: 2 }), "after FIN_WAIT2");
    }
}
