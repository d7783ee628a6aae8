mod properties;

use port_observer_ebpf::{CGROUP_NAME_BYTES, EXECUTABLE_BYTES};

use super::*;

/// A wire type, as the bytes that the ring buffer hands over.
trait Wire: Copy {
    fn bytes(&self) -> Vec<u8> {
        let record: *const Self = self;
        // SAFETY: implemented only for wire types, which have no padding (the eBPF package asserts
        // their sizes): every byte is initialised.
        unsafe { std::slice::from_raw_parts(record.cast(), size_of::<Self>()) }.to_vec()
    }
}

impl Wire for SocketRecord {}
impl Wire for CallRecord {}
impl Wire for ExecRecord {}
impl Wire for ForkRecord {}

const CALLS: [WireKind; 6] = [
    WireKind::Refused,
    WireKind::Acquire,
    WireKind::Exhausted,
    WireKind::Conflict,
    WireKind::Accept,
    WireKind::Existing,
];
/// A valid record of each kind.
fn valid(kind: WireKind) -> Vec<u8> {
    let socket = SocketRecord {
        kind: kind as u8,
        family: 2,
        protocol: 6,
        via: WireVia::Connect as u8,
        reason: Released::Closed as u8,
        old_state: 1,
        new_state: 7,
        ..SocketRecord::default()
    };
    let task = TaskRecord { pid: 1, ..TaskRecord::default() };
    match kind {
        WireKind::Exec => ExecRecord {
            kind: kind as u8,
            reserved: [0; 3],
            arguments_length: 0,
            time_ns: 0,
            task,
            executable: [0; EXECUTABLE_BYTES],
            cgroup_name: [0; CGROUP_NAME_BYTES],
            arguments: [0; ARGUMENTS_BYTES],
        }
        .bytes(),
        WireKind::Fork => ForkRecord { kind: kind as u8, ..ForkRecord::default() }.bytes(),
        kind if CALLS.contains(&kind) => CallRecord { socket, search_ns: 0, task }.bytes(),
        _ => socket.bytes(),
    }
}

#[test]
fn an_empty_record_is_an_error() {
    assert_eq!(decode(&[]), Err(DecodeError::Empty));
}

#[test]
fn a_byte_that_is_no_kind_is_an_error_whatever_follows() {
    let known: Vec<u8> = WireKind::ALL.iter().map(|&kind| kind as u8).collect();
    for number in (0..=u8::MAX).filter(|number| !known.contains(number)) {
        for length in [1, 40, 80, 136, 960] {
            let mut bytes = vec![0; length];
            bytes[0] = number;
            assert_eq!(decode(&bytes), Err(DecodeError::UnknownKind(number)));
        }
    }
}

#[test]
fn every_kind_with_every_wrong_length_is_an_error() {
    for kind in WireKind::ALL {
        let record = valid(kind);
        assert!(decode(&record).is_ok(), "{kind:?}");
        let mut long = record.clone();
        long.resize(record.len() + 300, 0);
        for found in (1..long.len()).filter(|&found| found != record.len()) {
            let expected = record.len();
            assert_eq!(decode(&long[..found]), Err(DecodeError::Length { expected, found }));
        }
    }
}

#[test]
fn a_field_that_has_no_such_value_is_named_in_the_error() {
    use std::mem::offset_of;
    let family = offset_of!(SocketRecord, family);
    let protocol = offset_of!(SocketRecord, protocol);
    let via = offset_of!(SocketRecord, via);
    let reason = offset_of!(SocketRecord, reason);
    let old = offset_of!(SocketRecord, old_state);
    let new = offset_of!(SocketRecord, new_state);
    let exec_pid = offset_of!(ExecRecord, task) + offset_of!(TaskRecord, pid);
    let call_pid = offset_of!(CallRecord, task) + offset_of!(TaskRecord, pid);
    let cases = [
        (WireKind::Acquire, family, 0, "family"),
        (WireKind::Release, family, 1, "family"),
        (WireKind::State, family, 255, "family"),
        (WireKind::Conflict, protocol, 0, "protocol"),
        (WireKind::Inherit, protocol, 58, "protocol"),
        (WireKind::Acquire, via, 0, "via"),
        (WireKind::Exhausted, via, 5, "via"),
        (WireKind::Conflict, via, 255, "via"),
        (WireKind::Release, reason, 0, "reason"),
        (WireKind::Release, reason, 5, "reason"),
        (WireKind::State, old, 0, "old_state"),
        (WireKind::State, new, 14, "new_state"),
        (WireKind::Existing, new, 14, "new_state"),
        (WireKind::Existing, family, 0, "family"),
        (WireKind::Listen, protocol, 58, "protocol"),
        (WireKind::Accept, call_pid, 0, "pid"),
        (WireKind::Exec, exec_pid, 0, "pid"),
    ];
    for (kind, at, value, field) in cases {
        let mut bytes = valid(kind);
        bytes[at] = value;
        if field == "pid" {
            bytes[at..at + 4].fill(value);
        }
        let error = decode(&bytes).unwrap_err();
        assert_eq!(error, DecodeError::Field(field, value.into()), "{kind:?}");
        assert!(error.to_string().contains(field));
    }
}

#[test]
fn an_ipv4_address_is_the_first_four_bytes() {
    let mut record = SocketRecord { family: 2, protocol: 6, ..SocketRecord::default() };
    record.kind = WireKind::Inherit as u8;
    record.local_address = [127, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
    record.local_port = 40000;
    let Ok(Event::Socket(event)) = decode(&record.bytes()) else { panic!() };
    assert_eq!(event.flow.local.to_string(), "127.0.0.1:40000");
    assert_eq!(event.flow.remote, None);
}

#[test]
fn a_v4_mapped_address_is_the_ipv4_address_that_it_is_on_the_wire() {
    let mut record = SocketRecord { family: 10, protocol: 6, ..SocketRecord::default() };
    record.kind = WireKind::Inherit as u8;
    record.remote_address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1];
    record.remote_port = 80;
    let Ok(Event::Socket(event)) = decode(&record.bytes()) else { panic!() };
    assert_eq!(event.flow.remote.unwrap().to_string(), "10.0.0.1:80");
}

#[test]
fn bytes_that_are_no_utf8_are_replaced() {
    let mut bytes = valid(WireKind::Exec);
    let at = std::mem::offset_of!(ExecRecord, executable);
    bytes[at..at + 3].copy_from_slice(&[b'a', 0xff, b'b']);
    let Ok(Event::Exec(exec)) = decode(&bytes) else { panic!() };
    assert_eq!(exec.executable, "a\u{fffd}b");
}

#[test]
fn a_place_that_is_full_to_its_last_byte_was_cut() {
    let mut bytes = valid(WireKind::Exec);
    let at = std::mem::offset_of!(ExecRecord, executable);
    bytes[at..at + EXECUTABLE_BYTES].fill(b'x');
    let Ok(Event::Exec(exec)) = decode(&bytes) else { panic!() };
    assert_eq!(exec.executable.len(), EXECUTABLE_BYTES);
    assert!(exec.is_executable_cut && !exec.is_command_line_cut);
}

#[test]
fn one_empty_argument_is_not_no_argument() {
    let mut bytes = valid(WireKind::Exec);
    let at = std::mem::offset_of!(ExecRecord, arguments_length);
    for (length, expected) in [(0u32, vec![]), (1, vec![""]), (2, vec!["", ""])] {
        bytes[at..at + 4].copy_from_slice(&length.to_ne_bytes());
        let Ok(Event::Exec(exec)) = decode(&bytes) else { panic!() };
        assert_eq!(exec.command_line, expected);
    }
}
