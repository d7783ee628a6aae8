//! When a space will be full.

use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tests::lines::{Body, Line};
use tests::net::{SERVER, ephemeral_range, in_namespace};
use tests::observer::Observer;
use tests::socket::{Held, tcp};
use tests::system::{in_virtual_machine, patience};

/// How far off a statement may be, as a part of the time that was left.
const TOLERANCE: f64 = 0.1;

/// Ports, connections per second, and how long ahead the statements are that are compared.
///
/// In an emulated machine, where each second costs several, the same at a third of the length.
fn plan() -> (u16, u32, [f64; 3]) {
    if in_virtual_machine() { (240, 12, [14.0, 10.0, 5.0]) } else { (800, 12, [60.0, 30.0, 10.0]) }
}

fn seconds_between(from: &Line, to: &Line) -> f64 {
    to.time.duration_since(from.time).as_secs_f64()
}

#[test]
fn at_a_constant_rate_it_is_full_when_it_was_said_to_be() {
    let (ports, rate, ahead) = plan();
    in_namespace(|inode| {
        ephemeral_range(40_000, 40_000 + ports - 1);
        let _server = tcp().bind(SERVER).listen();
        let netns = inode.to_string();
        let observer = Observer::own(&["--netns", &netns, "--spaces"])?;

        let mut held: Vec<Held> = Vec::new();
        let began = Instant::now();
        loop {
            let due = began + Duration::from_secs(1) * held.len() as u32 / rate;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let mut a = tcp();
            match a.try_connect(SERVER) {
                Ok(()) => held.push(a),
                Err(error) => break assert_eq!(error, Errno::EADDRNOTAVAIL),
            }
        }
        assert_eq!(held.len(), usize::from(ports));
        let ended = observer.interrupted_within(patience());

        let is_full = |line: &&Line| matches!(line.body, Body::Exhausted(_));
        let full = ended.lines.iter().find(is_full).expect("an exhausted line");
        for seconds in ahead {
            let before = |line: &&Line| seconds_between(line, full) <= seconds;
            let line = ended.lines.iter().filter(|line| matches!(line.body, Body::Acquire(_)));
            let line = line.clone().find(before).expect("a line so long before");
            let Body::Acquire(acquire) = &line.body else { panic!("{line:?}") };
            let space = acquire.space.as_ref().expect("its space");
            let stated = space.seconds_to_exhaustion.expect("how long there are ports");
            let left = seconds_between(line, full);
            println!("{left:.1} s ahead: {stated:.1} s were stated");
            let error = (stated - left).abs() / left;
            assert!(error <= TOLERANCE, "stated {stated} s, it was {left} s: {space:?}");
        }
        Some(())
    });
}
