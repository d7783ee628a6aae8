//! What holds for any record.

use port_observer_ebpf::{CGROUP_NAME_BYTES, EXECUTABLE_BYTES};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{super::*, CALLS, Wire};

const SOCKETS: [WireKind; 7] = [
    WireKind::Inherit,
    WireKind::TimeWait,
    WireKind::Release,
    WireKind::State,
    WireKind::Listen,
    WireKind::FinReceived,
    WireKind::Rehash,
];
/// Those about what a process did.
const CALLED: [WireKind; 5] = [
    WireKind::Refused,
    WireKind::Acquire,
    WireKind::Exhausted,
    WireKind::Conflict,
    WireKind::Accept,
];

fn length(kind: WireKind) -> usize {
    match kind {
        WireKind::Exec => size_of::<ExecRecord>(),
        WireKind::Fork => size_of::<ForkRecord>(),
        kind if CALLS.contains(&kind) => size_of::<CallRecord>(),
        _ => size_of::<SocketRecord>(),
    }
}

prop_compose! {
    fn socket_record(kinds: &'static [WireKind])(
        kind in select(kinds),
        family in select(&[2, 10]),
        protocol in select(&[6, 17]),
        (via, reason) in (1..=3u8, 1..=4u8),
        (old_state, new_state) in (1..=13u8, 1..=13u8),
        (time_ns, socket, netns) in any::<(u64, u64, u32)>(),
        other in prop_oneof![Just(0), any::<u64>()],
        local_address in any::<[u8; 16]>(),
        // A third of them is the peer of a socket that has none.
        (remote_address, remote_port) in prop_oneof![1 => Just(([0; 16], 0)), 2 => any::<([u8; 16], u16)>()],
        (local_port, requested_port, errno) in any::<(u16, u16, u16)>(),
        flags in any::<u32>(),
    ) -> SocketRecord {
        SocketRecord {
            kind: kind as u8, family, protocol, via, reason, old_state, new_state, reserved: 0,
            time_ns, socket, other, local_address, remote_address, netns, local_port, remote_port,
            requested_port, errno, flags,
        }
    }
}

/// A NUL-padded text of a fixed place, always with a NUL at its end.
fn place<const N: usize>() -> impl Strategy<Value = ([u8; N], String)> {
    "[ -~]{0,400}".prop_map(|text| {
        let kept = &text[..text.len().min(N - 1)];
        let mut bytes = [0; N];
        bytes[..kept.len()].copy_from_slice(kept.as_bytes());
        (bytes, kept.to_owned())
    })
}

prop_compose! {
    /// The wire's task and the event's.
    fn task_record()(
        (start_time_ns, cgroup_id, tid, uid) in any::<(u64, u64, u32, u32)>(),
        pid in 1..=u32::MAX,
        (bytes, name) in place::<16>(),
    ) -> (TaskRecord, Task) {
        let record = TaskRecord { start_time_ns, cgroup_id, pid, tid, uid, reserved: 0, name: bytes };
        (record, Task { pid, tid, name, uid, start_time_ns, cgroup_id })
    }
}

prop_compose! {
    fn call_record(kinds: &'static [WireKind])(
        socket in socket_record(kinds),
        search_ns in prop_oneof![Just(0), any::<u64>()],
        (task, expected) in task_record(),
    ) -> (CallRecord, Task) {
        (CallRecord { socket, search_ns, task }, expected)
    }
}

fn expected_via(via: u8) -> Via {
    [Via::Connect, Via::Bind, Via::Autobind, Via::Listen][usize::from(via) - 1]
}

fn endpoint(family: u8, address: [u8; 16], port: u16) -> Endpoint {
    let [a, b, c, d, ..] = address;
    let v4 = IpAddr::from([a, b, c, d]);
    Endpoint::new(if family == 2 { v4 } else { IpAddr::from(address) }, port)
}

fn is_zero(record: &SocketRecord) -> bool {
    let address = endpoint(record.family, record.remote_address, 0).address;
    record.remote_port == 0 && address.is_unspecified()
}

/// The event's parts that every socket record has.
fn check_socket(record: &SocketRecord, event: &Event) -> Result<Kind, TestCaseError> {
    let Event::Socket(event) = event else { panic!("{event:?}") };
    let SocketEvent { time_ns, socket, flow, kind } = event;
    let Flow { netns, protocol, local, remote } = *flow;
    prop_assert_eq!(*time_ns, record.time_ns);
    prop_assert_eq!(*socket, SocketId(record.socket));
    prop_assert_eq!(netns, record.netns);
    prop_assert_eq!(protocol, if record.protocol == 6 { Protocol::Tcp } else { Protocol::Udp });
    prop_assert_eq!(local, endpoint(record.family, record.local_address, record.local_port));
    let peer = endpoint(record.family, record.remote_address, record.remote_port);
    prop_assert_eq!(remote, if is_zero(record) { None } else { Some(peer) });
    Ok(kind.clone())
}

fn sharing(flags: u32) -> Sharing {
    Sharing { connect_bind: flags & 8 != 0, ipv6_only: flags & 16 != 0, device: flags >> 8 }
}

fn reuse(flags: u32) -> Reuse {
    Reuse { timestamps: flags & 32 != 0, fin_wait2: flags & 64 != 0 }
}

/// As told by somebody who can't be sure to be the first, if the flags say so.
fn marked(kind: Kind, flags: u32) -> Kind {
    if flags & FLAG_AGAIN != 0 { Kind::Again(Box::new(kind)) } else { kind }
}

proptest! {
    #[test]
    fn any_bytes_give_an_event_or_an_error(bytes in vec(any::<u8>(), 0..1200)) {
        let _ = decode(&bytes).map_err(|error| error.to_string());
    }

    #[test]
    fn any_bytes_of_the_right_kind_and_length_give_an_event_or_an_error(
        kind in select(&WireKind::ALL[..]),
        mut bytes in vec(any::<u8>(), 1000),
    ) {
        bytes[0] = kind as u8;
        bytes.truncate(length(kind));
        let result = decode(&bytes);
        prop_assert!(matches!(result, Ok(_) | Err(DecodeError::Field(..))), "{result:?}");
        prop_assert_eq!(bytes.len(), length(kind));
    }

    #[test]
    fn a_valid_record_with_one_byte_changed_gives_an_event_or_an_error(
        (record, _) in call_record(&CALLS),
        at in 0..size_of::<CallRecord>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = record.bytes();
        bytes[at] = byte;
        let _ = decode(&bytes).map_err(|error| error.to_string());
    }

    #[test]
    fn a_call_decodes_to_what_it_stands_for((record, task) in call_record(&CALLED)) {
        let event = decode(&record.bytes()).unwrap();
        let kind = check_socket(&record.socket, &event)?;
        let via = expected_via(record.socket.via);
        let errno = i32::from(record.socket.errno);
        let search_ns = if record.search_ns == 0 { None } else { Some(record.search_ns) };
        let expected = match record.socket.kind {
            1 => {
                let unknown = record.socket.flags & FLAG_REQUEST_UNKNOWN != 0;
                let requested_port = if unknown { None } else { Some(record.socket.requested_port) };
                let kind = Kind::Acquire {
                    via,
                    requested_port,
                    search_ns,
                    task: Some(task),
                    sharing: sharing(record.socket.flags),
                };
                marked(kind, record.socket.flags)
            }
            2 => Kind::Exhausted { via, errno, search_ns, own_range: OwnRange::of_bits(record.socket.other), task: Some(task), repeated: Repeated::default() },
            3 => Kind::Conflict { via, errno, task: Some(task), repeated: Repeated::default() },
            15 => {
                let is_connect = record.socket.via == 1;
                let refusal =
                    if is_connect { Refusal::NoSourceAddress } else { Refusal::AddressNotLocal };
                let repeated = Repeated::default();
                Kind::Refused { via, errno, refusal, task: Some(task), repeated }
            }
            _ => Kind::Accept { task },
        };
        prop_assert_eq!(kind, expected);
    }

    #[test]
    fn a_call_without_a_pid_has_no_task((mut record, _) in call_record(&CALLED)) {
        record.task.pid = 0;
        record.socket.flags &= !FLAG_AGAIN;
        let result = decode(&record.bytes());
        if record.socket.kind == WireKind::Accept as u8 {
            prop_assert_eq!(result, Err(DecodeError::Field("pid", 0)));
        } else {
            let kind = check_socket(&record.socket, &result.unwrap())?;
            let (Kind::Acquire { task, .. }
            | Kind::Exhausted { task, .. }
            | Kind::Conflict { task, .. }
            | Kind::Refused { task, .. }) = kind
            else {
                panic!("{kind:?}")
            };
            prop_assert_eq!(task, None);
        }
    }

    #[test]
    fn what_happened_to_a_socket_decodes_to_what_it_stands_for(record in socket_record(&SOCKETS)) {
        let event = decode(&record.bytes()).unwrap();
        let kind = check_socket(&record, &event)?;
        let other = SocketId(record.other);
        let reasons = [
            Reason::Closed,
            Reason::TimeWaitExpired,
            Reason::TimeWaitReused,
            Reason::TimeWaitReset,
        ];
        let expected = match record.kind {
            4 => Kind::Inherit { listener: other, sharing: sharing(record.flags) },
            5 => {
                let kind = Kind::TimeWait {
                    successor: if record.other == 0 { None } else { Some(other) },
                    done: record.flags & 2 != 0,
                    reuse: reuse(record.flags),
                };
                marked(kind, record.flags)
            }
            6 => {
                let kind = Kind::Release { reason: reasons[usize::from(record.reason) - 1] };
                marked(kind, record.flags)
            }
            number if number == WireKind::Listen as u8 => Kind::Listen,
            number if number == WireKind::FinReceived as u8 => Kind::FinReceived,
            number if number == WireKind::Rehash as u8 => Kind::Rehash,
            _ => Kind::State {
                old: TcpState::try_from(record.old_state).unwrap(),
                new: TcpState::try_from(record.new_state).unwrap(),
            },
        };
        prop_assert_eq!(kind, expected);
    }

    #[test]
    fn what_an_iterator_found_decodes_to_what_it_stands_for(
        (mut record, task) in call_record(&[WireKind::Existing]),
        has_task in any::<bool>(),
    ) {
        record.task.pid = if has_task { record.task.pid } else { 0 };
        let Event::Existing(existing) = decode(&record.bytes()).unwrap() else { panic!() };
        let socket = record.socket;
        let peer = endpoint(socket.family, socket.remote_address, socket.remote_port);
        let is_tcp = socket.protocol == 6;
        let expected = Existing {
            time_ns: socket.time_ns,
            socket: Some(SocketId(socket.socket)),
            flow: Flow {
                netns: socket.netns,
                protocol: if is_tcp { Protocol::Tcp } else { Protocol::Udp },
                local: endpoint(socket.family, socket.local_address, socket.local_port),
                remote: if is_zero(&socket) { None } else { Some(peer) },
            },
            state: TcpState::try_from(socket.new_state).unwrap(),
            reuse: (is_tcp && socket.new_state == 6).then(|| reuse(socket.flags)),
            sharing: sharing(socket.flags),
            blocked: is_tcp.then_some(socket.flags & 128 != 0),
            task: has_task.then_some(task),
        };
        prop_assert_eq!(*existing, expected);
    }

    #[test]
    fn a_fork_decodes_to_what_it_stands_for(
        (time_ns, child_start_time_ns, parent_start_time_ns) in any::<(u64, u64, u64)>(),
        (child_pid, parent_pid) in any::<(u32, u32)>(),
    ) {
        let record = ForkRecord {
            kind: WireKind::Fork as u8, reserved: [0; 7], time_ns,
            child_start_time_ns, parent_start_time_ns, child_pid, parent_pid,
        };
        let expected = Fork { child_pid, child_start_time_ns, parent_pid, parent_start_time_ns };
        prop_assert_eq!(decode(&record.bytes()), Ok(Event::Fork(expected)));
    }

    #[test]
    fn an_exec_decodes_to_what_it_stands_for(
        (task, expected_task) in task_record(),
        (executable, executable_text) in place::<EXECUTABLE_BYTES>(),
        (cgroup_name, cgroup_text) in place::<CGROUP_NAME_BYTES>(),
        command_line in vec("[ -~é]{0,40}", 0..24),
    ) {
        let whole: Vec<u8> = command_line.iter().flat_map(|a| [a.as_bytes(), &[0]].concat()).collect();
        let mut arguments = [0; ARGUMENTS_BYTES];
        let kept = whole.len().min(ARGUMENTS_BYTES);
        arguments[..kept].copy_from_slice(&whole[..kept]);
        let record = ExecRecord {
            kind: WireKind::Exec as u8, reserved: [0; 3], arguments_length: whole.len() as u32,
            time_ns: 0, task, executable, cgroup_name, arguments,
        };
        let Event::Exec(exec) = decode(&record.bytes()).unwrap() else { panic!("not an exec") };
        let is_full = executable_text.len() == EXECUTABLE_BYTES - 1;
        prop_assert_eq!(exec.is_executable_cut, is_full);
        prop_assert_eq!(exec.is_cgroup_name_cut, cgroup_text.len() == CGROUP_NAME_BYTES - 1);
        prop_assert_eq!(exec.is_command_line_cut, whole.len() > ARGUMENTS_BYTES);
        prop_assert_eq!(exec.task, expected_task);
        prop_assert_eq!(exec.executable, executable_text);
        prop_assert_eq!(exec.cgroup_name, cgroup_text);
        if whole.len() <= ARGUMENTS_BYTES {
            prop_assert_eq!(exec.command_line, command_line);
        } else {
            // All but the last, which may be cut, are whole.
            let (_, whole_ones) = exec.command_line.split_last().unwrap();
            prop_assert!(command_line.starts_with(whole_ones));
        }
    }
}
