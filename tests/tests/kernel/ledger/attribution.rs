//! Who holds the ports of a full space: name for name, number for number.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::path::PathBuf;

use nix::errno::Errno;
use tests::child::Traffic;
use tests::lines::{Body, Conflict, Exhausted, Holder, Process};
use tests::net::{Server, ephemeral_range, scenario, sysctl};
use tests::observer::until;
use tests::socket::{ANY, Held, local, tcp};
use tests::system::Backend;

use super::fill::{exhausted, fill};

const PROCESSES: u32 = 20;
/// How many holders an `exhausted` line has.
const LARGEST: u32 = 10;

/// A holder, as a test knows it.
#[derive(Debug, PartialEq, Eq)]
struct Holds {
    pid: u32,
    name: String,
    established: u32,
    time_wait: u32,
    bound: u32,
}

fn holds(holder: &Holder) -> Holds {
    let Holder { process, established, time_wait, bound, total, listening, .. } = holder;
    let bound = &(bound + listening.unwrap_or(0));
    assert_eq!(established + time_wait + bound, *total, "{holder:?}");
    let Process { pid, name, .. } =
        process.as_ref().unwrap_or_else(|| panic!("nobody known: {holder:?}"));
    Holds {
        pid: *pid,
        name: name.clone(),
        established: *established,
        time_wait: *time_wait,
        bound: *bound,
    }
}

/// What holds ports in a namespace with a full space, by process; with the test's own left out.
fn others(line: &Exhausted) -> Vec<Holds> {
    let me = std::process::id();
    let holders = line.holders.as_ref().expect("the holders").iter().map(holds);
    holders.filter(|holder| holder.pid != me).collect()
}

/// Accepted connections, closed once their peers have.
struct Children(Vec<Held>);

impl Children {
    fn accept(server: &Server, count: usize) -> Self {
        Self((0..count).map(|_| server.accept()).collect())
    }

    /// Waits until this many peers have closed, and closes too: their sockets are in TIME_WAIT then.
    fn close(&mut self, count: usize) {
        let left = self.0.len() - count;
        until("the peers have closed", || {
            self.0.retain_mut(|child| {
                let is_closed = has_closed(child);
                if is_closed {
                    child.close();
                }
                !is_closed
            });
            assert!(self.0.len() >= left, "more peers have closed than were to");
            self.0.len() == left
        });
    }
}

fn has_closed(child: &Held) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    match child.socket().recv_with_flags(&mut byte, libc::MSG_DONTWAIT | libc::MSG_PEEK) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// A directory that is removed when this is dropped.
struct Directory(PathBuf);

impl Directory {
    fn make(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        // One may be left of a first try.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("make {}: {e}", path.display()));
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_ten_largest_of_twenty_processes_are_named_with_what_they_hold() {
    scenario(|net| {
        let total = (1..=PROCESSES).sum::<u32>() as usize;
        ephemeral_range(40_000, 40_000 + total as u16 - 1);
        sysctl("ipv4/tcp_tw_reuse", "0");
        let server = net.server();
        let _other = tcp().bind(local(81)).listen();
        let directory = Directory::make("port-observer-attribution");
        let mut expected = HashMap::new();
        let mut processes = Vec::new();
        let mut closed = 0;
        for number in 1..=PROCESSES {
            let name = format!("worker-{number}");
            // Every third connection is closed by a process that goes on; every second process ends.
            let (ends, closes) = (number % 2 == 0, number / 3);
            let [held, closes] = if ends { [number, 0] } else { [number - closes, closes] };
            let counts = [held, closes].map(|count| count.to_string());
            // Towards another destination the same ports can be taken once more.
            let arguments =
                ["mix", &counts[0], &counts[1], "127.0.0.1:80", "2", "1", "127.0.0.1:81"];
            let mut process = Traffic::start_as(&directory.0, &name, &arguments);
            for _ in 0..number + 3 {
                process.taken().expect("a connection");
            }
            let pid = process.pid();
            let [established, time_wait] = if ends { [0, number] } else { [held, closes] };
            closed += time_wait as usize;
            expected.insert(number, Holds { pid, name, established, time_wait, bound: 0 });
            match number % 4 {
                0 => process.kill(),
                2 => process.go_on(),
                _ => (),
            }
            if ends {
                process.wait();
            }
            processes.push(process);
        }
        let mut children = Children::accept(&server, total);
        children.close(closed);

        let (held, line) = (fill(), exhausted(net));
        assert_eq!(held.len(), 0, "{line:?}");
        let holders: Vec<Holds> = line.holders.iter().flatten().map(holds).collect();
        let largest = (PROCESSES - LARGEST + 1..=PROCESSES).rev();
        let expected: Vec<Holds> = largest.filter_map(|n| expected.remove(&n)).collect();
        assert_eq!(holders, expected);
        let space = line.space.expect("the space");
        assert_eq!((space.capacity as usize, space.used as usize), (total, total), "{space:?}");
    });
}

#[test]
fn a_connection_handed_to_a_child_by_fork_stays_with_the_parent_that_made_it() {
    scenario(|net| {
        ephemeral_range(40_000, 40_003);
        let _server = net.server();
        let mut traffic = Traffic::start(&["fork", "127.0.0.1:80"]);
        traffic.taken().expect("a connection");
        assert!(traffic.wait().success());
        let (held, line) = (fill(), exhausted(net));
        assert_eq!(held.len(), 3);
        assert_eq!(others(&line), [of(&traffic, [1, 0, 0])]);
    });
}

#[test]
fn an_accepted_connection_belongs_to_the_process_that_accepted_it() {
    scenario(|net| {
        ephemeral_range(40_000, 40_001);
        let mut traffic = Traffic::start(&["inherit", "127.0.0.1:0"]);
        let listener = traffic.taken().expect("a listener");
        assert!(traffic.wait().success());
        // From below the range.
        let _client = tcp().bind(local(4000)).connect(listener.local);
        let child = traffic.taken().expect("an accepted connection");
        assert_ne!(child.owner.pid, traffic.pid());
        let _rest = tcp().bind(ANY);
        assert_eq!(tcp().try_bind(ANY), Err(Errno::EADDRINUSE));
        let line = exhausted(net);
        // Without function probes nobody tells who accepts: the listener's owner is known.
        let is_exact = Backend::chosen().is_exact();
        let pid = if is_exact { child.owner.pid } else { traffic.pid() };
        assert_eq!(others(&line), [Holds { pid, ..of(&traffic, [1, 0, 0]) }]);
    });
}

#[test]
fn the_time_waits_of_a_killed_process_keep_its_name() {
    scenario(|net| {
        ephemeral_range(40_000, 40_007);
        sysctl("ipv4/tcp_tw_reuse", "0");
        let server = net.server();
        let mut traffic = Traffic::start(&["hold", "5", "127.0.0.1:80"]);
        for _ in 0..5 {
            traffic.taken().expect("a connection");
        }
        traffic.kill();
        traffic.wait();
        Children::accept(&server, 5).close(5);
        let (held, line) = (fill(), exhausted(net));
        assert_eq!(held.len(), 3);
        assert_eq!(others(&line), [of(&traffic, [0, 5, 0])]);
    });
}

#[test]
fn a_conflict_names_who_has_the_port() {
    scenario(|net| {
        let mut traffic = Traffic::start(&["inherit", "127.0.0.1:4000"]);
        let listener = traffic.taken().expect("a listener");
        net.forget();
        assert_eq!(tcp().try_bind(listener.local), Err(Errno::EADDRINUSE));
        let lines = net.mark();
        let [Body::Conflict(Conflict { holders: Some(holders), .. })] =
            &lines.iter().map(|line| line.body.clone()).collect::<Vec<_>>()[..]
        else {
            panic!("not one conflict with its holders: {lines:?}")
        };
        let holders: Vec<Holds> = holders.iter().map(holds).collect();
        assert_eq!(holders, [of(&traffic, [0, 0, 1])]);
    });
}

fn of(traffic: &Traffic, [established, time_wait, bound]: [u32; 3]) -> Holds {
    Holds { pid: traffic.pid(), name: "traffic".to_owned(), established, time_wait, bound }
}
