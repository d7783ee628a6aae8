//! What a scan finds, joined with what events told.

use super::*;
use crate::event::{Existing, LossPlace};

/// The time of scans: after whatever was told before.
const LATER: u64 = 1_000_000;

fn existing(socket: Option<SocketId>, flow: Flow, state: TcpState) -> Existing {
    Existing {
        time_ns: LATER,
        socket,
        flow,
        state,
        reuse: (state == TcpState::TIME_WAIT).then_some(NO_REUSE),
        sharing: Sharing::default(),
        blocked: Some(false),
        task: Some(task("old")),
    }
}

impl Book {
    fn scan_begins(&mut self) {
        self.now_ns = LATER;
        self.apply(Event::ScanBegins);
    }

    fn finds(&mut self, socket: SocketId, flow: Flow, state: TcpState) -> Vec<String> {
        self.now_ns = LATER;
        self.apply(Event::Existing(Box::new(existing(Some(socket), flow, state))))
    }

    /// How many found no room since the last call.
    fn unaccounted(&mut self) -> u64 {
        let mut out = Vec::new();
        self.ledger.tick(self.now_ns, &mut out);
        let lost = out.iter().map(|report| match report.body {
            Body::Lost { count, place: LossPlace::Ledger, .. } => count,
            _ => 0,
        });
        lost.sum()
    }

    fn scan_ends(&mut self) -> Vec<String> {
        self.now_ns = LATER;
        self.apply(Event::ScanEnded { skipped: Vec::new() })
    }
}

#[test]
fn what_was_held_before_is_told_once_and_its_release_too() {
    let mut book = Book::new();
    book.scan_begins();
    let said = book.finds(SOCKET, to_web(40000), TcpState::ESTABLISHED);
    assert_eq!(said, ["existing 40000>10.0.0.9:80 old"]);
    assert_eq!(book.finds(SOCKET, to_web(40000), TcpState::ESTABLISHED), NO_LINES);
    assert_eq!(book.scan_ends(), NO_LINES);
    let said = book.tell(SOCKET, to_web(40000), CLOSED);
    assert_eq!(said, ["release closed 40000>10.0.0.9:80 old"]);
    assert!(book.ledger.holdings().is_empty());
}

#[test]
fn what_an_event_told_before_the_scan_is_not_told_again() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.scan_begins();
    assert_eq!(book.finds(SOCKET, to_web(40000), TcpState::ESTABLISHED), NO_LINES);
    assert_eq!(book.scan_ends(), NO_LINES);
    let said = book.tell(SOCKET, to_web(40000), CLOSED);
    assert!(said[0].contains("curl"), "{said:?}");
}

#[test]
fn what_was_released_while_the_list_was_read_does_not_come_back() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.scan_begins();
    book.tell(SOCKET, to_web(40000), CLOSED);
    assert_eq!(book.finds(SOCKET, to_web(40000), TcpState::ESTABLISHED), NO_LINES);
    // Nor does what nobody knew.
    book.tell(OTHER, to_web(40001), CLOSED);
    assert_eq!(book.finds(OTHER, to_web(40001), TcpState::ESTABLISHED), NO_LINES);
    assert_eq!(book.scan_ends(), NO_LINES);
    assert!(book.ledger.holdings().is_empty());
}

#[test]
fn an_acquire_that_the_list_was_faster_than_is_the_same_port() {
    for kind in [connect("curl"), bind("curl")] {
        let mut book = Book::new();
        book.scan_begins();
        let mut found = existing(Some(SOCKET), to_web(40000), TcpState::SYN_SENT);
        found.task = None;
        let said = book.apply(Event::Existing(Box::new(found)));
        assert_eq!(said, ["existing 40000>10.0.0.9:80 -"]);
        assert_eq!(book.tell(SOCKET, to_web(40000), kind), NO_LINES);
        book.scan_ends();
        let said = book.tell(SOCKET, to_web(40000), CLOSED);
        assert!(said[0].contains("curl"), "{said:?}");
        assert_eq!(book.totals(), (0, 1, 0));
    }
}

#[test]
fn an_acquire_that_a_later_list_was_faster_than_is_told_as_one() {
    for (kind, said) in [
        (connect("curl"), "acquire connect 40000>10.0.0.9:80 curl"),
        (bind("curl"), "acquire bind 40000>10.0.0.9:80 curl"),
    ] {
        let mut book = Book::new();
        book.scan_begins();
        book.scan_ends();
        book.scan_begins();
        let mut found = existing(Some(SOCKET), to_web(40000), TcpState::SYN_SENT);
        found.sharing.connect_bind = matches!(kind, Kind::Acquire { via: Via::Connect, .. });
        assert_eq!(book.apply(Event::Existing(Box::new(found))), NO_LINES);
        assert_eq!(book.tell(SOCKET, to_web(40000), kind), [said]);
        assert_eq!(book.scan_ends(), NO_LINES);
        assert_eq!(book.totals(), (1, 0, 0));
        assert_eq!(book.ledger.holdings().len(), 1);
    }
}

#[test]
fn what_a_later_scan_has_found_is_told_at_its_end_or_before_its_release() {
    let mut book = Book::new();
    book.scan_begins();
    book.scan_ends();
    book.scan_begins();
    book.finds(OTHER, to_web(40001), TcpState::ESTABLISHED);
    book.finds(SOCKET, to_web(40000), TcpState::ESTABLISHED);
    book.finds(ENTRY, to_web(40002), TcpState::ESTABLISHED);
    book.ledger.holdings.advance(LATER);
    let mut out = Vec::new();
    let (time_ns, socket, flow) = (LATER, SOCKET, to_web(40000));
    let event = Event::Socket(SocketEvent { time_ns, socket, flow, kind: CLOSED });
    let caller = caller(&event);
    book.ledger.apply(LATER, event, caller, &mut out);
    let said: Vec<String> = out.iter().map(|report| line(&report.body)).collect();
    assert_eq!(said, ["existing 40000>10.0.0.9:80 old", "release closed 40000>10.0.0.9:80 old"]);
    let said = book.scan_ends();
    assert_eq!(said, ["existing 40001>10.0.0.9:80 old", "existing 40002>10.0.0.9:80 old"]);
}

#[test]
fn what_was_known_and_is_not_found_is_gone() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.tell(OTHER, bound(8080), bind("web"));
    book.scan_begins();
    book.finds(OTHER, bound(8080), TcpState::LISTEN);
    // Came while the scan ran, behind its back.
    book.tell(ENTRY, to_web(40002), connect("new"));
    let said = book.scan_ends();
    assert_eq!(said, ["release reconciled 40000>10.0.0.9:80 curl 999990ns"]);
    assert_eq!(book.ledger.holdings().len(), 2);
}

#[test]
fn a_namespace_that_could_not_be_looked_into_keeps_what_it_had() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.scan_begins();
    book.now_ns = LATER;
    assert_eq!(book.apply(Event::ScanEnded { skipped: vec![NETNS] }), NO_LINES);
    assert_eq!(book.ledger.holdings().len(), 1);
}

#[test]
fn an_entry_of_time_wait_that_only_its_flow_names_is_found_by_it() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.tell(SOCKET, to_web(40000), TIME_WAIT_UNNAMED);
    book.scan_begins();
    let found = existing(None, to_web(40000), TcpState::TIME_WAIT);
    assert_eq!(book.apply(Event::Existing(Box::new(found))), NO_LINES);
    assert_eq!(book.scan_ends(), NO_LINES);
    assert_eq!(book.ledger.holdings().time_waits().len(), 1);
}

#[test]
fn time_wait_that_is_not_told_yet_is_not_another_port() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.scan_begins();
    let found = existing(None, to_web(40000), TcpState::TIME_WAIT);
    assert_eq!(book.apply(Event::Existing(Box::new(found))), NO_LINES);
    let said = book.tell(SOCKET, to_web(40000), TIME_WAIT_UNNAMED);
    assert_eq!(said, ["time_wait 40000>10.0.0.9:80 curl"]);
    assert_eq!(book.scan_ends(), NO_LINES);
    assert_eq!(book.ledger.holdings().len(), 1);
}

#[test]
fn time_wait_whose_beginning_was_lost_keeps_its_owner() {
    for entry in [None, Some(ENTRY)] {
        let mut book = Book::new();
        book.tell(SOCKET, to_web(40000), connect("curl"));
        book.scan_begins();
        let found = existing(entry, to_web(40000), TcpState::TIME_WAIT);
        assert_eq!(book.apply(Event::Existing(Box::new(found))), NO_LINES);
        assert_eq!(book.scan_ends(), ["time_wait 40000>10.0.0.9:80 curl"]);
        let expired = Kind::Release { reason: Reason::TimeWaitExpired };
        let said = book.tell(entry.unwrap_or(SocketId(0)), to_web(40000), expired);
        assert!(said[0].contains("curl"), "{said:?}");
        assert!(book.ledger.holdings().is_empty());
    }
}

#[test]
fn time_wait_whose_socket_is_another_one_by_now_keeps_its_owner() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.scan_begins();
    assert_eq!(book.finds(ENTRY, to_web(40000), TcpState::TIME_WAIT), NO_LINES);
    let said = book.finds(SOCKET, to_web(40007), TcpState::ESTABLISHED);
    assert_eq!(said, ["time_wait 40000>10.0.0.9:80 curl", "existing 40007>10.0.0.9:80 old"]);
    assert_eq!(book.scan_ends(), NO_LINES);
    assert_eq!(book.ledger.holdings().len(), 2);
}

#[test]
fn an_address_that_is_another_sockets_by_now_ends_the_one_before() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.scan_begins();
    let said = book.finds(SOCKET, to_web(40007), TcpState::ESTABLISHED);
    let expected =
        ["release reconciled 40000>10.0.0.9:80 curl 999990ns", "existing 40007>10.0.0.9:80 old"];
    assert_eq!(said, expected);
}

#[test]
fn an_accepted_connection_is_counted_but_has_no_port_of_its_own_to_tell() {
    let mut book = Book::new();
    book.scan_begins();
    book.finds(OTHER, bound(8080), TcpState::LISTEN);
    let mut child = existing(Some(SOCKET), to_web(8080), TcpState::ESTABLISHED);
    child.blocked = Some(true);
    assert_eq!(book.apply(Event::Existing(Box::new(child))), NO_LINES);
    assert_eq!(book.scan_ends(), NO_LINES);
    assert_eq!(book.ledger.holdings().len(), 2);
    assert_eq!(book.tell(SOCKET, to_web(8080), CLOSED), NO_LINES);
}

#[test]
fn one_accepted_by_a_listener_that_came_after_the_scan_had_its_listeners_is_not_told() {
    let mut book = Book::new();
    book.scan_begins();
    book.tell(OTHER, bound(8080), bind("web"));
    book.tell(OTHER, bound(8080), Kind::Listen);
    let mut child = existing(Some(SOCKET), to_web(8080), TcpState::ESTABLISHED);
    child.blocked = Some(true);
    assert_eq!(book.apply(Event::Existing(Box::new(child))), NO_LINES);
    assert_eq!(book.tell(SOCKET, to_web(8080), CLOSED), NO_LINES);
}

#[test]
fn what_was_found_at_an_address_before_its_socket_took_another_port_is_old() {
    let mut book = Book::new();
    book.scan_begins();
    book.now_ns = LATER;
    book.tell(SOCKET, to_web(40001), connect("new"));
    assert_eq!(book.finds(SOCKET, to_web(40000), TcpState::ESTABLISHED), NO_LINES);
    assert_eq!(book.scan_ends(), NO_LINES);
    assert_eq!(book.ledger.holdings().len(), 1);
}

#[test]
fn what_there_is_no_room_for_is_counted_once() {
    let mut book = Book::with(Options { max_holdings: 1, ..Options::default() });
    let (early, third) = (SocketId(31), SocketId(33));
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.tell(early, to_web(40003), connect("curl"));
    book.scan_begins();
    book.tell(OTHER, to_web(40001), connect("curl"));
    assert_eq!(book.finds(early, to_web(40003), TcpState::ESTABLISHED), NO_LINES);
    assert_eq!(book.finds(OTHER, to_web(40001), TcpState::ESTABLISHED), NO_LINES);
    let said = book.finds(third, to_web(40002), TcpState::ESTABLISHED);
    assert_eq!(said, ["existing 40002>10.0.0.9:80 old"]);
    book.finds(SOCKET, to_web(40000), TcpState::ESTABLISHED);
    assert_eq!(book.scan_ends(), NO_LINES);
    assert_eq!(book.unaccounted(), 3);

    book.scan_begins();
    for (socket, port) in [(SOCKET, 40000), (OTHER, 40001), (third, 40002)] {
        assert_eq!(book.finds(socket, to_web(port), TcpState::ESTABLISHED), NO_LINES);
    }
    assert_eq!(book.scan_ends(), NO_LINES);
    assert_eq!(book.unaccounted(), 0);
}

#[test]
fn all_is_known_once_a_scan_has_ended() {
    let mut book = Book::new();
    assert!(!book.ledger.knows_all());
    book.scan_begins();
    book.finds(SOCKET, to_web(40000), TcpState::ESTABLISHED);
    assert!(!book.ledger.knows_all());
    book.scan_ends();
    book.scan_begins();
    assert!(book.ledger.knows_all());
}

#[test]
fn all_is_known_once_it_is_restored() {
    let mut book = Book::new();
    let checkpoint = book.ledger.holdings().checkpoint();
    book.ledger.restore(0, checkpoint, &mut Vec::new());
    assert!(book.ledger.knows_all());
}

#[test]
fn a_refused_connect_leaves_the_peer_that_it_was_for() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(4000), bind("curl"));
    book.scan_begins();
    let left = Flow { remote: Some(endpoint("10.0.0.9:0")), ..to_web(4000) };
    assert_eq!(book.finds(SOCKET, left, TcpState::CLOSE), NO_LINES);
    book.scan_ends();
    let said = book.tell(SOCKET, left, CLOSED);
    assert!(said[0].starts_with("release closed 4000>10.0.0.9:80 curl"), "{said:?}");
}

#[test]
fn that_ports_are_left_is_not_said_before_it_is_known_who_holds_them() {
    let mut book = Book::new();
    book.apply(spaces::settings(40000, 40001, 1, 0));
    let headroom = |book: &mut Book| {
        let kind = Kind::Exhausted {
            via: Via::Connect,
            errno: 99,
            search_ns: None,
            own_range: None,
            task: None,
            repeated: crate::event::Repeated::default(),
        };
        let mut out = Vec::new();
        let event = SocketEvent { time_ns: LATER, socket: OTHER, flow: to_web(0), kind };
        book.ledger.apply(LATER, Event::Socket(event), None, &mut out);
        let Body::Exhausted { story, .. } = &out[0].body else { panic!("{out:?}") };
        story.as_ref().map(|story| story.space.headroom)
    };
    book.scan_begins();
    assert_eq!(headroom(&mut book), None);
    book.finds(SOCKET, to_web(40000), TcpState::ESTABLISHED);
    assert_eq!(headroom(&mut book), None);
    book.finds(SocketId(33), to_web(40001), TcpState::ESTABLISHED);
    assert_eq!(headroom(&mut book), Some(0), "nothing that comes makes it more");
    book.scan_ends();
    assert_eq!(headroom(&mut book), Some(0));
}
