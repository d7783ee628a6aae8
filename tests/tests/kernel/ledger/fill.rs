//! Until no port is left.

use nix::errno::Errno;
use tests::lines::{Body, Exhausted};
use tests::net::{Net, SERVER};
use tests::socket::{Held, tcp};

/// Connects to [`SERVER`] until there is no port, and returns what could be connected.
pub fn fill() -> Vec<Held> {
    let mut held = Vec::new();
    loop {
        let mut a = tcp();
        match a.try_connect(SERVER) {
            Ok(()) => held.push(a),
            Err(error) => {
                assert_eq!(error, Errno::EADDRNOTAVAIL);
                return held;
            }
        }
    }
}

/// The one exhausted line since the last look.
pub fn exhausted(net: &Net) -> Exhausted {
    only(net, |body| match body {
        Body::Exhausted(line) => Some(line.clone()),
        _ => None,
    })
}

/// The one line of a type since the last look.
pub fn only<T>(net: &Net, of_type: impl Fn(&Body) -> Option<T>) -> T {
    let lines = net.mark();
    let mut found = lines.iter().filter_map(|line| of_type(&line.body));
    match (found.next(), found.next()) {
        (Some(line), None) => line,
        _ => panic!("not one such line: {lines:?}"),
    }
}
