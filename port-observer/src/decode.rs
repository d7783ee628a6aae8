//! Bytes from the ring buffer → event. Pure: any bytes give an event or an error, never a panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use port_observer_ebpf::{
    ARGUMENTS_BYTES, CallRecord, DEVICE_SHIFT, ExecRecord, FLAG_AGAIN, FLAG_BLOCKED,
    FLAG_CONNECT_BIND, FLAG_FIN_WAIT2, FLAG_IPV6_ONLY, FLAG_REQUEST_UNKNOWN, FLAG_SOCKET_DONE,
    FLAG_TIMESTAMPS, ForkRecord, Kind as WireKind, Released, SocketRecord, TaskRecord,
    Via as WireVia,
};

use crate::event::{
    Endpoint, Event, Exec, Existing, Flow, Fork, Kind, LossKind, OwnRange, Protocol, Reason,
    Refusal, Repeated, Reuse, Sharing, SocketEvent, SocketId, Task, TcpState, Via,
};

/// Why a record makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Nothing at all.
    Empty,
    /// Byte 0 is no kind.
    UnknownKind(u8),
    /// A record of this kind has another length.
    Length {
        /// What the kind asks for, in bytes.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// A field has a value that it can't have.
    Field(&'static str, u64),
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => write!(f, "an empty record"),
            Self::UnknownKind(kind) => write!(f, "a record of unknown kind {kind}"),
            Self::Length { expected, found } => {
                write!(f, "a record of {found} bytes where {expected} belong")
            }
            Self::Field(name, value) => write!(f, "a record whose {name} is {value}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Reads one integer or byte array of a record by the name of its field.
macro_rules! field {
    ($bytes:expr, $record:ty, $($name:ident).+, $type:ty) => {
        <$type>::from_ne_bytes(array($bytes, std::mem::offset_of!($record, $($name).+)))
    };
}

/// The `N` bytes from `at` on; the callers have checked the record's length.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|b| b.try_into().ok()).unwrap_or([0; N])
}

/// The name of a wire kind, for messages about losses.
pub fn loss_kind(kind: WireKind) -> LossKind {
    match kind {
        WireKind::Acquire => LossKind::Acquire,
        WireKind::Exhausted => LossKind::Exhausted,
        WireKind::Conflict => LossKind::Conflict,
        WireKind::Inherit => LossKind::Inherit,
        WireKind::TimeWait => LossKind::TimeWait,
        WireKind::Release => LossKind::Release,
        WireKind::State => LossKind::State,
        WireKind::Exec => LossKind::Exec,
        WireKind::Fork => LossKind::Fork,
        WireKind::Accept => LossKind::Accept,
        WireKind::Listen => LossKind::Listen,
        WireKind::FinReceived => LossKind::FinReceived,
        WireKind::Existing => LossKind::Existing,
        WireKind::Rehash => LossKind::Rehash,
        WireKind::Refused => LossKind::Refused,
    }
}

/// Decodes one record.
///
/// # Errors
/// When the bytes are not a record that the kernel programs write.
pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    let number = *bytes.first().ok_or(DecodeError::Empty)?;
    let kind = WireKind::ALL
        .into_iter()
        .find(|&kind| kind as u8 == number)
        .ok_or(DecodeError::UnknownKind(number))?;
    match kind {
        WireKind::Acquire
        | WireKind::Exhausted
        | WireKind::Conflict
        | WireKind::Refused
        | WireKind::Accept => {
            check_length(bytes, size_of::<CallRecord>())?;
            call(kind, bytes)
        }
        WireKind::Existing => {
            check_length(bytes, size_of::<CallRecord>())?;
            existing(bytes)
        }
        WireKind::Inherit
        | WireKind::TimeWait
        | WireKind::Release
        | WireKind::State
        | WireKind::Listen
        | WireKind::FinReceived
        | WireKind::Rehash => {
            check_length(bytes, size_of::<SocketRecord>())?;
            socket(kind, bytes)
        }
        WireKind::Exec => {
            check_length(bytes, size_of::<ExecRecord>())?;
            exec(bytes)
        }
        WireKind::Fork => {
            check_length(bytes, size_of::<ForkRecord>())?;
            Ok(Event::Fork(Fork {
                child_pid: field!(bytes, ForkRecord, child_pid, u32),
                child_start_time_ns: field!(bytes, ForkRecord, child_start_time_ns, u64),
                parent_pid: field!(bytes, ForkRecord, parent_pid, u32),
                parent_start_time_ns: field!(bytes, ForkRecord, parent_start_time_ns, u64),
            }))
        }
    }
}

fn check_length(bytes: &[u8], expected: usize) -> Result<(), DecodeError> {
    if bytes.len() == expected {
        Ok(())
    } else {
        Err(DecodeError::Length { expected, found: bytes.len() })
    }
}

fn call(kind: WireKind, bytes: &[u8]) -> Result<Event, DecodeError> {
    // A CallRecord starts with its SocketRecord.
    let via = || match field!(bytes, SocketRecord, via, u8) {
        v if v == WireVia::Connect as u8 => Ok(Via::Connect),
        v if v == WireVia::Bind as u8 => Ok(Via::Bind),
        v if v == WireVia::Autobind as u8 => Ok(Via::Autobind),
        v if v == WireVia::Listen as u8 => Ok(Via::Listen),
        other => Err(DecodeError::Field("via", other.into())),
    };
    let errno = i32::from(field!(bytes, SocketRecord, errno, u16));
    let search_ns = Some(field!(bytes, CallRecord, search_ns, u64)).filter(|&ns| ns != 0);
    let task = task(&bytes[std::mem::offset_of!(CallRecord, task)..]);
    let repeated = Repeated::default();
    let kind = match kind {
        WireKind::Exhausted => {
            let own_range = OwnRange::of_bits(field!(bytes, SocketRecord, other, u64));
            Kind::Exhausted { via: via()?, errno, search_ns, own_range, task, repeated }
        }
        WireKind::Conflict => Kind::Conflict { via: via()?, errno, task, repeated },
        WireKind::Refused => {
            let via = via()?;
            let refusal = match via {
                Via::Connect => Refusal::NoSourceAddress,
                Via::Bind | Via::Autobind | Via::Listen => Refusal::AddressNotLocal,
            };
            Kind::Refused { via, errno, refusal, task, repeated }
        }
        WireKind::Accept => Kind::Accept { task: task.ok_or(DecodeError::Field("pid", 0))? },
        _ => {
            let via = via()?;
            let known = flags(bytes) & FLAG_REQUEST_UNKNOWN == 0;
            let requested_port = known.then(|| field!(bytes, SocketRecord, requested_port, u16));
            Kind::Acquire { via, requested_port, search_ns, task, sharing: sharing(bytes) }
        }
    };
    socket_event(bytes, kind)
}

fn socket(kind: WireKind, bytes: &[u8]) -> Result<Event, DecodeError> {
    let other = SocketId(field!(bytes, SocketRecord, other, u64));
    let kind = match kind {
        WireKind::Inherit => Kind::Inherit { listener: other, sharing: sharing(bytes) },
        WireKind::TimeWait => Kind::TimeWait {
            successor: (other.0 != 0).then_some(other),
            reuse: reuse(bytes),
            done: flags(bytes) & FLAG_SOCKET_DONE != 0,
        },
        WireKind::State => Kind::State {
            old: state("old_state", field!(bytes, SocketRecord, old_state, u8))?,
            new: state("new_state", field!(bytes, SocketRecord, new_state, u8))?,
        },
        WireKind::Listen => Kind::Listen,
        WireKind::FinReceived => Kind::FinReceived,
        WireKind::Rehash => Kind::Rehash,
        _ => Kind::Release {
            reason: match field!(bytes, SocketRecord, reason, u8) {
                r if r == Released::Closed as u8 => Reason::Closed,
                r if r == Released::TimeWaitExpired as u8 => Reason::TimeWaitExpired,
                r if r == Released::TimeWaitReused as u8 => Reason::TimeWaitReused,
                r if r == Released::TimeWaitReset as u8 => Reason::TimeWaitReset,
                other => return Err(DecodeError::Field("reason", other.into())),
            },
        },
    };
    socket_event(bytes, kind)
}

/// The word of flags of any record that begins with a [`SocketRecord`].
fn flags(bytes: &[u8]) -> u32 {
    field!(bytes, SocketRecord, flags, u32)
}

fn sharing(bytes: &[u8]) -> Sharing {
    let flags = flags(bytes);
    Sharing {
        connect_bind: flags & FLAG_CONNECT_BIND != 0,
        ipv6_only: flags & FLAG_IPV6_ONLY != 0,
        device: flags >> DEVICE_SHIFT,
    }
}

fn reuse(bytes: &[u8]) -> Reuse {
    let flags = flags(bytes);
    Reuse { fin_wait2: flags & FLAG_FIN_WAIT2 != 0, timestamps: flags & FLAG_TIMESTAMPS != 0 }
}

fn state(name: &'static str, number: u8) -> Result<TcpState, DecodeError> {
    TcpState::try_from(number).map_err(|n| DecodeError::Field(name, n.into()))
}

/// Whether the port of the record of an existing socket was asked for by number.
pub fn is_port_fixed(existing: &[u8]) -> bool {
    field!(existing, SocketRecord, requested_port, u16) != 0
}

fn existing(bytes: &[u8]) -> Result<Event, DecodeError> {
    let state = state("new_state", field!(bytes, SocketRecord, new_state, u8))?;
    let flow = flow(bytes)?;
    let is_tcp = flow.protocol == Protocol::Tcp;
    Ok(Event::Existing(Box::new(Existing {
        time_ns: field!(bytes, SocketRecord, time_ns, u64),
        socket: Some(SocketId(field!(bytes, SocketRecord, socket, u64))),
        flow,
        state,
        reuse: (is_tcp && state == TcpState::TIME_WAIT).then(|| reuse(bytes)),
        sharing: sharing(bytes),
        // UDP has no such bucket.
        blocked: is_tcp.then_some(flags(bytes) & FLAG_BLOCKED != 0),
        task: task(&bytes[std::mem::offset_of!(CallRecord, task)..]),
    })))
}

fn socket_event(bytes: &[u8], kind: Kind) -> Result<Event, DecodeError> {
    let is_again = flags(bytes) & FLAG_AGAIN != 0
        && matches!(kind, Kind::Acquire { .. } | Kind::TimeWait { .. } | Kind::Release { .. });
    let kind = if is_again { Kind::Again(Box::new(kind)) } else { kind };
    Ok(Event::Socket(SocketEvent {
        time_ns: field!(bytes, SocketRecord, time_ns, u64),
        socket: SocketId(field!(bytes, SocketRecord, socket, u64)),
        flow: flow(bytes)?,
        kind,
    }))
}

fn flow(bytes: &[u8]) -> Result<Flow, DecodeError> {
    let protocol = match field!(bytes, SocketRecord, protocol, u8) {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        other => return Err(DecodeError::Field("protocol", other.into())),
    };
    let family = field!(bytes, SocketRecord, family, u8);
    let address = |at| match family {
        2 => Ok(IpAddr::V4(Ipv4Addr::from(array::<4>(bytes, at)))),
        10 => Ok(IpAddr::V6(Ipv6Addr::from(array::<16>(bytes, at)))),
        other => Err(DecodeError::Field("family", other.into())),
    };
    let local = address(std::mem::offset_of!(SocketRecord, local_address))?;
    let remote = address(std::mem::offset_of!(SocketRecord, remote_address))?;
    let local = Endpoint::new(local, field!(bytes, SocketRecord, local_port, u16));
    let remote = Endpoint::new(remote, field!(bytes, SocketRecord, remote_port, u16));
    Ok(Flow {
        netns: field!(bytes, SocketRecord, netns, u32),
        protocol,
        local,
        remote: (!remote.is_unset()).then_some(remote),
    })
}

/// The task in the bytes of a [`TaskRecord`]; none if its pid is 0.
pub fn task(bytes: &[u8]) -> Option<Task> {
    let pid = field!(bytes, TaskRecord, pid, u32);
    (pid != 0).then(|| Task {
        pid,
        tid: field!(bytes, TaskRecord, tid, u32),
        name: text(&array::<16>(bytes, std::mem::offset_of!(TaskRecord, name))),
        uid: field!(bytes, TaskRecord, uid, u32),
        start_time_ns: field!(bytes, TaskRecord, start_time_ns, u64),
        cgroup_id: field!(bytes, TaskRecord, cgroup_id, u64),
    })
}

fn exec(bytes: &[u8]) -> Result<Event, DecodeError> {
    let part = |at: usize, length: usize| bytes.get(at..at + length).unwrap_or_default();
    let executable =
        part(std::mem::offset_of!(ExecRecord, executable), port_observer_ebpf::EXECUTABLE_BYTES);
    let cgroup_name =
        part(std::mem::offset_of!(ExecRecord, cgroup_name), port_observer_ebpf::CGROUP_NAME_BYTES);
    let length = field!(bytes, ExecRecord, arguments_length, u32) as usize;
    let arguments = part(std::mem::offset_of!(ExecRecord, arguments), length.min(ARGUMENTS_BYTES));
    let command_line = if arguments.is_empty() {
        Vec::new()
    } else {
        // One argument may be empty: it is its NUL alone.
        let arguments = arguments.strip_suffix(&[0]).unwrap_or(arguments);
        arguments.split(|&b| b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect()
    };
    // The kernel's copy ends with a NUL, so a full place means that it was cut.
    let is_cut = |place: &[u8]| !place[..place.len() - 1].contains(&0);
    let task = task(&bytes[std::mem::offset_of!(ExecRecord, task)..])
        .ok_or(DecodeError::Field("pid", 0))?;
    Ok(Event::Exec(Box::new(Exec {
        task,
        executable: text(executable),
        command_line,
        cgroup_name: text(cgroup_name),
        is_executable_cut: is_cut(executable),
        is_command_line_cut: length > ARGUMENTS_BYTES,
        is_cgroup_name_cut: is_cut(cgroup_name),
    })))
}

/// Up to the first NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests;
