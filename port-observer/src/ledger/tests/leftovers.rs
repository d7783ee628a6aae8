//! What came before and was not told to its end.

use super::*;

#[test]
fn a_connect_on_a_bound_socket_with_the_4_tuple_of_time_wait_has_reused_it() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    book.tell(SOCKET, to_web(40000), TIME_WAIT_UNNAMED);
    book.tell(OTHER, bound(40000), bind("wget"));
    let said = book.tell(OTHER, to_web(40000), connect("wget"));
    assert_eq!(said, ["release time_wait_reused 40000>10.0.0.9:80 curl 30ns"]);
    assert_eq!(book.ledger.holdings().time_waits().count(), 0);
}

#[test]
fn an_address_used_again_after_a_lost_release_is_another_socket() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    let said = book.tell(SOCKET, to_web(40001), connect("wget"));
    let expected = [
        "release reconciled 40000>10.0.0.9:80 curl 10ns",
        "acquire connect 40001>10.0.0.9:80 wget",
    ];
    assert_eq!(said, expected);
    assert_eq!(book.ledger.unseen_ends, 1);
    let said = book.tell(SOCKET, to_web(40001), CLOSED);
    assert_eq!(said, ["release closed 40001>10.0.0.9:80 wget 10ns"]);
    assert_eq!(book.totals(), (2, 2, 0));
    assert_eq!(book.ledger.unseen_ends, 1);
}

#[test]
fn so_is_one_that_is_bound_to_the_same_port_again() {
    let mut book = Book::new();
    book.tell(SOCKET, bound(8080), bind("web"));
    let said = book.tell(SOCKET, bound(8080), bind("next"));
    assert_eq!(said, ["release reconciled 8080> web 10ns", "acquire bind 8080> next"]);
    assert_eq!(book.ledger.unseen_ends, 1);
}

#[test]
fn so_is_one_that_a_child_or_a_socket_in_time_wait_had() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(8080), inherit());
    let said = book.tell(SOCKET, to_web(40000), connect("curl"));
    assert_eq!(said, ["acquire connect 40000>10.0.0.9:80 curl"]);
    book.tell(SOCKET, to_web(40000), TIME_WAIT);
    let said = book.tell(SOCKET, to_web(40001), connect("wget"));
    assert_eq!(said, ["acquire connect 40001>10.0.0.9:80 wget"]);
}

#[test]
fn what_ends_another_port_of_a_known_address_is_not_put_on_its_last_owner() {
    for (end, expected) in [
        (CLOSED, "release closed 40001>10.0.0.9:80 -"),
        (TIME_WAIT, "time_wait 40001>10.0.0.9:80 -"),
    ] {
        let mut book = Book::new();
        book.tell(SOCKET, to_web(40000), connect("curl"));
        let said = book.tell(SOCKET, to_web(40001), end);
        assert_eq!(said, ["release reconciled 40000>10.0.0.9:80 curl 10ns", expected]);
    }
}

#[test]
fn a_child_at_the_address_of_an_owner_of_another_port_is_a_child() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    let said = book.tell(SOCKET, to_web(8080), inherit());
    assert_eq!(said, ["release reconciled 40000>10.0.0.9:80 curl 10ns"]);
    assert_eq!(book.tell(SOCKET, to_web(8080), CLOSED), NO_LINES);
}

#[test]
fn a_time_wait_that_may_have_been_told_already_is_news_of_a_socket_that_is_known() {
    let again = || Kind::Again(Box::new(TIME_WAIT_UNNAMED));
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    assert_eq!(book.tell(SOCKET, to_web(40000), again()), ["time_wait 40000>10.0.0.9:80 curl"]);
    assert_eq!(book.tell(SOCKET, to_web(40000), again()), NO_LINES);
    let said = book.tell(ENTRY, to_web(40000), release(Reason::TimeWaitExpired));
    assert_eq!(said, ["release time_wait_expired 40000>10.0.0.9:80 curl 30ns"]);
    // Told by its own program, whose entry is known.
    book.tell(SOCKET, to_web(40001), connect("curl"));
    book.tell(SOCKET, to_web(40001), TIME_WAIT);
    assert_eq!(book.tell(SOCKET, to_web(40001), again()), NO_LINES);
    assert_eq!(book.tell(SOCKET, to_web(40001), CLOSED), NO_LINES);
    assert_eq!(book.ledger.holdings().len(), 1);
}
