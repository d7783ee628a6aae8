//! Ports by what holds them.

use std::ops::{AddAssign, SubAssign};

use crate::event::TcpState;

/// As what something that holds a port counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// A connection in ESTABLISHED; of UDP, a connected socket.
    Established,
    /// A connection that waits for the destination to answer.
    SynSent,
    /// A connection that the peer has closed and the process has not.
    CloseWait,
    /// A connection that the process has closed and the peer has not, or has not acknowledged.
    FinWait,
    /// A TIME_WAIT entry.
    TimeWait,
    /// A socket that is bound, and neither connected nor listening.
    Bound,
    /// A listener.
    Listening,
    /// A connection in any other state.
    Other,
}

impl Standing {
    /// Of a TCP socket in this state.
    pub fn of(state: TcpState) -> Self {
        match state {
            TcpState::ESTABLISHED => Self::Established,
            TcpState::SYN_SENT => Self::SynSent,
            TcpState::CLOSE_WAIT => Self::CloseWait,
            TcpState::FIN_WAIT1 | TcpState::FIN_WAIT2 => Self::FinWait,
            TcpState::TIME_WAIT => Self::TimeWait,
            TcpState::CLOSE | TcpState::BOUND_INACTIVE => Self::Bound,
            TcpState::LISTEN => Self::Listening,
            _ => Self::Other,
        }
    }
}

/// How many ports, by what holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// See [`Standing::Established`].
    pub established: u32,
    /// See [`Standing::SynSent`].
    pub syn_sent: u32,
    /// See [`Standing::CloseWait`].
    pub close_wait: u32,
    /// See [`Standing::FinWait`].
    pub fin_wait: u32,
    /// See [`Standing::TimeWait`].
    pub time_wait: u32,
    /// See [`Standing::Bound`].
    pub bound: u32,
    /// See [`Standing::Listening`].
    pub listening: u32,
    /// See [`Standing::Other`].
    pub other: u32,
}

impl Counts {
    /// All of them.
    pub fn total(&self) -> u32 {
        self.connections() + self.time_wait + self.bound + self.listening
    }

    /// Connections, in whichever state.
    pub fn connections(&self) -> u32 {
        self.established + self.syn_sent + self.close_wait + self.fin_wait + self.other
    }

    /// The count of one standing.
    pub fn of(&mut self, standing: Standing) -> &mut u32 {
        match standing {
            Standing::Established => &mut self.established,
            Standing::SynSent => &mut self.syn_sent,
            Standing::CloseWait => &mut self.close_wait,
            Standing::FinWait => &mut self.fin_wait,
            Standing::TimeWait => &mut self.time_wait,
            Standing::Bound => &mut self.bound,
            Standing::Listening => &mut self.listening,
            Standing::Other => &mut self.other,
        }
    }

    /// Each count with the name that people know it by, and the one that the JSON has.
    pub fn named(&self) -> [(u32, &'static str, &'static str); 8] {
        [
            (self.established, "established", "established"),
            (self.syn_sent, "SYN_SENT", "syn_sent"),
            (self.close_wait, "CLOSE_WAIT", "close_wait"),
            (self.fin_wait, "FIN_WAIT", "fin_wait"),
            (self.time_wait, "TIME_WAIT", "time_wait"),
            (self.bound, "bound", "bound"),
            (self.listening, "listening", "listening"),
            (self.other, "other", "other"),
        ]
    }

    /// Each count that the JSON has, by its name there: four always, the others where there are any.
    pub fn in_json(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let always = ["established", "time_wait", "bound", "other"];
        let named = self.named().into_iter();
        let shown = named.filter(move |(count, _, name)| *count > 0 || always.contains(name));
        shown.map(|(count, _, name)| (name, count))
    }

    fn each(&mut self, other: Self, change: impl Fn(&mut u32, u32)) {
        change(&mut self.established, other.established);
        change(&mut self.syn_sent, other.syn_sent);
        change(&mut self.close_wait, other.close_wait);
        change(&mut self.fin_wait, other.fin_wait);
        change(&mut self.time_wait, other.time_wait);
        change(&mut self.bound, other.bound);
        change(&mut self.listening, other.listening);
        change(&mut self.other, other.other);
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.each(other, |to, from| *to += from);
    }
}

impl SubAssign for Counts {
    fn sub_assign(&mut self, other: Self) {
        self.each(other, |to, from| *to -= from);
    }
}
