//! Lists that are handed over after events that are newer than what they show.

use super::*;
use crate::event::Existing;

/// When the list was read: after whatever was told before.
const READ_NS: u64 = 1_000_000;

impl Book {
    /// Events from now on are newer than the list.
    fn list_is_read(&mut self) {
        self.now_ns = READ_NS;
        self.apply(Event::ScanBegins);
    }

    fn listed(&mut self, socket: SocketId, flow: Flow, state: TcpState, reuse: Option<Reuse>) {
        self.listed_as(Existing { reuse, ..found(socket, flow, state) });
    }

    fn listed_as(&mut self, found: Existing) {
        let mut out = Vec::new();
        let (event, later_ns) = (Event::Existing(Box::new(found)), self.now_ns);
        self.ledger.apply(later_ns, event, None, &mut out);
        assert!(out.is_empty(), "{out:?}");
    }

    /// How many ports can't be had for a connect() from 10.0.0.1 to this address.
    fn used_to(&self, destination: &str) -> Option<u32> {
        self.ledger.holdings().used(&spaces::connect_space("10.0.0.1", destination))
    }

    fn scan_is_over(&mut self) {
        assert_eq!(self.apply(Event::ScanEnded { skipped: Vec::new() }), NO_LINES);
    }

    /// What holds a port, and where.
    fn only_holding(&self) -> (Holds, Flow) {
        let holdings: Vec<&Holding> = self.ledger.holdings().iter().collect();
        let [holding] = holdings[..] else { panic!("{holdings:?}") };
        (holding.holds, holding.flow())
    }
}

fn found(socket: SocketId, flow: Flow, state: TcpState) -> Existing {
    Existing {
        time_ns: READ_NS,
        socket: Some(socket),
        flow,
        state,
        reuse: None,
        sharing: Sharing::default(),
        blocked: Some(true),
        task: Some(task("old")),
    }
}

fn bound_at(address: &str) -> Flow {
    Flow { local: endpoint(address), ..bound(0) }
}

#[test]
fn a_socket_at_the_address_and_port_of_one_that_was_listed_stays_where_it_is() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.list_is_read();
    book.tell(SOCKET, to_web(40000), CLOSED);
    // The kernel gives out the memory of the socket that was freed last.
    let mine = bound_at("10.0.0.4:40000");
    book.tell(SOCKET, mine, bind("web"));
    book.listed(SOCKET, to_web(40000), TcpState::ESTABLISHED, None);
    book.scan_is_over();
    assert_eq!(book.only_holding(), (Holds::Bound, mine));
    let said = book.tell(SOCKET, mine, CLOSED);
    assert_eq!(said, ["release closed 40000> web 10ns"]);
}

#[test]
fn a_connection_does_not_lose_its_peer_to_a_list_from_before_it() {
    let mut book = Book::new();
    book.tell(SOCKET, bound_at("0.0.0.0:40000"), bind("curl"));
    book.list_is_read();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.listed(SOCKET, bound_at("0.0.0.0:40000"), TcpState::BOUND_INACTIVE, None);
    book.scan_is_over();
    assert_eq!(book.only_holding(), (Holds::Connected, to_web(40000)));
}

#[test]
fn a_listener_is_one_whatever_a_list_from_before_says() {
    let mut book = Book::new();
    book.tell(SOCKET, bound(8080), bind("web"));
    book.list_is_read();
    book.tell(SOCKET, bound(8080), Kind::Listen);
    book.listed(SOCKET, bound(8080), TcpState::BOUND_INACTIVE, None);
    book.scan_is_over();
    assert_eq!(book.only_holding(), (Holds::Listening, bound(8080)));
}

#[test]
fn a_fin_that_came_after_the_list_was_read_has_come() {
    let awaits = Reuse { fin_wait2: true, timestamps: true };
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    let kind = Kind::TimeWait { successor: Some(ENTRY), done: true, reuse: awaits };
    book.tell(SOCKET, to_web(40000), kind);
    book.list_is_read();
    book.tell(ENTRY, to_web(40000), Kind::FinReceived);
    book.listed(ENTRY, to_web(40000), TcpState::TIME_WAIT, Some(awaits));
    book.scan_is_over();
    let entry = book.ledger.holdings().iter().next().unwrap();
    assert_eq!(entry.reuse, Reuse { fin_wait2: false, timestamps: true });
}

#[test]
fn a_list_that_is_newer_than_what_was_told_completes_it() {
    let mut book = Book::new();
    book.tell(SOCKET, bound_at("0.0.0.0:40000"), bind("curl"));
    book.list_is_read();
    // Its connect() was lost.
    book.listed(SOCKET, to_web(40000), TcpState::ESTABLISHED, None);
    book.scan_is_over();
    assert_eq!(book.only_holding(), (Holds::Connected, to_web(40000)));
}

#[test]
fn a_port_that_was_bound_since_the_list_was_read_is_passed_over_for_as_long_as_it_is_held() {
    let mut book = Book::with(Options { sticky: true, ..Options::default() });
    book.apply(spaces::settings(40000, 40001, 1, 0));
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.list_is_read();
    let other = bound_at("10.0.0.4:40000");
    book.tell(OTHER, other, bind("web"));
    book.tell(OTHER, other, CLOSED);
    let found = found(SOCKET, to_web(40000), TcpState::ESTABLISHED);
    book.listed_as(Existing { blocked: Some(false), ..found });
    book.scan_is_over();
    assert_eq!(book.used_to("10.0.0.9:443"), Some(1));
}

#[test]
fn a_fin_that_only_the_list_shows_lets_the_port_be_taken_over_later() {
    let awaits = Reuse { fin_wait2: true, timestamps: true };
    let mut book = Book::new();
    book.apply(spaces::settings(40000, 40001, 1, 1));
    book.tell(SOCKET, to_web(40000), connect("curl"));
    let kind = Kind::TimeWait { successor: Some(ENTRY), done: true, reuse: awaits };
    book.tell(SOCKET, to_web(40000), kind);
    book.list_is_read();
    let reuse = Some(Reuse { fin_wait2: false, timestamps: true });
    let sharing = Sharing { connect_bind: true, ..Sharing::default() };
    let found = found(ENTRY, to_web(40000), TcpState::TIME_WAIT);
    book.listed_as(Existing { reuse, sharing, ..found });
    book.scan_is_over();
    book.ledger.advance(READ_NS + 900_000_000);
    assert_eq!(book.used_to("10.0.0.9:80"), Some(1));
    book.ledger.advance(READ_NS + 1_100_000_000);
    assert_eq!(book.used_to("10.0.0.9:80"), Some(0));
}

#[test]
fn a_socket_that_time_wait_is_about_to_succeed_stands_for_its_entry() {
    let mut book = Book::new();
    book.list_is_read();
    book.scan_is_over();
    book.now_ns = 0;
    book.tell(SOCKET, to_web(40000), connect("curl"));
    // Told before the entry is in the kernel's table and the socket out of it.
    book.tell(SOCKET, to_web(40000), TIME_WAIT);
    book.list_is_read();
    book.listed(SOCKET, to_web(40000), TcpState::FIN_WAIT2, None);
    book.scan_is_over();
    assert_eq!(book.tell(SOCKET, to_web(40000), CLOSED), NO_LINES);
    assert_eq!(book.only_holding(), (Holds::TimeWait, to_web(40000)));
    book.tell(ENTRY, to_web(40000), release(Reason::TimeWaitExpired));
    assert!(book.ledger.holdings().is_empty());
}
