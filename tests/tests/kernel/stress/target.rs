//! What is loaded where it is.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{assert_observed, connections, limit, run, stress};

/// Accepts and keeps connections while something is done with its address.
fn with_server(done: impl FnOnce(&str)) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let at = listener.local_addr().expect("its address").to_string();
    listener.set_nonblocking(true).expect("set");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut kept = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((one, _)) => kept.push(one),
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        // Also where it panics: the thread above ends with the scope.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| done(&at)));
        is_over.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn a_target_of_this_namespace_is_loaded_with_bounds() {
    with_server(|at| {
        let answer = stress(&["--to", at, "--connections", "200"]);
        assert_eq!((limit(&answer), connections(&answer)), ("requested", 200));
        assert_eq!(answer["server"]["address"], at);
        assert_eq!(answer["server"]["accepting"], true);
        // Some may wait in its queue yet.
        assert!(answer["server"]["connections"].as_u64() >= Some(150), "{answer}");
        assert!(answer["server"]["recovered_seconds"].is_number(), "{answer}");
        assert_eq!(answer["configuration"]["rate_per_second"], 500);
        assert_observed(&answer, 200, 0);
    });
    let gone = TcpListener::bind("127.0.0.1:0").expect("listen");
    let at = gone.local_addr().expect("its address").to_string();
    drop(gone);
    let answer = stress(&["--to", &at]);
    assert_eq!((limit(&answer), connections(&answer)), ("server", 0));
    assert_eq!(answer["breaking_point"]["errno"], "ECONNREFUSED");
    assert_eq!(answer["server"]["accepting"], false);
}

#[test]
fn a_target_elsewhere_takes_a_word_and_bounds_hold() {
    for (arguments, why) in [
        (&["--to", "192.0.2.1:80"][..], "192.0.2.1:80 is outside of this network namespace"),
        (&["--to", "127.0.0.1:80", "--connections", "20001"], "20000 at most"),
        (&["--to", "127.0.0.1:80", "--range", "40000-40099"], "cannot be used with"),
        (&["--i-own-this-target"], "--to"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
}
