//! What a round adds to what was told.

use std::collections::HashSet;

use super::{udp::SETTLING_NS, *};
use crate::event::{Endpoint, ListedSocket, Reuse, Sharing, Via};

impl Reconcile {
    /// What [`Reconcile::compare`] concludes, without whom to ask for.
    fn told(
        &mut self,
        listing: &Listing,
        time_waits: impl Iterator<Item = (Flow, u64)>,
        holders: &[UdpHolder],
    ) -> Vec<Event> {
        let concluded = self.compare(listing, time_waits, holders);
        concluded.into_iter().map(|one| one.event).collect()
    }
}

const NETNS: u32 = 7;

fn endpoint(text: &str) -> Endpoint {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

fn flow(protocol: Protocol, local: &str, remote: Option<&str>) -> Flow {
    Flow { netns: NETNS, protocol, local: endpoint(local), remote: remote.map(endpoint) }
}

fn round(time_ns: u64, time_waits: &[Flow], udp: &[&str]) -> Listing {
    let udp: Vec<ListedSocket> = udp
        .iter()
        .map(|local| ListedSocket {
            socket: SocketId(99),
            flow: flow(Protocol::Udp, local, None),
            ipv6_only: false,
            inode: 5,
        })
        .collect();
    let namespaces = HashSet::from([NETNS]);
    let time_waits = Some(time_waits.iter().map(|&flow| (flow, false)).collect());
    Listing { time_ns, namespaces, time_waits, udp: Some(udp), sockets: None, on_port: None }
}

fn kinds(events: &[Event]) -> Vec<&Kind> {
    events
        .iter()
        .map(|event| match event {
            Event::Socket(event) => &event.kind,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn time_wait_that_the_kernel_no_longer_lists_has_ended() {
    let mut reconcile = Reconcile::default();
    let entry = flow(Protocol::Tcp, "127.0.0.1:40000", Some("127.0.0.1:80"));
    let now = 100_000_000_000;
    let compare = |reconcile: &mut Reconcile, listed: &[Flow], since: u64| {
        reconcile.told(&round(now, listed, &[]), [(entry, since)].into_iter(), &[])
    };
    assert_eq!(compare(&mut reconcile, &[entry], 1), []);
    // Began after the look.
    assert_eq!(compare(&mut reconcile, &[], now), []);
    assert_eq!(
        kinds(&compare(&mut reconcile, &[], now - TIME_WAIT_NS)),
        [&Kind::Release { reason: Reason::TimeWaitExpired }]
    );
    assert_eq!(
        kinds(&compare(&mut Reconcile::default(), &[], now - 1)),
        [&Kind::Release { reason: Reason::Reconciled }]
    );
}

#[test]
fn time_wait_that_was_listed_and_ends_early_was_reset() {
    let entry = flow(Protocol::Tcp, "127.0.0.1:40000", Some("127.0.0.1:80"));
    let (second, since) = (1_000_000_000, 100_000_000_000);
    let mut reconcile = Reconcile::default();
    let mut compare = |time_ns, listed: &[Flow], since: u64| {
        let entries = [(entry, since)].into_iter();
        reconcile.told(&round(time_ns, listed, &[]), entries, &[])
    };
    assert_eq!(compare(since + second, &[entry], since), []);
    let reset = Kind::Release { reason: Reason::TimeWaitReset };
    assert_eq!(kinds(&compare(since + 2 * second, &[], since)), [&reset]);
    // The next one began after that look.
    let unknown = Kind::Release { reason: Reason::Reconciled };
    let next = since + 2 * second + 1;
    assert_eq!(kinds(&compare(since + 3 * second, &[], next)), [&unknown]);
}

#[test]
fn a_time_wait_entry_that_awaited_the_peers_fin_may_have_run_out_early() {
    let entry = flow(Protocol::Tcp, "127.0.0.1:40000", Some("127.0.0.1:80"));
    let mut reconcile = Reconcile::default();
    reconcile.awaiting.insert(entry, 5);
    let mut listed = round(10, &[], &[]);
    listed.time_waits = Some([(entry, true)].into_iter().collect());
    assert_eq!(reconcile.told(&listed, [(entry, 5)].into_iter(), &[]), []);
    let unknown = Kind::Release { reason: Reason::Reconciled };
    assert_eq!(
        kinds(&reconcile.told(&round(20, &[], &[]), [(entry, 5)].into_iter(), &[])),
        [&unknown]
    );
}

#[test]
fn the_late_fin_of_a_time_wait_entry_is_told_once() {
    let mut reconcile = Reconcile::default();
    let entry = flow(Protocol::Tcp, "127.0.0.1:40000", Some("127.0.0.1:80"));
    let reuse = Reuse { fin_wait2: true, timestamps: true };
    reconcile.pass(&mut SocketEvent {
        time_ns: 5,
        socket: SocketId(7),
        flow: entry,
        kind: Kind::TimeWait { successor: None, done: false, reuse },
    });
    let mut compare = |time_ns, listed: &[(Flow, bool)]| {
        let mut round = round(time_ns, &[], &[]);
        round.time_waits = Some(listed.iter().copied().collect());
        reconcile.told(&round, std::iter::empty(), &[])
    };
    // Began after the look.
    assert_eq!(compare(4, &[]), []);
    assert_eq!(compare(6, &[(entry, true)]), []);
    assert_eq!(kinds(&compare(7, &[(entry, false)])), [&Kind::FinReceived]);
    assert_eq!(compare(8, &[(entry, false)]), []);
}

/// Found by a list alone.
fn is_found(events: &[Event]) -> bool {
    matches!(kinds(events)[..], [Kind::Acquire { via: Via::Autobind, .. }])
}

/// A UDP socket that the ledger has.
fn held(socket: u64, local: &str, since_ns: Option<u64>) -> UdpHolder {
    let flow = flow(Protocol::Udp, local, None);
    UdpHolder { socket: SocketId(socket), flow, takes_ipv4: true, since_ns }
}

fn compare_udp(
    reconcile: &mut Reconcile,
    time_ns: u64,
    listed: &[&str],
    held: &[UdpHolder],
) -> Vec<Event> {
    reconcile.told(&round(time_ns, &[], listed), std::iter::empty(), held)
}

/// A program told of the end of a UDP socket.
fn closed(time_ns: u64, local: &str) -> SocketEvent {
    let flow = flow(Protocol::Udp, local, None);
    let kind = Kind::Release { reason: Reason::Closed };
    SocketEvent { time_ns, socket: SocketId(0xffff_8880_0000_0000), flow, kind }
}

#[test]
fn a_udp_port_that_nobody_told_of_is_found_and_its_end_joined_to_it() {
    let mut reconcile = Reconcile::default();
    let before = [held(7, "0.0.0.0:53", None)];
    assert_eq!(compare_udp(&mut reconcile, 1, &["0.0.0.0:53"], &before), []);
    let listed = ["0.0.0.0:53", "0.0.0.0:4000"];
    let found = compare_udp(&mut reconcile, 2, &listed, &before);
    assert!(is_found(&found), "{found:?}");
    assert_eq!(
        compare_udp(&mut reconcile, 3, &listed, &before),
        [],
        "told once, room for it or not"
    );
    let mut event = closed(4, "0.0.0.0:4000");
    reconcile.pass(&mut event);
    assert_eq!(event.socket, SocketId(99));
    assert_eq!(compare_udp(&mut reconcile, 5, &["0.0.0.0:53"], &before), []);
}

#[test]
fn a_udp_port_that_a_later_scan_finds_first_is_left_to_the_comparison() {
    let mut reconcile = Reconcile::default();
    let mut scanned = Existing {
        time_ns: 1,
        socket: Some(SocketId(7)),
        flow: flow(Protocol::Udp, "0.0.0.0:53", None),
        state: TcpState::CLOSE,
        reuse: None,
        sharing: Sharing::default(),
        blocked: None,
        task: None,
    };
    let known = || [held(7, "0.0.0.0:53", None)].into_iter();
    let none = std::iter::empty::<UdpHolder>;
    assert!(reconcile.pass_existing(&mut scanned, none()), "held before");
    compare_udp(&mut reconcile, 1, &["0.0.0.0:53"], &[held(7, "0.0.0.0:53", None)]);
    assert!(reconcile.pass_existing(&mut scanned, known()), "known");
    assert!(!reconcile.pass_existing(&mut scanned, none()), "taken since");
    let other = [held(7, "[::1]:53", None)].into_iter();
    assert!(!reconcile.pass_existing(&mut scanned, other), "taken beside another");
    compare_udp(&mut reconcile, 2, &["0.0.0.0:53"], &[]);
    assert!(reconcile.pass_existing(&mut scanned, known()));
    assert_eq!(scanned.socket, Some(SocketId(99)), "as it was found");
}

#[test]
fn a_udp_port_is_found_beside_one_of_the_other_family() {
    let mut reconcile = Reconcile::default();
    let bound = [held(7, "[::1]:4000", Some(1))];
    let found = compare_udp(&mut reconcile, 2, &["[::1]:4000", "0.0.0.0:4000"], &bound);
    assert!(is_found(&found), "{found:?}");
    let both = [bound[0], held(99, "0.0.0.0:4000", Some(2))];
    let gone = compare_udp(&mut reconcile, 3, &["0.0.0.0:4000"], &both);
    let [Event::Socket(SocketEvent { socket: SocketId(7), .. })] = gone[..] else {
        panic!("{gone:?}")
    };
}

#[test]
fn the_address_that_connect_gives_a_udp_socket_is_told_once() {
    let mut reconcile = Reconcile::default();
    let bound = [held(7, "0.0.0.0:4000", Some(1)), held(8, "0.0.0.0:5000", Some(1))];
    let listed = ["127.0.0.1:4000", "0.0.0.0:5000"];
    let told = compare_udp(&mut reconcile, 2, &listed, &bound);
    let [Event::Socket(SocketEvent { socket: SocketId(7), flow: moved, kind: Kind::Rehash, .. })] =
        told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(moved, flow(Protocol::Udp, "127.0.0.1:4000", None));
    let bound = [held(7, "127.0.0.1:4000", Some(1)), bound[1]];
    assert_eq!(compare_udp(&mut reconcile, 3, &listed, &bound), []);
    // The list is older than what is known.
    let since = [held(9, "0.0.0.0:4000", Some(5)), bound[1]];
    assert_eq!(compare_udp(&mut reconcile, 4, &listed, &since), []);
    // One of two on a port.
    let both = [held(7, "0.0.0.0:4000", Some(1)), held(9, "0.0.0.0:4000", Some(1)), bound[1]];
    let listed = ["127.0.0.1:4000", "0.0.0.0:4000", "0.0.0.0:5000"];
    assert_eq!(compare_udp(&mut reconcile, 6, &listed, &both), []);
}

#[test]
fn a_udp_socket_of_both_families_is_the_same_once_it_is_connected_over_ipv4() {
    let mut reconcile = Reconcile::default();
    let bound = [held(7, "[::]:4000", Some(1))];
    let moved = compare_udp(&mut reconcile, 2, &["127.0.0.1:4000"], &bound);
    assert_eq!(kinds(&moved), [&Kind::Rehash]);
    let bound = [held(7, "127.0.0.1:4000", Some(1))];
    compare_udp(&mut reconcile, 3, &["127.0.0.1:4000", "[::]:5000"], &bound);
    let mut event = closed(4, "127.0.0.1:5000");
    reconcile.pass(&mut event);
    assert_eq!(event.socket, SocketId(99));
    assert_eq!(compare_udp(&mut reconcile, 5, &["127.0.0.1:4000"], &bound), []);
}

/// Another namespace may have its number soon, in which nothing of it is held.
#[test]
fn a_namespace_that_is_gone_took_everything_along() {
    let reconciled = [&Kind::Release { reason: Reason::Reconciled }];
    let mut reconcile = Reconcile::default();
    let entry = flow(Protocol::Tcp, "127.0.0.1:40000", Some("127.0.0.1:80"));
    let udp = [held(99, "0.0.0.0:4000", Some(1))];
    let mut elsewhere = round(10, &[], &[]);
    elsewhere.namespaces = HashSet::from([NETNS + 1]);
    let mut compare = |gone: &[u32], since_ns| -> [Vec<Event>; 2] {
        reconcile.gone = gone.iter().copied().collect();
        let of_tcp = reconcile.told(&elsewhere, [(entry, since_ns)].into_iter(), &[]);
        [of_tcp, reconcile.told(&elsewhere, std::iter::empty(), &udp)]
    };
    assert_eq!(compare(&[], 1), [vec![], vec![]], "it could not be looked into");
    assert_eq!(compare(&[NETNS], 10)[0], [], "taken after the look");
    for found in compare(&[NETNS], 1) {
        assert_eq!(kinds(&found), reconciled);
    }
}

#[test]
fn a_udp_port_that_is_no_longer_listed_is_reconciled() {
    let mut reconcile = Reconcile::default();
    let reconciled = [&Kind::Release { reason: Reason::Reconciled }];
    compare_udp(&mut reconcile, 1, &["0.0.0.0:4000"], &[]);
    let found = [held(99, "0.0.0.0:4000", Some(1))];
    assert_eq!(kinds(&compare_udp(&mut reconcile, 2, &[], &found)), reconciled);
    // As connect() to AF_UNSPEC does, of a port that bind() took: no program tells of it.
    let bound = [held(7, "0.0.0.0:5000", Some(2))];
    assert_eq!(compare_udp(&mut reconcile, 2, &[], &bound), [], "taken after the look");
    assert_eq!(kinds(&compare_udp(&mut reconcile, 3, &[], &bound)), reconciled);
    let existing = [held(7, "0.0.0.0:5000", None)];
    assert_eq!(kinds(&compare_udp(&mut reconcile, 4, &[], &existing)), reconciled);
}

#[test]
fn nothing_is_concluded_of_what_was_not_listed() {
    let mut reconcile = Reconcile::default();
    let entry = flow(Protocol::Tcp, "127.0.0.1:40000", Some("127.0.0.1:80"));
    let reuse = Reuse { fin_wait2: true, timestamps: true };
    let kind = Kind::TimeWait { successor: None, done: false, reuse };
    // On its way from the kernel while the ledger knew of no TIME_WAIT, so that none was looked at.
    let mut begins = SocketEvent { time_ns: 1, socket: SocketId(7), flow: entry, kind };
    reconcile.pass(&mut begins);
    let unlisted = Listing { time_waits: None, udp: None, ..round(2, &[], &[]) };
    let udp = [held(7, "0.0.0.0:4000", Some(1))];
    let time_waits = || [(entry, 1)].into_iter();
    assert_eq!(reconcile.told(&unlisted, time_waits(), &udp), []);
    let listed = round(3, &[entry], &["0.0.0.0:4000"]);
    let told = reconcile.told(&listed, time_waits(), &udp);
    assert_eq!(kinds(&told), [&Kind::FinReceived]);
}

#[test]
fn a_udp_port_that_is_taken_anew_after_its_release_is_found_at_once() {
    const LATER: u64 = 3_000_000_000;
    let mut reconcile = Reconcile::default();
    reconcile.pass(&mut closed(LATER, "0.0.0.0:4000"));
    let listed = ["0.0.0.0:4000"];
    assert_eq!(
        compare_udp(&mut reconcile, LATER + 1, &listed, &[]),
        [],
        "perhaps still the old one"
    );
    let after = LATER + SETTLING_NS + 1;
    let round = round(after, &[], &listed);
    let found = reconcile.compare(&round, std::iter::empty(), &[]);
    let [Concluded { event, inode: 5 }] = &found[..] else { panic!("{found:?}") };
    assert!(is_found(std::slice::from_ref(event)), "{found:?}");
}
