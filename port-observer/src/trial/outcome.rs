//! What a trial came to.

use std::{net::SocketAddr, time::Duration};

use super::{
    calls::{PortError, SetUp},
    echo::Served,
    run::Ran,
};
use crate::pools::PortSet;

/// A trial of a pool, over.
#[derive(Debug)]
pub struct Outcome {
    /// The pool's name.
    pub pool: String,
    /// Its ranges, as they are written.
    pub range: String,
    /// The peer's address, with the port of RTP.
    pub peer: SocketAddr,
    /// How many calls there were to be at once, and how many there were.
    pub wanted: u32,
    /// How many were set up.
    pub set_up: u32,
    /// How many legs each has.
    pub legs: u32,
    /// How many ports each leg has.
    pub ports_per_leg: u32,
    /// Ports that were left out, as they are leased.
    pub leased: u32,
    /// Ports that could not be taken, the first of them.
    pub errors: Vec<PortError>,
    /// How many they were.
    pub failed: u64,
    /// What the legs came to; `None`: too few calls were set up to begin.
    pub ran: Option<Ran>,
    /// What the own peer came to; `None`: there was none.
    pub served: Option<Served>,
}

impl Outcome {
    /// What is known before anything is sent. `leased`: ports that are left out.
    pub fn of(
        (pool, range): (&str, String),
        (wanted, legs, ports_per_leg): (u32, u32, u32),
        peer: SocketAddr,
        set_up: &mut SetUp,
        leased: &PortSet,
    ) -> Self {
        Self {
            pool: pool.to_owned(),
            range,
            peer,
            wanted,
            set_up: set_up.calls,
            legs,
            ports_per_leg,
            leased: leased.count(),
            errors: std::mem::take(&mut set_up.errors),
            failed: set_up.failed,
            ran: None,
            served: None,
        }
    }

    /// Whether all calls were set up, nothing was lost or refused, and all reports were answered.
    pub fn is_good(&self) -> bool {
        let ran = |Ran { tally, .. }: &Ran| {
            tally.lost() == 0 && tally.refused == 0 && tally.unanswered() == 0
        };
        self.set_up >= self.wanted && self.ran.as_ref().is_some_and(ran)
    }

    /// Why calls could not be set up, with the words that whoever finds no port is told; `None`: all were.
    pub fn too_few(&self) -> Option<String> {
        if self.set_up >= self.wanted {
            return None;
        }
        let last = self.errors.last().filter(|error| {
            self.errors.len() as u64 == self.failed && {
                !matches!(error.errno, libc::EADDRINUSE | libc::EACCES)
            }
        });
        let counts = format!("{} of {} calls were set up", self.set_up, self.wanted);
        let needs = format!("each takes {} ports", self.legs * self.ports_per_leg);
        let mut why = match last {
            Some(error) => {
                let reason = crate::words::errno::error(error.errno);
                return Some(format!("port {} can't be taken: {reason}; {counts}", error.port));
            }
            None => format!("No ports available in range {}: {counts} ({needs})", self.range),
        };
        if self.failed > 0 {
            why.push_str(&format!("; ports that can't be taken: {}", self.failed));
        }
        if self.leased > 0 {
            why.push_str(&format!("; leased: {}", self.leased));
        }
        Some(why)
    }

    /// How many packets the kernel dropped that had come to this process, of legs and of the own peer; `None`:
    /// it does not say.
    pub fn dropped(&self) -> Option<u64> {
        let legs = self.ran.as_ref()?.dropped?;
        let peer = self.served.map_or(Some(0), |served| served.dropped)?;
        Some(legs + peer)
    }
}

/// For how long, in seconds.
pub(super) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        pools::Holder,
        trial::{echo::Counts, tally::Tally},
    };

    /// A trial that lost a few packets.
    pub(in crate::trial) fn sample() -> Outcome {
        let mut tally =
            Tally { sent: 1_000, received: 990, reports: 8, answers: 8, ..Tally::default() };
        (1..=990u64).for_each(|n| tally.rtt.add(n * 1_000));
        tally.jitter.add(20_000);
        tally.report_rtt.add(400_000);
        (tally.late, tally.late_sends, tally.duplicate) = (2, 3, 1);
        let executable = None;
        let holder = Holder { name: "python3".into(), pid: 7, executable, container: Vec::new() };
        let taken = |port, holder| PortError { port, errno: libc::EADDRINUSE, holder };
        Outcome {
            pool: "media".into(),
            range: "21000-21100".into(),
            peer: "127.0.0.1:65534".parse().unwrap(),
            wanted: 5,
            set_up: 5,
            legs: 2,
            ports_per_leg: 2,
            leased: 0,
            errors: vec![taken(21_002, Some(holder)), taken(21_005, None)],
            failed: 2,
            ran: Some(Ran {
                tally,
                sending: Duration::from_millis(1_999),
                is_complete: true,
                lost_there: Some(4),
                dropped: Some(0),
            }),
            served: Some(Served { counts: Counts::default(), dropped: Some(3) }),
        }
    }

    #[test]
    fn a_trial_is_good_when_all_calls_were_set_up_and_nothing_was_lost() {
        let mut outcome = sample();
        assert!(!outcome.is_good());
        assert_eq!((outcome.dropped(), outcome.too_few()), (Some(3), None));
        let ran = outcome.ran.as_mut().unwrap();
        ran.tally.received = 1_000;
        assert!(outcome.is_good());
        outcome.ran.as_mut().unwrap().tally.refused = 1;
        assert!(!outcome.is_good());
        let tally = &mut outcome.ran.as_mut().unwrap().tally;
        (tally.refused, tally.answers) = (0, 7);
        assert!(!outcome.is_good());
        outcome.wanted = 6;
        let why = outcome.too_few().unwrap();
        assert!(why.starts_with("No ports available in range 21000-21100: 5 of 6 calls"), "{why}");
        assert!(why.ends_with("(each takes 4 ports); ports that can't be taken: 2"), "{why}");
        outcome.errors[1].errno = libc::EMFILE;
        let why = outcome.too_few().unwrap();
        assert!(why.starts_with("port 21005 can't be taken: EMFILE"), "{why}");
        outcome.served.as_mut().unwrap().dropped = None;
        assert_eq!(outcome.dropped(), None);
    }
}
