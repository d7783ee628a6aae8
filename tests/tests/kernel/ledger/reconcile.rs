//! After events were lost, the program's account is the kernel's again.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests::lines::{Body, Line, Namespace};
use tests::net::{
    ESTABLISHED, LISTEN, TIME_WAIT, ephemeral_range, in_namespace, sysctl, tcp_states,
};
use tests::observer::Observer;
use tests::socket::{Held, local, tcp};
use tests::system::in_virtual_machine;

const FIRST: u16 = 20_000;
const LAST: u16 = 49_999;

/// By when the account is right again. An emulated processor takes several times as long for all.
fn allowed() -> Duration {
    Duration::from_secs(if in_virtual_machine() { 6 } else { 1 })
}

/// Used ports, connections, TIME_WAIT, listeners.
type Counts = [u32; 4];

fn stated(line: &Line, inode: u32) -> Option<Counts> {
    let Body::Summary(summary) = &line.body else { return None };
    let found = summary.namespaces.iter().find(|namespace| namespace.netns == inode);
    let Namespace { tcp, .. } = found?;
    assert_eq!(tcp.bound, 0, "{tcp:?}");
    Some([tcp.used_ports, tcp.connections, tcp.time_wait, tcp.listening])
}

/// Of connections those whose local port is in the range: accepted ones have their listener's.
fn real() -> Counts {
    let states = tcp_states();
    let of = |state| states.get(&state).map_or(&[][..], Vec::as_slice);
    let in_range = |port: &&u16| (FIRST..=LAST).contains(*port);
    let count = |state| of(state).iter().filter(in_range).count() as u32;
    let ports = states.values().flatten().filter(in_range).collect::<HashSet<_>>().len() as u32;
    [ports, count(ESTABLISHED), count(TIME_WAIT), of(LISTEN).len() as u32]
}

/// Two listeners, what is connected to them, and how it changes.
struct Sockets {
    listeners: [Held; 2],
    held: Vec<Held>,
    children: Vec<Held>,
}

impl Sockets {
    fn connect(&mut self, count: usize) {
        for number in 0..count {
            let listener = &self.listeners[number % 2];
            self.held.push(tcp().connect(listener.local));
            self.children.push(listener.accept());
        }
    }

    fn close(&mut self, count: usize) {
        for (mut held, mut child) in self.held.drain(..count).zip(self.children.drain(..count)) {
            held.close();
            child.read_to_the_end();
            child.close();
        }
    }

    fn reset(&mut self, count: usize) {
        for (mut held, child) in self.held.drain(..count).zip(self.children.drain(..count)) {
            held.reset();
            child.read_to_the_end();
        }
    }
}

#[test]
fn a_second_after_a_loss_the_summary_is_what_the_kernel_lists() {
    in_namespace(|inode| {
        ephemeral_range(FIRST, LAST);
        sysctl("ipv4/tcp_tw_reuse", "0");
        let listeners = [1000, 1001].map(|port| tcp().bind(local(port)).listen());
        let netns = inode.to_string();
        let arguments = ["--netns", &netns, "--buffer-size", "64KiB", "--summary", "250ms"];
        let observer = Observer::own(&arguments)?;
        let mut sockets = Sockets { listeners, held: Vec::new(), children: Vec::new() };
        sockets.connect(300);
        sockets.close(50);
        // Known before anything is lost: what is lost is the end of these, too.
        let known = observer.wait_lines(0, |lines| {
            let last = lines.iter().rev().find_map(|line| stated(line, inode))?;
            (last == real()).then_some(())
        });
        known.unwrap_or_else(|error| {
            let said = observer.wait_lines(0, |lines| Some(lines.last().cloned()));
            panic!("{:?} was never said: {error:#}, but {said:?}", real())
        });

        observer.stopped();
        // First what fills the buffer, then what is lost: all kinds of it.
        for _ in 0..1500 {
            sockets.connect(1);
            let last = sockets.held.len() - 1;
            sockets.held.swap(0, last);
            sockets.children.swap(0, last);
            sockets.reset(1);
        }
        sockets.reset(70);
        sockets.close(60);
        sockets.connect(200);
        let position = observer.position();
        let resumed = Instant::now();
        observer.signal(Signal::SIGCONT);
        thread::sleep(allowed());
        // The first summary that was written after that.
        let after = observer.position();
        let real = real();
        let said =
            observer.wait_lines(after, |lines| lines.iter().find_map(|line| stated(line, inode)));
        let said = said.unwrap_or_else(|error| panic!("wait for a summary: {error:#}"));
        println!("{:?} after it went on: {said:?}", resumed.elapsed());
        let lines = observer.wait_lines(position, |lines| Some(lines.to_vec())).expect("lines");
        let is_lost = |line: &&Line| matches!(line.body, Body::Lost(_));
        assert!(lines.iter().any(|line| is_lost(&line)), "nothing was lost");
        assert_eq!(said, real, "used ports, connections, TIME_WAIT, listeners");

        let ended = observer.interrupted();
        let reconciled = ended.lines.iter().filter(
            |line| matches!(&line.body, Body::Release(release) if release.reason == "reconciled"),
        );
        // The 70 and what was connected when the buffer became full; of TIME_WAIT, none is over.
        let reconciled = reconciled.count();
        assert!((70..200).contains(&reconciled), "{reconciled} releases were reconciled");
        Some(())
    });
}
