//! The backend `poll`: what it finds when it compares lists of sockets, without any probe.

use tests::lines::Body;
use tests::net::SERVER;
use tests::observer::Observer;
use tests::socket::{ANY, Held, tcp};

#[test]
fn poll_finds_ports_that_are_held_for_a_while() {
    // In the namespace of the test itself, and with a few ports only.
    let observer = match Observer::with_backend("poll", &[]) {
        Ok(observer) => observer,
        Err(error) if tests::system::must_load() => panic!("{error:#}"),
        Err(error) => return println!("skipped: {error:#}"),
    };
    let start = observer.first_line();
    assert_eq!((start.backend.as_str(), start.exact), ("poll", false));
    assert!(!start.missing.is_empty(), "it says what it can't see");

    let mut listener: Held = tcp().bind(ANY).listen();
    assert_ne!(listener.local, SERVER);
    let port = listener.port();
    let is_acquire = |body: &Body| matches!(body, Body::Acquire(line) if line.local.port == port);
    let found =
        observer.wait_lines(0, |lines| lines.iter().find(|line| is_acquire(&line.body)).cloned());
    let found = found.unwrap_or_else(|error| panic!("wait for the acquire: {error:#}"));
    let Body::Acquire(acquire) = &found.body else { panic!("{found:?}") };
    let process = acquire.process.as_ref().expect("its process, which is this one");
    assert_eq!(process.pid, std::process::id());

    listener.close();
    let is_release = |body: &Body| matches!(body, Body::Release(line) if line.local.port == port);
    let found = observer
        .wait_lines(0, |lines| lines.iter().any(|line| is_release(&line.body)).then_some(()));
    found.unwrap_or_else(|error| panic!("wait for the release: {error:#}"));
    observer.interrupted();
}
