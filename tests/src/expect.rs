//! The rows that a scenario expects, and the lines that came, in one form that can be compared.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use nix::unistd::{getpid, gettid};

use crate::lines::{Body, Endpoint, Line, Process};
use crate::system::Backend;

/// A thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
}

impl Owner {
    /// The calling thread.
    pub fn me() -> Self {
        Self { pid: getpid().as_raw().cast_unsigned(), tid: gettid().as_raw().cast_unsigned() }
    }
}

/// By which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// connect()
    Connect,
    /// bind() that asked for this port; 0: any.
    Bind(u16),
    /// The kernel bound the socket by itself.
    Autobind,
    /// listen() that was refused.
    Listen,
}

impl Via {
    fn parse(name: &str, requested_port: u16) -> Option<Self> {
        match (name, requested_port) {
            ("connect", 0) => Some(Self::Connect),
            ("bind", port) => Some(Self::Bind(port)),
            ("autobind", 0) => Some(Self::Autobind),
            ("listen", 0) => Some(Self::Listen),
            _ => None,
        }
    }
}

/// Why a port came free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Closed, reset or refused.
    Closed,
    /// TIME_WAIT ran its time.
    TimeWaitExpired,
    /// TIME_WAIT was taken over.
    TimeWaitReused,
    /// TIME_WAIT was ended by an RST.
    TimeWaitReset,
    /// Found gone.
    Reconciled,
}

/// What happened, as far as a scenario cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// `acquire`
    Acquired(Via),
    /// `time_wait`
    TimeWait,
    /// `release`
    Released(Reason),
    /// `exhausted` with its errno
    Exhausted(Via, &'static str),
    /// `conflict` with its errno
    Conflict(Via, &'static str),
    /// `refused` with its reason
    Refused(Via, &'static str),
}

/// One line. `None` in an expected row: it is not compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What happened.
    pub what: What,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The local port.
    pub port: u16,
    /// The local address.
    pub address: Option<IpAddr>,
    /// The peer: `Some(None)` is a socket without one.
    pub remote: Option<Option<SocketAddr>>,
    /// Who took the port.
    pub owner: Option<Owner>,
}

const REFUSALS: [&str; 2] = ["address_not_local", "no_source_address"];
const ERRNOS: [&str; 4] = ["EADDRNOTAVAIL", "EADDRINUSE", "EAGAIN", "ECONNREFUSED"];

impl Row {
    /// A line about a port; `None` for the other types and for what a scenario has no word for.
    pub fn of(line: &Line) -> Option<Self> {
        let errno = |name: &str| ERRNOS.into_iter().find(|known| *known == name);
        match &line.body {
            Body::Acquire(line) => Self::new(
                What::Acquired(Via::parse(&line.via, line.requested_port?)?),
                &line.protocol,
                (Some(&line.local), line.remote.as_ref(), line.process.as_ref()),
            ),
            Body::TimeWait(line) => Self::new(
                What::TimeWait,
                &line.protocol,
                (Some(&line.local), line.remote.as_ref(), line.process.as_ref()),
            ),
            Body::Release(line) => {
                let reason = match line.reason.as_str() {
                    "closed" => Reason::Closed,
                    "time_wait_expired" => Reason::TimeWaitExpired,
                    "time_wait_reused" => Reason::TimeWaitReused,
                    "time_wait_reset" => Reason::TimeWaitReset,
                    "reconciled" => Reason::Reconciled,
                    _ => return None,
                };
                let who = line.held_ns.and(line.process.as_ref());
                let what = What::Released(reason);
                Self::new(what, &line.protocol, (Some(&line.local), line.remote.as_ref(), who))
            }
            Body::Exhausted(line) => Self::new(
                What::Exhausted(Via::parse(&line.via, 0)?, errno(&line.errno)?),
                &line.protocol,
                (line.local.as_ref(), line.remote.as_ref(), line.process.as_ref()),
            ),
            Body::Conflict(line) => {
                let asked = if line.via == "bind" {
                    line.local.as_ref().map_or(0, |local| local.port)
                } else {
                    0
                };
                Self::new(
                    What::Conflict(Via::parse(&line.via, asked)?, errno(&line.errno)?),
                    &line.protocol,
                    (line.local.as_ref(), line.remote.as_ref(), line.process.as_ref()),
                )
            }
            Body::Refused(line) => {
                let asked = match line.via.as_str() {
                    "bind" => line.local.as_ref().map_or(0, |local| local.port),
                    _ => 0,
                };
                let reason = REFUSALS.into_iter().find(|known| *known == line.reason)?;
                Self::new(
                    What::Refused(Via::parse(&line.via, asked)?, reason),
                    &line.protocol,
                    (line.local.as_ref(), line.remote.as_ref(), line.process.as_ref()),
                )
            }
            _ => None,
        }
    }

    fn new(
        what: What,
        protocol: &str,
        (local, remote, process): (Option<&Endpoint>, Option<&Endpoint>, Option<&Process>),
    ) -> Option<Self> {
        Some(Self {
            what,
            protocol: ["tcp", "udp"].into_iter().find(|known| *known == protocol)?,
            port: local.map_or(0, |local| local.port),
            address: local.map(|local| local.address),
            remote: Some(remote.map(Endpoint::socket_addr)),
            owner: process
                .map(|process| Owner { pid: process.pid, tid: process.tid.unwrap_or_default() }),
        })
    }

    /// The same by another thread.
    pub fn by(self, owner: Owner) -> Self {
        Self { owner: Some(owner), ..self }
    }

    /// What was seen with this backend is what this row expects.
    pub fn accepts(&self, seen: &Self, backend: Backend) -> bool {
        let late = self.visibility(backend) == Visibility::Late;
        let gone = matches!((self.what, seen.what), (What::Released(_), What::Released(_)));
        // Socket diagnostics show the process, not the thread, of ports that UDP took by itself.
        let thread_unknown = late || !backend.is_exact() && self.protocol == "udp";
        let pid = |row: &Self| row.owner.map(|owner| owner.pid);
        (self.what == seen.what || late && gone)
            && (self.protocol, self.port) == (seen.protocol, seen.port)
            && (self.address.is_none() || self.address == seen.address)
            && (self.remote.is_none() || self.remote == seen.remote)
            && (self.owner == seen.owner || thread_unknown && pid(self) == pid(seen))
    }

    /// When this backend can show it: as the `missing` of its `start` line says.
    pub fn visibility(&self, backend: Backend) -> Visibility {
        use Reason::{TimeWaitExpired, TimeWaitReset, TimeWaitReused};
        match self.what {
            _ if backend.is_exact() => Visibility::AtOnce,
            What::Released(TimeWaitExpired | TimeWaitReset | TimeWaitReused) => Visibility::Late,
            What::Acquired(Via::Autobind) if self.protocol == "udp" => Visibility::Late,
            What::Exhausted(Via::Autobind, _) | What::Conflict(Via::Connect, _) => {
                Visibility::Never
            }
            _ => Visibility::AtOnce,
        }
    }
}

/// When a backend can show what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// When it happens, with everything about it.
    AtOnce,
    /// When socket diagnostics are read the next time, while it lasts.
    Late,
    /// It leaves nothing that could be found.
    Never,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.map_or("*".to_owned(), |address| address.to_string());
        write!(f, "{:?} {} {address} {}", self.what, self.protocol, self.port)?;
        match self.remote {
            None => write!(f, " -> *")?,
            Some(None) => (),
            Some(Some(remote)) => write!(f, " -> {remote}")?,
        }
        match self.owner {
            None => write!(f, " by nobody known"),
            Some(Owner { pid, tid }) => write!(f, " by {pid}/{tid}"),
        }
    }
}

/// A call by this thread found no free port. `remote`: for connect().
pub fn exhausted(
    via: Via,
    protocol: &'static str,
    remote: Option<SocketAddr>,
    errno: &'static str,
) -> Row {
    Row {
        what: What::Exhausted(via, errno),
        protocol,
        port: 0,
        address: None,
        remote: Some(remote),
        owner: Some(Owner::me()),
    }
}

/// A call by this thread did not get the port that it named, or the peer.
pub fn conflict(
    via: Via,
    local: SocketAddr,
    remote: Option<SocketAddr>,
    errno: &'static str,
) -> Row {
    Row {
        what: What::Conflict(via, errno),
        protocol: "tcp",
        port: local.port(),
        address: Some(local.ip()),
        remote: Some(remote),
        owner: Some(Owner::me()),
    }
}

/// A call by this thread had no address: bind() to `local`, or connect() to `remote`.
pub fn refused(
    (via, reason): (Via, &'static str),
    protocol: &'static str,
    local: SocketAddr,
    remote: Option<SocketAddr>,
) -> Row {
    Row {
        what: What::Refused(via, reason),
        protocol,
        port: local.port(),
        address: Some(local.ip()),
        remote: Some(remote),
        owner: Some(Owner::me()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Reason, Via, What};
    use crate::socket::{ANY, Taken};
    use crate::{expect::Owner, system::Backend};

    #[test]
    fn only_the_end_of_time_wait_may_come_late_and_with_another_reason() {
        let a = Taken { protocol: "tcp", local: ANY, remote: None, owner: Owner::me() };
        let (expired, gone) = (a.released(Reason::TimeWaitExpired), a.released(Reason::Reconciled));
        assert!(expired.accepts(&expired, Backend::Fexit));
        assert!(!expired.accepts(&gone, Backend::Fexit));
        assert!(expired.accepts(&gone, Backend::Tracepoint));
        assert!(!a.released(Reason::Closed).accepts(&gone, Backend::Tracepoint));
        assert!(!a.time_wait().accepts(&gone, Backend::Tracepoint));
    }

    #[test]
    fn another_thread_port_peer_or_call_is_another_row() {
        let a = Taken { protocol: "tcp", local: ANY, remote: Some(ANY), owner: Owner::me() };
        let row = a.acquired(Via::Connect);
        let nobody = super::Row { owner: None, ..row.clone() };
        let alone = super::Row { remote: Some(None), ..row.clone() };
        let port = super::Row { port: 1, ..row.clone() };
        let call = super::Row { what: What::Acquired(Via::Bind(0)), ..row.clone() };
        assert!(row.accepts(&row, Backend::Fexit));
        assert!(
            ![nobody, alone, port, call].iter().any(|other| row.accepts(other, Backend::Fexit))
        );
    }
}
