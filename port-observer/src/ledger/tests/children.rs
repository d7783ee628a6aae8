//! Accepted children, and a socket that is its own peer.

use super::*;

#[test]
fn accepted_children_say_nothing_and_neither_does_their_time_wait() {
    for time_wait in [TIME_WAIT, TIME_WAIT_UNNAMED] {
        let done = time_wait == TIME_WAIT_UNNAMED;
        let mut book = Book::new();
        book.tell(OTHER, bound(40000), bind("web"));
        let inherit = inherit();
        assert_eq!(book.tell(SOCKET, to_web(40000), inherit), NO_LINES);
        assert_eq!(book.tell(SOCKET, to_web(40000), time_wait), NO_LINES);
        if !done {
            assert_eq!(book.tell(SOCKET, to_web(40000), CLOSED), NO_LINES);
            let expired = release(Reason::TimeWaitExpired);
            assert_eq!(book.tell(ENTRY, to_web(40000), expired), NO_LINES);
        } else {
            let expired = release(Reason::TimeWaitExpired);
            assert_eq!(book.tell(SocketId(0), to_web(40000), expired), NO_LINES);
        }
        assert_eq!(book.ledger.holdings().len(), 1, "the listener");
        assert_eq!(book.totals(), (1, 0, 0));
    }
}

#[test]
fn an_accepted_child_that_is_closed_says_nothing() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), inherit());
    assert_eq!(book.tell(SOCKET, to_web(40000), CLOSED), NO_LINES);
    assert!(book.ledger.holdings().is_empty());
}

#[test]
fn a_socket_that_connected_to_itself_keeps_its_owner() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    assert_eq!(book.tell(SOCKET, to_web(40000), inherit()), NO_LINES);
    let said = book.tell(SOCKET, to_web(40000), CLOSED);
    assert_eq!(said, ["release closed 40000>10.0.0.9:80 curl 20ns"]);
}

#[test]
fn the_release_of_a_child_that_was_not_told_of_says_nothing() {
    let mut book = Book::new();
    book.tell(OTHER, bound(40000), bind("web"));
    assert_eq!(book.tell(OTHER, bound(40000), Kind::Listen), NO_LINES);
    assert_eq!(book.tell(SOCKET, to_web(40000), CLOSED), NO_LINES);
    assert_eq!(book.totals(), (1, 0, 0));
}

#[test]
fn neither_does_one_outside_of_the_range_whose_listener_is_gone() {
    let mut book = Book::new();
    book.apply(spaces::settings(40000, 40099, 0, 0));
    assert_eq!(book.tell(SOCKET, to_web(39999), CLOSED), NO_LINES);
    let said = book.tell(SOCKET, to_web(40000), CLOSED);
    assert_eq!(said, ["release closed 40000>10.0.0.9:80 -"], "the kernel may have chosen it");
}
