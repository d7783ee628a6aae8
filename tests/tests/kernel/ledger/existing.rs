//! What was there before the observer.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tests::child::Traffic;
use tests::expect::Row;
use tests::lines::{Body, Endpoint, Line};
use tests::net::{FIN_WAIT2, SERVER, TIME_WAIT, in_namespace, tcp_connections, tcp_state};
use tests::observer::{Observer, until};
use tests::socket::{Held, local, local6, mapped, tcp, tcp6, udp, udp6};
use tests::system::in_virtual_machine;

/// An `existing` line: protocol, state, both ends, process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found(&'static str, String, SocketAddr, Option<SocketAddr>, Option<u32>);

impl Found {
    fn of(line: &Line) -> Option<Self> {
        let Body::Existing(line) = &line.body else { return None };
        let protocol = if line.protocol == "udp" { "udp" } else { "tcp" };
        let remote = line.remote.as_ref().map(Endpoint::socket_addr);
        let pid = line.process.as_ref().map(|process| process.pid);
        Some(Self(protocol, line.state.clone(), line.local.socket_addr(), remote, pid))
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Everything that is made before the observer starts, and what is to be said of it.
#[derive(Default)]
struct Before {
    sockets: Vec<Held>,
    expected: Vec<Found>,
}

impl Before {
    /// A port that this process holds.
    fn add(&mut self, state: &str, held: Held) {
        self.expect(state, held.protocol, held.local, held.remote, Some(std::process::id()));
        self.sockets.push(held);
    }

    fn expect(
        &mut self,
        state: &str,
        protocol: &'static str,
        local: SocketAddr,
        remote: Option<SocketAddr>,
        pid: Option<u32>,
    ) {
        let remote = remote.map(canonical);
        self.expected.push(Found(protocol, state.to_owned(), canonical(local), remote, pid));
    }

    fn unbound(&mut self) {
        self.add("BOUND_INACTIVE", tcp().bind(local(4000)));
        let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 4001);
        self.add("BOUND_INACTIVE", tcp6().bind(any));
        self.add("CLOSE", udp().bind(local(4002)));
        self.add("CLOSE", udp6().bind(local6(4003)));
        self.add("ESTABLISHED", udp().bind(local(4004)).connect(local(9)));
    }

    /// Accepted connections took no port of their own, and are not told of.
    fn connections(&mut self, server: &Held, server6: &Held) {
        let a = tcp().connect(SERVER);
        self.sockets.push(server.accept());
        self.add("ESTABLISHED", a);

        let a = tcp6().connect(mapped(80));
        self.sockets.push(server.accept());
        self.add("ESTABLISHED", a);

        let a = tcp6().connect(local6(80));
        self.sockets.push(server6.accept());
        self.add("ESTABLISHED", a);

        // Closed by this side alone.
        let mut a = tcp().connect(SERVER);
        let child = server.accept();
        // An ACK that comes while close() has the socket would leave it in FIN_WAIT2, without TIME_WAIT
        // (tcp_rcv_state_process, net/ipv4/tcp_input.c).
        a.socket().shutdown(Shutdown::Write).expect("shutdown");
        until("closed by one side", || tcp_state(a.local, SERVER) == Some(FIN_WAIT2));
        a.close();
        child.read_to_the_end();
        self.sockets.push(child);
        self.expect("TIME_WAIT", "tcp", a.local, Some(SERVER), None);

        let mut a = tcp().connect(SERVER);
        let mut child = server.accept();
        a.close();
        child.read_to_the_end();
        child.close();
        until("closed by both sides", || tcp_state(a.local, SERVER) == Some(TIME_WAIT));
        self.expect("TIME_WAIT", "tcp", a.local, Some(SERVER), None);

        // Closed by the other side.
        let a = tcp().connect(SERVER);
        server.accept().close();
        a.read_to_the_end();
        self.add("CLOSE_WAIT", a);
    }
}

#[test]
fn every_port_that_was_held_before_is_told_once_with_its_state_and_process() {
    in_namespace(|inode| {
        let mut before = Before::default();
        let server = tcp().bind(SERVER).listen();
        let server6 = tcp6().bind(local6(80)).listen();
        before.unbound();
        before.connections(&server, &server6);
        before.add("LISTEN", server);
        before.add("LISTEN", server6);
        let _server = tcp().bind(local(81)).listen();
        let mut traffic = Traffic::start(&["hold", "1", "127.0.0.1:81"]);
        let taken = traffic.taken().expect("a connection");
        let traffic = Some(traffic.pid());
        before.expect("ESTABLISHED", "tcp", taken.local, taken.remote, traffic);
        before.expect("LISTEN", "tcp", local(81), None, Some(std::process::id()));

        let observer = Observer::own(&["--netns", &inode.to_string()])?;
        // In vain: the comparison says more than the timeout.
        let _ = observer.wait_lines(0, |lines| {
            let found = lines.iter().filter_map(Found::of).count();
            (found >= before.expected.len()).then_some(())
        });
        // What comes beyond that comes soon after.
        thread::sleep(Duration::from_millis(500));
        let ended = observer.interrupted();
        let mut found: Vec<Found> = ended.lines.iter().filter_map(Found::of).collect();
        found.sort();
        before.expected.sort();
        // Where an observer takes a minute to start, TIME_WAIT may end before.
        before.expected.retain(|row| {
            let Found("tcp", state, local, Some(remote), None) = row else { return true };
            state != "TIME_WAIT" || tcp_state(*local, *remote).is_some() || found.contains(row)
        });
        let missing: Vec<_> = before.expected.iter().filter(|row| !found.contains(row)).collect();
        let more: Vec<_> = found.iter().filter(|row| !before.expected.contains(row)).collect();
        assert!(found == before.expected, "missing {missing:#?}\nmore than expected {more:#?}");
        let is_end = |line: &&Line| matches!(&line.body, Body::Release(line) if line.reason == "time_wait_expired");
        let others = ended.lines.iter().filter(|line| line.netns().is_some() && !is_end(line));
        assert_eq!(others.count(), found.len(), "lines of something else: {:?}", ended.lines);
        Some(())
    });
}

/// Local and remote end.
type Ends = (String, SocketAddr, Option<SocketAddr>);

/// What is held after a line, if every port is taken before it is given back, and once.
#[derive(Debug, Default)]
struct Account {
    held: HashMap<Ends, &'static str>,
    known: HashSet<Ends>,
    told: usize,
    wrong: Vec<String>,
    /// Of what is wrong.
    ports: BTreeSet<u16>,
}

impl Account {
    fn take(&mut self, line: &Line) {
        let ends = |protocol: &str, local: &Endpoint, remote: Option<&Endpoint>| {
            (protocol.to_owned(), local.socket_addr(), remote.map(Endpoint::socket_addr))
        };
        let (how, ends) = match &line.body {
            Body::Existing(l) => ("existing", ends(&l.protocol, &l.local, l.remote.as_ref())),
            Body::Acquire(l) => ("acquire", ends(&l.protocol, &l.local, l.remote.as_ref())),
            Body::Release(l) => ("release", ends(&l.protocol, &l.local, l.remote.as_ref())),
            _ => return,
        };
        self.told += 1;
        let ends_port = ends.1.port();
        let is_first = self.known.insert(ends.clone());
        let before = match how {
            "release" => self.held.remove(&ends),
            _ => self.held.insert(ends, how),
        };
        // One that was there before may be gone before it is found: then only its end is told.
        let is_unknown = matches!(&line.body, Body::Release(l) if l.process.is_none());
        let is_early = is_first && is_unknown;
        let fits = is_early || before.is_some() == (how == "release");
        if !fits {
            self.wrong.push(format!("{how} of what was {before:?} before, line {}", line.seq));
            self.ports.insert(ends_port);
        }
    }
}

/// How many ports that have wrong lines are shown with all that was told of them.
const SHOWN: usize = 3;

/// All that was told of a port, a line each.
fn story(lines: &[Line], port: u16) -> String {
    let told = lines.iter().filter_map(|line| {
        let row = match &line.body {
            Body::Existing(existing) => {
                (existing.local.port == port).then(|| format!("existing, {}", existing.state))?
            }
            _ => Row::of(line).filter(|row| row.port == port)?.to_string(),
        };
        Some(format!("    {} {} {row}\n", line.seq, line.time))
    });
    format!("port {port}:\n{}", told.collect::<String>())
}

/// The next connection; `None` when it is over.
fn next(listener: &Held, is_over: &AtomicBool) -> Option<Held> {
    loop {
        match listener.accept_next() {
            None if !is_over.load(Ordering::Relaxed) => (),
            next => return next,
        }
    }
}

#[test]
fn what_comes_and_goes_while_the_observer_starts_is_told_once() {
    for _ in 0..3 {
        match in_namespace(comes_and_goes) {
            Some(TOO_FEW) => println!("the traffic stood still: once more"),
            Some(_) | None => return,
        }
    }
    panic!("three times hardly anything came and went");
}

/// Fewer lines of busy processes say nothing.
const TOO_FEW: usize = 100;

/// How many lines there were, `TOO_FEW` if that or less; all that was told fits together.
fn comes_and_goes(inode: u32) -> Option<usize> {
    let at = local(1000);
    let listener = tcp().bind(at).listen();
    listener.socket().set_read_timeout(Some(Duration::from_millis(300))).expect("SO_RCVTIMEO");
    // The one processor of an emulated machine has to have time for the observer's start, too.
    let pause = if in_virtual_machine() { "2000" } else { "0" };
    let arguments = ["busy", pause, "127.0.0.1:1000"];
    let mut processes: Vec<Traffic> = (0..2).map(|_| Traffic::start(&arguments)).collect();
    let is_over = AtomicBool::new(false);
    let ended = thread::scope(|scope| {
        // What was reset before it was accepted would fill the queue.
        let serve = || {
            while let Some(child) = next(&listener, &is_over) {
                child.read_to_the_end();
            }
        };
        let serving = scope.spawn(serve);
        let observer = Observer::own(&["--netns", &inode.to_string()]);
        // On a busy machine it takes a while until it knows what was there.
        let is_listener = |line: &Line| {
            let Body::Existing(existing) = &line.body else { return false };
            existing.local.socket_addr() == at && existing.state == "LISTEN"
        };
        let mut seen = 0;
        let mut is_known = |lines: &[Line]| {
            let new = &lines[std::mem::replace(&mut seen, lines.len())..];
            new.iter().any(is_listener).then_some(())
        };
        let known = observer.as_ref().map(|observer| observer.wait_lines(0, &mut is_known));
        thread::sleep(Duration::from_millis(500));
        processes.iter_mut().for_each(Traffic::go_on);
        processes.iter_mut().for_each(|process| assert!(process.wait().success()));
        is_over.store(true, Ordering::Relaxed);
        serving.join().expect("serve");
        known.transpose().expect("the listener is told");
        until("all connections are gone", || tcp_connections() == 0);
        observer.map(Observer::interrupted)
    })?;

    let mut account = Account::default();
    let lines = ended.lines.iter().filter(|line| line.netns() == Some(inode));
    lines.for_each(|line| account.take(line));
    let told = account.told.max(TOO_FEW);
    let listener = ("tcp".to_owned(), at, None);
    assert_eq!(account.held.remove(&listener), Some("existing"), "{:?}", account.held);
    for (ends, how) in &account.held {
        account.wrong.push(format!("{how} of {ends:?} without an end"));
    }
    // In an emulated machine the kernel now and then skips a program, and that is counted.
    let lost = ended.lines.iter().map(|line| match &line.body {
        Body::Lost(lost) if in_virtual_machine() && lost.place == "kernel_program" => lost.count,
        _ => 0,
    });
    let (lost, wrong) = (lost.sum::<u64>(), &account.wrong);
    let stories = account.ports.iter().take(SHOWN).map(|port| story(&ended.lines, *port));
    assert!(
        wrong.len() as u64 <= lost,
        "{} wrong, {lost} lost, start at {}: {wrong:#?}\n{}",
        wrong.len(),
        ended.lines[0].time,
        stories.collect::<String>()
    );
    Some(told)
}
