//! A network namespace per scenario, and what the shared observer says about it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use nix::sched::{CloneFlags, setns, unshare};

use crate::child::Traffic;
use crate::expect::{Row, Visibility};
use crate::lines::{Body, Line, Lost};
use crate::observer::{Observer, until, until_within};
use crate::socket::{Held, local, tcp, udp};
use crate::system::{self, Backend};

/// Where the server of a scenario listens: below every ephemeral range.
pub const SERVER: SocketAddr = local(80);

/// A bind to this UDP port says: all that came before is complete.
const MARKER: u16 = 1;

/// The network namespace of a scenario. It belongs to one thread and ends with it.
pub struct Net {
    /// Its inode number.
    pub inode: u32,
    observer: &'static Observer,
    position: Cell<usize>,
}

/// Runs a scenario in a network namespace of its own, under the shared observer; see [`in_namespace`].
pub fn scenario(run: impl Fn(&Net) + Send + Sync) {
    if let Some(observer) = Observer::shared() {
        in_namespace(|inode| run(&Net::new(inode, observer)));
    }
}

/// Runs something on a thread that has a network namespace of its own, by its inode number.
///
/// In an emulated machine it may fail once, and then that is said. An emulated processor can stand
/// still anywhere for milliseconds: in the middle of a kernel program, which the observer counts as a
/// loss, or while a socket is busy, and an ACK that comes then leaves a socket in FIN_WAIT2 where the
/// scenario has TIME_WAIT (`tcp_rcv_state_process`, net/ipv4/tcp_input.c).
pub fn in_namespace<T: Send>(run: impl Fn(u32) -> T + Send + Sync) -> T {
    if system::in_virtual_machine() {
        if let Ok(done) = catch_unwind(AssertUnwindSafe(|| once_in_namespace(&run))) {
            return done;
        }
        println!("retried: the first try in this emulated machine failed, see above");
    }
    once_in_namespace(run)
}

/// The same, without a second try.
pub fn once_in_namespace<T: Send>(run: impl FnOnce(u32) -> T + Send) -> T {
    let made = thread::scope(|scope| {
        scope
            .spawn(|| {
                let namespace = Namespace::make();
                namespace.keep();
                run(namespace.inode)
            })
            .join()
    });
    made.unwrap_or_else(|panic| resume_unwind(panic))
}

/// A network namespace, which its thread may leave and enter again.
pub struct Namespace {
    /// Its inode number.
    pub inode: u32,
    file: File,
    _anchor: Traffic,
}

impl Namespace {
    /// Makes one, with loopback up. The calling thread is in it from now on.
    pub fn make() -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace (needs root)");
        loopback_up();
        let file = File::open("/proc/thread-self/ns/net").expect("open the namespace");
        let inode = file.metadata().expect("its inode number").ino();
        let inode = u32::try_from(inode).expect("namespaces have small numbers");
        // A namespace is found by a process that is in it, or by what a thread in it calls.
        let anchor = Traffic::start(&["hold", "0", "127.0.0.1:80"]);
        Self { inode, file, _anchor: anchor }
    }

    /// Puts the calling thread into it.
    pub fn enter(&self) {
        setns(&self.file, CloneFlags::CLONE_NEWNET).expect("enter a network namespace");
    }

    /// What keeps it, without a process in it.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Keeps it until this process ends, so that no other one gets its inode number: what is said
    /// of its last entries would be taken for the other's.
    pub fn keep(&self) {
        static KEPT: Mutex<Vec<File>> = Mutex::new(Vec::new());
        let file = self.file.try_clone().expect("a second descriptor of the namespace");
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(file);
    }
}

fn loopback_up() {
    // Not bound: a port would be a line of the scenario.
    let socket = udp();
    // SAFETY: all zeros is a value of this plain C struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(socket.socket());
    // SAFETY: SIOCSIFFLAGS reads an ifreq (netdevice(7)), which lives through the call.
    let result = unsafe { libc::ioctl(descriptor, libc::SIOCSIFFLAGS, &raw const request) };
    nix::errno::Errno::result(result).expect("bring loopback up");
}

/// Sets a value of the calling thread's network namespace, by its path below `/proc/sys/net`.
pub fn sysctl(name: &str, value: &str) {
    let path = Path::new("/proc/sys/net").join(name);
    fs::write(&path, value).unwrap_or_else(|e| panic!("write {value} to {}: {e}", path.display()));
}

/// Sets the ephemeral range of the calling thread's network namespace.
pub fn ephemeral_range(min: u16, max: u16) {
    sysctl("ipv4/ip_local_port_range", &format!("{min} {max}"));
}

/// The TCP state of the socket between these two, by the kernel's own list; `None`: there is none.
/// A TIME_WAIT entry whose peer has not closed yet is in FIN_WAIT2.
pub fn tcp_state(local: SocketAddr, remote: SocketAddr) -> Option<u8> {
    let list = tcp_list("tcp");
    let (local, remote) = (hexadecimal(local), hexadecimal(remote));
    list.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let same = fields.next() == Some(&local) && fields.next() == Some(&remote);
        same.then(|| u8::from_str_radix(fields.next()?, 16).ok()).flatten()
    })
}

/// The TIME_WAIT entries to this IPv4 address, and sockets in FIN_WAIT2: local end, state and timer, as
/// the kernel shows them (timer 03: an entry).
pub fn time_waits_to(remote: SocketAddr) -> Vec<String> {
    let remote = hexadecimal(remote);
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields[2] == remote && ["05", "06"].contains(&fields[3]);
        is_it.then(|| format!("{} {} {}", fields[1], fields[3], fields[5]))
    };
    tcp_list("tcp").lines().skip(1).filter_map(entry).collect()
}

/// The kernel's own list of TCP sockets of the calling thread's namespace: `tcp` or `tcp6`.
pub(crate) fn tcp_list(name: &str) -> String {
    let list = system::read(format!("/proc/thread-self/net/{name}"));
    list.expect("the kernel's list of sockets")
}

/// TCP sockets and TIME_WAIT entries by state, as the kernel's own lists of both address families
/// have them; those that are only bound are in none.
pub fn tcp_states() -> BTreeMap<u8, Vec<u16>> {
    let mut states: BTreeMap<u8, Vec<u16>> = BTreeMap::new();
    for name in ["tcp", "tcp6"] {
        for line in tcp_list(name).lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let port = fields[1].rsplit(':').next().unwrap_or_default();
            let number = |text| u16::from_str_radix(text, 16).expect("a hexadecimal number");
            let state = u8::try_from(number(fields[3])).expect("a TCP state");
            states.entry(state).or_default().push(number(port));
        }
    }
    states
}

/// How many TCP connections there are, TIME_WAIT included and both sides counted.
pub fn tcp_connections() -> usize {
    let states = tcp_states();
    states.iter().filter(|(state, _)| **state != LISTEN).map(|(_, ports)| ports.len()).sum()
}

/// The kernel's TCP_ESTABLISHED.
pub const ESTABLISHED: u8 = 1;
/// The kernel's TCP_LISTEN.
pub const LISTEN: u8 = 10;
/// The kernel's TCP_FIN_WAIT2.
pub const FIN_WAIT2: u8 = 5;
/// The kernel's TCP_TIME_WAIT.
pub const TIME_WAIT: u8 = 6;
/// The kernel's TCP_TIMEWAIT_LEN.
pub const TIME_WAIT_LENGTH: Duration = Duration::from_secs(60);

fn hexadecimal(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { panic!("only IPv4 is looked up: {address}") };
    let number = u32::from_ne_bytes(address.ip().octets());
    format!("{number:08X}:{:04X}", address.port())
}

impl Net {
    fn new(inode: u32, observer: &'static Observer) -> Self {
        observer.watch(inode);
        Self { inode, observer, position: Cell::new(observer.position()) }
    }

    /// Waits until the program has looked into this namespace with socket diagnostics, if its
    /// backend needs them: what it finds there at first was held before, as far as it can tell.
    pub fn known(&self) {
        let mut known = Backend::chosen().is_exact();
        until("socket diagnostics find a new port", || {
            if !known {
                let mut probe = udp().send_to(local(9));
                let round = Duration::from_secs(3);
                let found = self.observer.wait_lines_within(round, self.position.get(), |lines| {
                    let mut rows = lines.iter().filter(|l| self.is_mine(l)).filter_map(Row::of);
                    rows.any(|row| row.port == probe.port()).then_some(())
                });
                known = found.is_ok();
                let port = probe.port();
                probe.close();
                if known {
                    // That it is free may be found as late.
                    let gone = self.observer.wait_lines(self.position.get(), |lines| {
                        let is_it = |line: &&Line| {
                            self.is_mine(line)
                                && matches!(&line.body, Body::Release(it) if it.local.port == port)
                        };
                        lines.iter().find(is_it).map(|_| ())
                    });
                    gone.unwrap_or_else(|error| panic!("wait for the probe's end: {error:#}"));
                }
            }
            known
        });
        self.forget();
    }

    /// A listener on [`SERVER`]; its own lines are left out.
    pub fn server(&self) -> Server {
        let server = Server(tcp().reuse_address().bind(SERVER).listen());
        self.forget();
        server
    }

    /// Leaves out all lines up to here.
    pub fn forget(&self) {
        self.mark();
    }

    /// Waits until the kernel's own list has this connection in TIME_WAIT.
    pub fn until_time_wait(&self, held: &Held) {
        let remote = held.remote.expect("a connected socket");
        until("the connection is in TIME_WAIT", || {
            tcp_state(held.local, remote) == Some(TIME_WAIT)
        });
    }

    /// Waits until the kernel's own list has no trace of this connection. TIME_WAIT takes 60 s.
    pub fn until_gone(&self, held: &Held) {
        let remote = held.remote.expect("a connected socket");
        let what = "the connection is gone";
        until_within(what, TIME_WAIT_LENGTH + system::patience(), || {
            tcp_state(held.local, remote).is_none()
        });
    }

    /// What the observer says about this namespace since the last call: these rows, in this order,
    /// and no others. Waits for as many lines, then for a marker, and compares.
    pub fn sees(&self, rows: impl IntoIterator<Item = Row>) -> Vec<Line> {
        self.compare(rows, |visibility| visibility == Visibility::AtOnce)
    }

    /// The same, in any order.
    pub fn sees_in_any_order(&self, rows: impl IntoIterator<Item = Row>) -> Vec<Line> {
        self.compare(rows, |_| false)
    }

    fn compare(
        &self,
        rows: impl IntoIterator<Item = Row>,
        in_order: fn(Visibility) -> bool,
    ) -> Vec<Line> {
        let backend = Backend::chosen();
        let mut expected: Vec<Row> = rows.into_iter().collect();
        expected.retain(|row| row.visibility(backend) != Visibility::Never);
        // In vain: the comparison says more than the timeout.
        let _ = self.observer.wait_lines(self.position.get(), |lines| {
            let mine = lines.iter().filter(|line| self.is_mine(line)).count();
            (mine >= expected.len()).then_some(())
        });
        let lines = self.mark();
        let (ordered, mut others): (Vec<&Row>, Vec<&Row>) =
            expected.iter().partition(|row| in_order(row.visibility(backend)));
        let mut ordered = ordered.into_iter().peekable();
        let same = lines.iter().all(|line| {
            let seen = Row::of(line);
            let is = |row: &&Row| seen.as_ref().is_some_and(|seen| row.accepts(seen, backend));
            let next = ordered.next_if(is).is_some();
            next || others.iter().position(is).map(|index| others.swap_remove(index)).is_some()
        });
        if !same || ordered.next().is_some() || !others.is_empty() {
            panic!("{}", difference(&expected, &lines));
        }
        lines
    }

    /// All lines of this namespace since the last call, up to a marker that is made now.
    pub fn mark(&self) -> Vec<Line> {
        let from = self.position.get();
        // Shared, for the one before it may have its port still: see `Held::close`.
        udp().reuse_address().bind(local(MARKER)).close();
        let (lines, next) = self
            .observer
            .wait_lines(from, |lines| {
                let end = lines.iter().position(|line| {
                    line.netns() == Some(self.inode)
                        && matches!(&line.body, Body::Acquire(a) if is_marker(&a.protocol, a.local.port))
                })?;
                let mine = lines[..end].iter().filter(|line| self.is_mine(line));
                Some((mine.cloned().collect(), from + end + 1))
            })
            .unwrap_or_else(|error| panic!("wait for the marker: {error:#}"));
        self.position.set(next);
        lines
    }

    fn is_mine(&self, line: &Line) -> bool {
        let marker = match &line.body {
            Body::Acquire(line) => is_marker(&line.protocol, line.local.port),
            Body::Release(line) => is_marker(&line.protocol, line.local.port),
            Body::Lost(lost) if !may_be_of_others(lost) => {
                panic!("the shared observer lost events: {line:?}")
            }
            _ => false,
        };
        line.netns() == Some(self.inode) && !marker
    }
}

/// Whether a loss leaves what is said of a scenario as it is, whose every line is compared.
fn may_be_of_others(lost: &Lost) -> bool {
    // Without the birth or the program of a process, its lines have less to say.
    matches!(lost.kind.as_deref(), Some("exec" | "fork"))
        // Programs that interrupted others are skipped, in whichever namespace: kprobes always, and all
        // where an emulated processor stands still within one.
        || system::in_virtual_machine() && lost.place == "kernel_program"
}

fn is_marker(protocol: &str, port: u16) -> bool {
    protocol == "udp" && port == MARKER
}

fn difference(expected: &[Row], lines: &[Line]) -> String {
    let mut message = String::from("other lines than expected\n  expected:\n");
    for row in expected {
        let _ = writeln!(message, "    {row}");
    }
    message.push_str("  seen:\n");
    for line in lines {
        let text = Row::of(line).map_or_else(|| format!("{:?}", line.body), |row| row.to_string());
        let _ = writeln!(message, "    {text}");
    }
    message
}

/// The listener of a scenario.
pub struct Server(pub Held);

impl Deref for Server {
    type Target = Held;

    fn deref(&self) -> &Held {
        &self.0
    }
}
