//! An event about a socket, flat: as it is recorded.

use crate::{
    event::{
        Event, Existing, Flow, Kind, OwnRange, Reason, Refusal, Repeated, Reuse, Sharing,
        SocketEvent, SocketId, Task, TcpState, Via,
    },
    process::{Caller, Process},
};

/// The types of [`Row`]s, by the number that a recording has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowType {
    /// [`Kind::Acquire`]
    Acquire = 1,
    /// [`Kind::Exhausted`]
    Exhausted = 2,
    /// [`Kind::Conflict`]
    Conflict = 3,
    /// [`Kind::Inherit`]
    Inherit = 4,
    /// [`Kind::Listen`]
    Listen = 5,
    /// [`Kind::Accept`]
    Accept = 6,
    /// [`Kind::TimeWait`]
    TimeWait = 8,
    /// [`Kind::FinReceived`]
    FinReceived = 9,
    /// [`Kind::Release`]
    Release = 10,
    /// [`Kind::State`]
    State = 11,
    /// [`Existing`]
    Existing = 12,
    /// [`Kind::Rehash`]
    Rehash = 13,
    /// [`Kind::Listed`]
    Listed = 14,
    /// [`Kind::InTheWay`]
    InTheWay = 15,
    /// [`Kind::Refused`]
    Refused = 16,
}

impl RowType {
    /// All. Number 7 is in older recordings: that a call began, which is told again by what it came to.
    const ALL: [Self; 15] = [
        Self::Acquire,
        Self::Exhausted,
        Self::Conflict,
        Self::Inherit,
        Self::Listen,
        Self::Accept,
        Self::TimeWait,
        Self::FinReceived,
        Self::Release,
        Self::State,
        Self::Existing,
        Self::Rehash,
        Self::Listed,
        Self::InTheWay,
        Self::Refused,
    ];

    /// The type that a recording gives this number.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&row_type| row_type as u8 == number)
    }
}

/// The bits of [`Row::flags`].
pub mod flags {
    /// `Sharing::connect_bind`
    pub const CONNECT_BIND: u16 = 1;
    /// `Sharing::ipv6_only`
    pub const IPV6_ONLY: u16 = 2;
    /// `Kind::TimeWait::done`
    pub const DONE: u16 = 4;
    /// `Reuse::fin_wait2`
    pub const FIN_WAIT2: u16 = 8;
    /// `Reuse::timestamps`
    pub const TIMESTAMPS: u16 = 16;
    /// `Existing::reuse` is there.
    pub const REUSE: u16 = 32;
    /// `Existing::blocked` is known.
    pub const KNOWS_BLOCKED: u16 = 64;
    /// And true; of a holding: a bind() has succeeded on its port.
    pub const BLOCKED: u16 = 128;
    /// [`crate::event::Kind::Again`]
    pub const AGAIN: u16 = 256;
    /// [`crate::event::Repeated::differing`]
    pub const DIFFERING: u16 = 512;
    /// `Kind::InTheWay::is_nobodys`
    pub const NOBODYS: u16 = 1024;
    /// [`crate::event::Repeated::late`]
    pub const LATE: u16 = 2048;
    /// Of a connection that is held, its state in the bits from here on; 0: not known.
    pub const STATE_SHIFT: u32 = 12;
}

/// About a socket. What its type has no use for is not set.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which event.
    pub row_type: RowType,
    /// The socket; 0 where its identity is not known.
    pub socket: u64,
    /// Where it is.
    pub flow: Flow,
    /// Who called; of a release or TIME_WAIT, whose port it is, for those who read the recording.
    pub caller: Option<Whose>,
    /// By which call.
    pub via: Option<Via>,
    /// The port asked for.
    pub requested_port: Option<u16>,
    /// What the caller got.
    pub errno: Option<i32>,
    /// Why it was released.
    pub reason: Option<Reason>,
    /// Why a call was refused.
    pub refusal: Option<Refusal>,
    /// The state before.
    pub old_state: Option<TcpState>,
    /// The state.
    pub state: Option<TcpState>,
    /// How long the kernel searched.
    pub search_ns: Option<u64>,
    /// The listener, or the TIME_WAIT entry; of a call that found no port, its socket's [`OwnRange::bits`].
    pub other_socket: Option<u64>,
    /// The interface that it is bound to, 0: any.
    pub device: u32,
    /// See [`flags`].
    pub flags: u16,
    /// How many more equal calls it stands for; 0: it is of one call.
    pub repeated: u64,
}

/// A process and thread, compared by what they are.
#[derive(Clone, Debug)]
pub struct Whose(pub Caller);

impl Whose {
    /// The thread.
    pub fn task(&self) -> Task {
        let Caller { process, tid } = &self.0;
        let Process { pid, name, uid, start_time_ns, .. } = &**process;
        Task {
            pid: *pid,
            tid: *tid,
            name: name.clone(),
            uid: uid.unwrap_or(0),
            start_time_ns: *start_time_ns,
            cgroup_id: 0,
        }
    }
}

impl PartialEq for Whose {
    fn eq(&self, other: &Self) -> bool {
        self.0.tid == other.0.tid && *self.0.process == *other.0.process
    }
}

impl Row {
    fn new(row_type: RowType, socket: SocketId, flow: Flow) -> Self {
        Self {
            row_type,
            socket: socket.0,
            flow,
            caller: None,
            via: None,
            requested_port: None,
            errno: None,
            reason: None,
            refusal: None,
            old_state: None,
            state: None,
            search_ns: None,
            other_socket: None,
            device: 0,
            flags: 0,
            repeated: 0,
        }
    }

    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u16, is_set: bool) {
        if is_set {
            self.flags |= flag;
        }
    }

    /// Puts a socket's sharing in.
    pub fn set_sharing(&mut self, sharing: Sharing) {
        self.set(flags::CONNECT_BIND, sharing.connect_bind);
        self.set(flags::IPV6_ONLY, sharing.ipv6_only);
        self.device = sharing.device;
    }

    fn sharing(&self) -> Sharing {
        Sharing {
            connect_bind: self.has(flags::CONNECT_BIND),
            ipv6_only: self.has(flags::IPV6_ONLY),
            device: self.device,
        }
    }

    fn set_reuse(&mut self, reuse: Reuse) {
        self.set(flags::FIN_WAIT2, reuse.fin_wait2);
        self.set(flags::TIMESTAMPS, reuse.timestamps);
    }

    fn reuse(&self) -> Reuse {
        Reuse { fin_wait2: self.has(flags::FIN_WAIT2), timestamps: self.has(flags::TIMESTAMPS) }
    }

    /// What of an event about a socket is recorded.
    pub(super) fn of_socket(event: &SocketEvent) -> Self {
        Self::of_kind(event, &event.kind)
    }

    fn of_kind(event: &SocketEvent, kind: &Kind) -> Self {
        let row = |row_type| Self::new(row_type, event.socket, event.flow);
        let failed = |row_type, via, errno, repeated| {
            let mut row = Self { via: Some(via), errno: Some(errno), ..row(row_type) };
            row.set_repeated(repeated);
            row
        };
        match kind {
            Kind::Acquire { via, requested_port, search_ns, task: _, sharing } => {
                let mut row = Self {
                    via: Some(*via),
                    requested_port: *requested_port,
                    search_ns: *search_ns,
                    ..row(RowType::Acquire)
                };
                row.set_sharing(*sharing);
                row
            }
            Kind::Exhausted { via, errno, search_ns, own_range, task: _, repeated } => Self {
                other_socket: own_range.map(OwnRange::bits),
                search_ns: *search_ns,
                ..failed(RowType::Exhausted, *via, *errno, *repeated)
            },
            Kind::Conflict { via, errno, task: _, repeated } => {
                failed(RowType::Conflict, *via, *errno, *repeated)
            }
            Kind::Refused { via, errno, refusal, task: _, repeated } => Self {
                refusal: Some(*refusal),
                ..failed(RowType::Refused, *via, *errno, *repeated)
            },
            Kind::Inherit { listener, sharing } => {
                let mut row = Self { other_socket: Some(listener.0), ..row(RowType::Inherit) };
                row.set_sharing(*sharing);
                row
            }
            Kind::Listen => row(RowType::Listen),
            Kind::Accept { .. } => row(RowType::Accept),
            Kind::TimeWait { successor, done, reuse } => {
                let mut row =
                    Self { other_socket: successor.map(|id| id.0), ..row(RowType::TimeWait) };
                row.set(flags::DONE, *done);
                row.set_reuse(*reuse);
                row
            }
            Kind::FinReceived => row(RowType::FinReceived),
            Kind::Rehash => row(RowType::Rehash),
            Kind::Release { reason } => Self { reason: Some(*reason), ..row(RowType::Release) },
            // It is told once more at most.
            Kind::Again(kind) => {
                let mut row = Self::of_kind(event, kind);
                row.set(flags::AGAIN, true);
                row
            }
            Kind::State { old, new } => {
                Self { old_state: Some(*old), state: Some(*new), ..row(RowType::State) }
            }
            Kind::Listed { state, task: _ } => Self { state: Some(*state), ..row(RowType::Listed) },
            Kind::InTheWay { state, is_nobodys, task: _ } => {
                let mut row = Self { state: Some(*state), ..row(RowType::InTheWay) };
                row.set(flags::NOBODYS, *is_nobodys);
                row
            }
        }
    }

    /// What of a port that was found held is recorded.
    pub(super) fn of_existing(existing: &Existing) -> Self {
        let socket = existing.socket.unwrap_or(SocketId(0));
        let mut row = Self {
            state: Some(existing.state),
            ..Self::new(RowType::Existing, socket, existing.flow)
        };
        row.set_sharing(existing.sharing);
        if let Some(reuse) = existing.reuse {
            row.set(flags::REUSE, true);
            row.set_reuse(reuse);
        }
        if let Some(blocked) = existing.blocked {
            row.set(flags::KNOWS_BLOCKED, true);
            row.set(flags::BLOCKED, blocked);
        }
        row
    }

    fn set_repeated(&mut self, repeated: Repeated) {
        self.repeated = repeated.calls;
        self.set(flags::DIFFERING, repeated.differing);
        self.set(flags::LATE, repeated.late);
    }

    fn repeated(&self) -> Repeated {
        let (differing, late) = (self.has(flags::DIFFERING), self.has(flags::LATE));
        Repeated { calls: self.repeated, differing, late }
    }

    fn task(&self) -> Option<Task> {
        self.caller.as_ref().map(Whose::task)
    }

    /// The event that it was; `None` when what its type needs is not there.
    pub(super) fn event(&self, time_ns: u64) -> Option<Event> {
        let (socket, flow) = (SocketId(self.socket), self.flow);
        let kind = match self.row_type {
            RowType::Acquire => Kind::Acquire {
                via: self.via?,
                requested_port: self.requested_port,
                search_ns: self.search_ns,
                task: self.task(),
                sharing: self.sharing(),
            },
            RowType::Exhausted => Kind::Exhausted {
                via: self.via?,
                errno: self.errno?,
                search_ns: self.search_ns,
                own_range: self.other_socket.and_then(OwnRange::of_bits),
                task: self.task(),
                repeated: self.repeated(),
            },
            RowType::Conflict => Kind::Conflict {
                via: self.via?,
                errno: self.errno?,
                task: self.task(),
                repeated: self.repeated(),
            },
            RowType::Refused => Kind::Refused {
                via: self.via?,
                errno: self.errno?,
                refusal: self.refusal?,
                task: self.task(),
                repeated: self.repeated(),
            },
            RowType::Inherit => {
                Kind::Inherit { listener: SocketId(self.other_socket?), sharing: self.sharing() }
            }
            RowType::Listen => Kind::Listen,
            RowType::Accept => Kind::Accept { task: self.task()? },
            RowType::TimeWait => Kind::TimeWait {
                successor: self.other_socket.map(SocketId),
                done: self.has(flags::DONE),
                reuse: self.reuse(),
            },
            RowType::FinReceived => Kind::FinReceived,
            RowType::Rehash => Kind::Rehash,
            RowType::Release => Kind::Release { reason: self.reason? },
            RowType::State => Kind::State { old: self.old_state?, new: self.state? },
            RowType::Listed => Kind::Listed { state: self.state?, task: self.task() },
            RowType::InTheWay => Kind::InTheWay {
                state: self.state?,
                is_nobodys: self.has(flags::NOBODYS),
                task: self.task(),
            },
            RowType::Existing => {
                return Some(Event::Existing(Box::new(Existing {
                    time_ns,
                    socket: (self.socket != 0).then_some(socket),
                    flow,
                    state: self.state?,
                    reuse: self.has(flags::REUSE).then(|| self.reuse()),
                    sharing: self.sharing(),
                    blocked: self.has(flags::KNOWS_BLOCKED).then(|| self.has(flags::BLOCKED)),
                    task: self.task(),
                })));
            }
        };
        let kind = if self.has(flags::AGAIN) { Kind::Again(Box::new(kind)) } else { kind };
        Some(Event::Socket(SocketEvent { time_ns, socket, flow, kind }))
    }
}
