//! TIME_WAIT entries, named and not.

use super::*;

#[test]
fn time_wait_keeps_the_port_and_the_owner_until_its_entry_ends() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    let said = book.tell(SOCKET, to_web(40000), TIME_WAIT);
    assert_eq!(said, ["time_wait 40000>10.0.0.9:80 curl"]);
    // The socket's own release frees nothing.
    assert_eq!(book.tell(SOCKET, to_web(40000), CLOSED), NO_LINES);
    assert_eq!(book.totals(), (1, 0, 0));
    let said = book.tell(ENTRY, to_web(40000), release(Reason::TimeWaitExpired));
    assert_eq!(said, ["release time_wait_expired 40000>10.0.0.9:80 curl 30ns"]);
    assert!(book.ledger.holdings().is_empty());
}

#[test]
fn time_wait_whose_entry_a_connect_reused_is_released_before_the_new_acquire() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.tell(SOCKET, to_web(40000), TIME_WAIT);
    book.tell(SOCKET, to_web(40000), CLOSED);
    let said = book.tell(ENTRY, to_web(40000), release(Reason::TimeWaitReused));
    assert_eq!(said, ["release time_wait_reused 40000>10.0.0.9:80 curl 30ns"]);
    // The address of the socket is used again at once.
    let said = book.tell(SOCKET, to_web(40000), connect("wget"));
    assert_eq!(said, ["acquire connect 40000>10.0.0.9:80 wget"]);
}

#[test]
fn time_wait_that_a_connect_shows_to_be_over_after_its_time_has_expired() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.tell(SOCKET, to_web(40000), TIME_WAIT_UNNAMED);
    book.now_ns += crate::event::TIME_WAIT_NS;
    let said = book.tell(OTHER, to_web(40000), connect("wget"));
    assert_eq!(said[0], "release time_wait_expired 40000>10.0.0.9:80 curl 60000000020ns");
    assert_eq!(said[1], "acquire connect 40000>10.0.0.9:80 wget");
}

#[test]
fn time_wait_of_a_socket_that_was_there_before_has_no_owner() {
    let mut book = Book::new();
    let said = book.tell(SOCKET, to_web(40000), TIME_WAIT);
    assert_eq!(said, ["time_wait 40000>10.0.0.9:80 -"]);
    assert_eq!(book.tell(SOCKET, to_web(40000), CLOSED), NO_LINES);
    let said = book.tell(ENTRY, to_web(40000), release(Reason::TimeWaitExpired));
    assert_eq!(said, ["release time_wait_expired 40000>10.0.0.9:80 -"]);
    assert!(book.ledger.holdings().is_empty());
}

#[test]
fn a_child_with_the_4_tuple_of_time_wait_without_identity_has_reused_it() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.tell(SOCKET, to_web(40000), TIME_WAIT_UNNAMED);
    let said = book.tell(OTHER, to_web(40000), inherit());
    assert_eq!(said, ["release time_wait_reused 40000>10.0.0.9:80 curl 20ns"]);
    assert_eq!(book.ledger.holdings().len(), 1);
}

#[test]
fn time_wait_that_was_reset_is_released_as_that() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.tell(SOCKET, to_web(40000), TIME_WAIT);
    let said = book.tell(ENTRY, to_web(40000), release(Reason::TimeWaitReset));
    assert_eq!(said, ["release time_wait_reset 40000>10.0.0.9:80 curl 20ns"]);
    assert!(book.ledger.holdings().is_empty());
}

#[test]
fn time_wait_without_identity_is_ended_by_its_4_tuple() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    let said = book.tell(SOCKET, to_web(40000), TIME_WAIT_UNNAMED);
    assert_eq!(said, ["time_wait 40000>10.0.0.9:80 curl"]);
    let waiting: Vec<_> = book.ledger.holdings().time_waits().collect();
    assert_eq!(waiting, [(to_web(40000), 20)]);
    // What comparison with the kernel's list makes of it.
    let said = book.tell(SocketId(0), to_web(40000), release(Reason::TimeWaitExpired));
    assert_eq!(said, ["release time_wait_expired 40000>10.0.0.9:80 curl 20ns"]);
    assert!(book.ledger.holdings().is_empty());
}

#[test]
fn a_connect_with_the_4_tuple_of_time_wait_without_identity_has_reused_it() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.tell(SOCKET, to_web(40000), TIME_WAIT_UNNAMED);
    let said = book.tell(OTHER, to_web(40000), connect("wget"));
    let expected = [
        "release time_wait_reused 40000>10.0.0.9:80 curl 20ns",
        "acquire connect 40000>10.0.0.9:80 wget",
    ];
    assert_eq!(said, expected);
    assert_eq!(book.ledger.holdings().len(), 1);
}
