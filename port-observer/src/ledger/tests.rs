mod children;
mod leftovers;
mod old_lists;
mod own_range;
mod scans;
mod spaces;
mod time_wait;

use std::sync::Arc;

use super::*;
use crate::{
    event::{
        Endpoint, Kind, LossKind, LossPlace, Protocol, Repeated, Reuse, Sharing, SocketEvent,
        SocketId, Task, TcpState, Via,
    },
    process::Process,
};

const NETNS: u32 = 7;
/// A client's socket, the TIME_WAIT entry that succeeds it, and another socket.
const SOCKET: SocketId = SocketId(0xffff_8880_0000_1000);
const ENTRY: SocketId = SocketId(0xffff_8880_0000_2000);
const OTHER: SocketId = SocketId(0xffff_8880_0000_3000);

/// Named by what the task itself says.
fn caller(event: &Event) -> Option<Caller> {
    let task = event.task()?;
    let process = Process { pid: task.pid, name: task.name.clone(), ..Process::default() };
    Some(Caller { process: Arc::new(process), tid: task.tid })
}

/// A ledger whose reports are read as lines.
struct Book {
    ledger: Ledger,
    now_ns: u64,
}

impl Book {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        Self { ledger: Ledger::new(options), now_ns: 0 }
    }

    fn apply(&mut self, event: Event) -> Vec<String> {
        let mut out = Vec::new();
        let caller = caller(&event);
        self.ledger.apply(self.now_ns, event, caller, &mut out);
        assert!(out.iter().all(|report| report.time_ns == self.now_ns));
        out.iter().map(|report| line(&report.body)).collect()
    }

    /// 10 ns later, this happens to a TCP socket: what the ledger says to it.
    fn tell(&mut self, socket: SocketId, flow: Flow, kind: Kind) -> Vec<String> {
        self.now_ns += 10;
        self.apply(Event::Socket(SocketEvent { time_ns: self.now_ns, socket, flow, kind }))
    }

    fn totals(&self) -> (u64, u64, u64) {
        let Totals { acquired, released, exhausted, .. } = self.ledger.totals();
        (acquired, released, exhausted)
    }
}

/// `type what local>remote process held`
fn line(body: &Body) -> String {
    let mut words = vec![body.event_type().name().to_owned()];
    match body {
        Body::Acquire { via, .. } => words.push(via.name().to_owned()),
        Body::Release { reason, .. } => words.push(reason.name().to_owned()),
        Body::Exhausted { errno, .. } | Body::Conflict { errno, .. } => {
            words.push(errno.to_string());
        }
        Body::State { old, new, .. } => words.push(format!("{}-{}", old.name(), new.name())),
        Body::Lost { count, .. } => words.push(count.to_string()),
        _ => {}
    }
    if let Some(port) = body.port() {
        let remote = port.remote.map(|remote| remote.to_string()).unwrap_or_default();
        words.push(format!("{}>{remote}", port.local.unwrap().port));
        words.push(port.caller.as_ref().map_or("-", |caller| &caller.process.name).to_owned());
    }
    if let Body::Release { held_ns: Some(held_ns), .. } = body {
        words.push(format!("{held_ns}ns"));
    }
    words.join(" ")
}

fn endpoint(text: &str) -> Endpoint {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

/// From this local port to 10.0.0.9:80.
fn to_web(port: u16) -> Flow {
    Flow { remote: Some(endpoint("10.0.0.9:80")), ..bound(port) }
}

/// A local port without a peer.
fn bound(port: u16) -> Flow {
    let local = Endpoint::new("10.0.0.1".parse().unwrap(), port);
    Flow { netns: NETNS, protocol: Protocol::Tcp, local, remote: None }
}

fn task(name: &str) -> Task {
    Task { pid: 1, tid: 1, name: name.to_owned(), uid: 0, start_time_ns: 0, cgroup_id: 0 }
}

fn acquire(via: Via, task: Option<Task>) -> Kind {
    Kind::Acquire {
        via,
        requested_port: Some(0),
        search_ns: None,
        task,
        sharing: Sharing::default(),
    }
}

fn connect(name: &str) -> Kind {
    acquire(Via::Connect, Some(task(name)))
}

fn bind(name: &str) -> Kind {
    acquire(Via::Bind, Some(task(name)))
}

fn inherit() -> Kind {
    Kind::Inherit { listener: OTHER, sharing: Sharing::default() }
}

fn release(reason: Reason) -> Kind {
    Kind::Release { reason }
}

const NO_REUSE: Reuse = Reuse { fin_wait2: false, timestamps: false };
const CLOSED: Kind = Kind::Release { reason: Reason::Closed };
const NO_LINES: [&str; 0] = [];
/// TIME_WAIT as function probes see it: the entry is known, the socket's own release follows.
const TIME_WAIT: Kind = Kind::TimeWait { successor: Some(ENTRY), done: false, reuse: NO_REUSE };
/// TIME_WAIT as the tracepoint backend sees it: the entry is not known.
const TIME_WAIT_UNNAMED: Kind = Kind::TimeWait { successor: None, done: true, reuse: NO_REUSE };

#[test]
fn a_release_names_who_took_the_port_and_how_long_it_was_held() {
    let mut book = Book::new();
    let said = book.tell(SOCKET, to_web(40000), connect("curl"));
    assert_eq!(said, ["acquire connect 40000>10.0.0.9:80 curl"]);
    let said = book.tell(SOCKET, to_web(40000), CLOSED);
    assert_eq!(said, ["release closed 40000>10.0.0.9:80 curl 10ns"]);
    assert!(book.ledger.holdings().is_empty());
}

#[test]
fn an_acquire_carries_what_the_call_told() {
    let mut book = Book::new();
    let mut out = Vec::new();
    let kind = Kind::Acquire {
        sharing: Sharing::default(),
        via: Via::Bind,
        requested_port: Some(8080),
        search_ns: Some(99),
        task: Some(Task { pid: 5, tid: 6, ..task("web") }),
    };
    let event = SocketEvent { time_ns: 3, socket: SOCKET, flow: bound(8080), kind };
    let event = Event::Socket(event);
    let caller = caller(&event);
    book.ledger.apply(9, event, caller, &mut out);
    let [Report { time_ns: 3, body: Body::Acquire { port, via, requested_port, search_ns, .. } }] =
        &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!((*via, *requested_port, *search_ns), (Via::Bind, Some(8080), Some(99)));
    assert_eq!((port.netns, port.protocol), (NETNS, Protocol::Tcp));
    let caller = port.caller.as_ref().unwrap();
    assert_eq!((caller.process.pid, caller.tid), (5, 6));
}

#[test]
fn connect_on_a_bound_socket_takes_no_port_anew_but_gives_it_a_destination() {
    let mut book = Book::new();
    assert_eq!(book.tell(SOCKET, bound(40000), bind("curl")), ["acquire bind 40000> curl"]);
    assert_eq!(book.tell(SOCKET, to_web(40000), connect("curl")), NO_LINES);
    let said = book.tell(SOCKET, to_web(40000), CLOSED);
    assert_eq!(said, ["release closed 40000>10.0.0.9:80 curl 20ns"]);
    assert_eq!(book.totals(), (1, 1, 0));
}

#[test]
fn a_port_belongs_to_who_took_it_whoever_connects() {
    let mut book = Book::new();
    book.tell(SOCKET, bound(40000), bind("parent"));
    book.tell(SOCKET, to_web(40000), connect("child"));
    let said = book.tell(SOCKET, to_web(40000), CLOSED);
    assert_eq!(said, ["release closed 40000>10.0.0.9:80 parent 20ns"]);
}

#[test]
fn listen_on_a_bound_socket_takes_no_port_anew() {
    let mut book = Book::new();
    book.tell(SOCKET, bound(40000), bind("web"));
    assert_eq!(book.tell(SOCKET, bound(40000), acquire(Via::Autobind, None)), NO_LINES);
    assert_eq!(book.tell(SOCKET, bound(40000), CLOSED), ["release closed 40000> web 20ns"]);
}

#[test]
fn a_port_asked_for_by_number_stays_with_the_socket_until_its_release() {
    let mut book = Book::new();
    book.tell(SOCKET, bound(40000), bind("curl"));
    book.tell(SOCKET, to_web(40000), connect("curl"));
    let unnamed = Kind::TimeWait { successor: None, done: false, reuse: NO_REUSE };
    let said = book.tell(SOCKET, to_web(40000), unnamed);
    assert_eq!(said, ["time_wait 40000>10.0.0.9:80 curl"]);
    assert_eq!(book.tell(SOCKET, to_web(40000), CLOSED), NO_LINES);
    assert_eq!(book.ledger.holdings().len(), 1, "the entry");
}

#[test]
fn a_release_of_an_unknown_socket_has_no_owner_and_no_duration() {
    let mut book = Book::new();
    let said = book.tell(SOCKET, to_web(40000), CLOSED);
    assert_eq!(said, ["release closed 40000>10.0.0.9:80 -"]);
    assert_eq!(book.totals(), (0, 1, 0));
}

#[test]
fn a_second_word_of_a_release_counts_only_if_the_first_was_missed() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    let again = || Kind::Again(Box::new(Kind::Release { reason: Reason::Closed }));
    let said = book.tell(SOCKET, to_web(40000), again());
    assert_eq!(said, ["release closed 40000>10.0.0.9:80 curl 10ns"]);
    assert_eq!(book.tell(SOCKET, to_web(40000), again()), NO_LINES);
    assert_eq!(book.totals(), (1, 1, 0));
}

#[test]
fn a_second_word_of_an_acquire_counts_only_if_the_first_was_missed() {
    let mut book = Book::new();
    let again = || Kind::Again(Box::new(connect("curl")));
    let said = book.tell(SOCKET, to_web(40000), again());
    assert_eq!(said, ["acquire connect 40000>10.0.0.9:80 curl"]);
    assert_eq!(book.tell(SOCKET, to_web(40000), again()), NO_LINES);
    assert_eq!(book.totals(), (1, 0, 0));
}

#[test]
fn calls_that_failed_take_nothing() {
    let mut book = Book::new();
    let task = Some(task("curl"));
    let exhausted = Kind::Exhausted {
        own_range: None,
        via: Via::Connect,
        errno: 99,
        search_ns: Some(5),
        task: task.clone(),
        repeated: Repeated::default(),
    };
    assert_eq!(book.tell(SOCKET, to_web(0), exhausted), ["exhausted 99 0>10.0.0.9:80 curl"]);
    let conflict =
        Kind::Conflict { via: Via::Bind, errno: 98, task, repeated: Repeated::default() };
    assert_eq!(book.tell(SOCKET, bound(8080), conflict), ["conflict 98 8080> curl"]);
    assert!(book.ledger.holdings().is_empty());
    assert_eq!(book.totals(), (0, 0, 1));
}

#[test]
fn a_failure_that_stands_for_others_counts_as_many() {
    let mut book = Book::new();
    let exhausted = |repeated| Kind::Exhausted {
        own_range: None,
        via: Via::Connect,
        errno: 99,
        search_ns: None,
        task: Some(task("curl")),
        repeated,
    };
    let equal = Repeated { calls: 9, differing: false, late: true };
    assert_eq!(book.tell(SOCKET, to_web(0), exhausted(equal)), ["exhausted 99 0>10.0.0.9:80 curl"]);
    assert_eq!(book.totals(), (0, 0, 10));
    let mut out = Vec::new();
    let kind = exhausted(Repeated { calls: 4, differing: true, late: true });
    let event = SocketEvent { time_ns: 9, socket: SOCKET, flow: to_web(0), kind };
    let event = Event::Socket(event);
    let caller = caller(&event);
    book.ledger.apply(9, event, caller, &mut out);
    let Body::Exhausted { port, repeated: 4, story: None, .. } = &out[0].body else {
        panic!("{out:?}")
    };
    assert_eq!((port.local, port.remote), (None, None), "what differs is not said");
    assert_eq!(book.totals(), (0, 0, 15));
}

#[test]
fn a_single_call_that_was_counted_is_not_answered_with_what_is_free_by_now() {
    let story = |repeated| {
        let mut book = Book::new();
        book.apply(spaces::settings(40000, 40001, 1, 0));
        let (via, errno) = (Via::Connect, 99);
        let kind =
            Kind::Exhausted { own_range: None, via, errno, search_ns: None, task: None, repeated };
        let event = SocketEvent { time_ns: 9, socket: SOCKET, flow: to_web(0), kind };
        let mut out = Vec::new();
        book.ledger.apply(9, Event::Socket(event), None, &mut out);
        let Body::Exhausted { story, .. } = &out[0].body else { panic!("{out:?}") };
        story.as_ref().map(|story| story.space.headroom)
    };
    assert_eq!(story(Repeated::default()), Some(2));
    assert_eq!(story(Repeated { late: true, ..Repeated::default() }), None);
}

#[test]
fn a_state_change_names_the_owner_of_the_port() {
    let mut book = Book::new();
    let change = Kind::State { old: TcpState::SYN_SENT, new: TcpState::ESTABLISHED };
    book.tell(SOCKET, to_web(40000), connect("curl"));
    let said = book.tell(SOCKET, to_web(40000), change.clone());
    assert_eq!(said, ["state SYN_SENT-ESTABLISHED 40000>10.0.0.9:80 curl"]);
    let said = book.tell(OTHER, to_web(40000), change);
    assert_eq!(said, ["state SYN_SENT-ESTABLISHED 40000>10.0.0.9:80 -"]);
}

#[test]
fn what_was_lost_is_said_at_the_time_of_its_discovery_and_counted() {
    let mut book = Book::new();
    book.now_ns = 77;
    let lost = |count| Event::Lost {
        count,
        place: LossPlace::KernelBuffer,
        kind: LossKind::Acquire,
        task: None,
    };
    assert_eq!(book.apply(lost(3)), ["lost 3"]);
    book.apply(lost(4));
    assert_eq!(book.ledger.totals().lost, 7);
}

#[test]
fn the_last_line_has_the_totals() {
    let totals = Totals { acquired: 1, released: 2, exhausted: 3, lost: 4 };
    let stop =
        Stop { events: 5, lost: 4, duration_seconds: 0.5, acquired: 1, released: 2, exhausted: 3 };
    assert_eq!(totals.stop(5, 0.5), stop);
}
