use super::{super::Verdict, *};

#[test]
fn a_listener_is_who_has_the_port() {
    let mut listing = Listing::of_ten_ports();
    listing.socket(TcpState::LISTEN, ("0.0.0.0:8080", None), Some(true), Some(("nginx", 9)));
    let peer = Some("10.0.0.2:5000");
    let worker = Some(("nginx", 10));
    listing.socket(TcpState::ESTABLISHED, ("10.0.0.1:8080", peer), Some(true), worker);
    let answer = listing.bind("0.0.0.0:8080");
    assert_eq!(answer.verdict, Verdict::Taken);
    assert_eq!(blocked(&answer), ["listener 1: nginx 1 [(9, 1)]", "accepted 1: nginx 1 [(10, 1)]"]);
    assert_eq!(gains(&answer), [("end_process", 1)]);
    assert!(useless(&answer).contains(&"so_reuseaddr"));
    insta::assert_snapshot!("bind_listener_text", text::render(&answer));
    // Another address of the same port overlaps with the wildcard; another port does not.
    assert_eq!(listing.bind("127.0.0.1:8080").verdict, Verdict::Taken);
    assert_eq!(listing.bind("0.0.0.0:8081").verdict, Verdict::Free);
}

#[test]
fn addresses_overlap_as_the_kernel_has_it() {
    let mut listing = Listing::of_ten_ports();
    listing.socket(TcpState::LISTEN, ("127.0.0.1:8080", None), Some(true), None);
    for (local, verdict) in [
        ("127.0.0.1:8080", Verdict::Taken),
        ("127.0.0.2:8080", Verdict::Free),
        ("0.0.0.0:8080", Verdict::Taken),
        ("[::]:8080", Verdict::Taken),
        ("[::1]:8080", Verdict::Free),
    ] {
        assert_eq!(listing.bind(local).verdict, verdict, "{local}");
    }
}

#[test]
fn what_a_server_left_behind_gives_way_to_so_reuseaddr() {
    let mut listing = Listing::of_ten_ports();
    let ends = ("10.0.0.1:8080", Some("10.0.0.2:5000"));
    listing.socket(TcpState::TIME_WAIT, ends, Some(true), None);
    listing.time_waits.insert(8080, TimeWait { expires_ms: 12_000, fin_wait2: false });
    let answer = listing.bind("0.0.0.0:8080");
    assert_eq!(gains(&answer), [("so_reuseaddr", 1), ("wait", 1)]);
    assert!(answer.remedies[1].text.contains("12 s"), "{answer:?}");
    assert!(useless(&answer).contains(&"tcp_tw_reuse"));
    // A connection whose listener is gone.
    let mut listing = Listing::of_ten_ports();
    listing.socket(TcpState::ESTABLISHED, ends, Some(true), Some(("worker", 4)));
    let answer = listing.bind("0.0.0.0:8080");
    assert_eq!(blocked(&answer), ["accepted 1: worker 1 [(4, 1)]"]);
    assert_eq!(gains(&answer), [("so_reuseaddr", 1), ("end_process", 1)]);
}

#[test]
fn an_outgoing_connection_on_a_services_port_is_kept_away_by_reserving_it() {
    let mut listing = Listing::of_ten_ports();
    let ends = ("10.0.0.1:40003", Some("10.0.0.2:443"));
    listing.socket(TcpState::ESTABLISHED, ends, None, Some(("curl", 4)));
    let answer = listing.bind("0.0.0.0:40003");
    assert_eq!(blocked(&answer), ["connected 1: curl 1 [(4, 1)]"]);
    assert_eq!(gains(&answer), [("end_process", 1), ("reserved_ports", 0)]);
    let command = answer.remedies[1].command.as_deref().unwrap();
    assert_eq!(command, "ip netns exec blue sysctl -w net.ipv4.ip_local_reserved_ports=40003");
}

#[test]
fn any_port_is_one_that_nobody_has() {
    let mut listing = Listing::of_ten_ports();
    listing.many(40000..40009, "127.0.0.1:80", TcpState::ESTABLISHED, false, Some(("app", 4)));
    let answer = listing.bind("127.0.0.1:0");
    assert_eq!((answer.verdict, answer.space.unwrap().headroom), (Verdict::Free, 1));
    listing.many(40009..40010, "127.0.0.1:80", TcpState::TIME_WAIT, false, None);
    let answer = listing.bind("127.0.0.1:0");
    assert_eq!(answer.verdict, Verdict::Exhausted);
    assert_eq!(blocked(&answer), ["connected 9: app 9 [(4, 9)]", "time_wait 1: ? 1 []"]);
    assert_eq!(gains(&answer)[..2], [("ip_bind_address_no_port", 1), ("close_leak", 9)]);
    assert!(useless(&answer).contains(&"so_reuseaddr"));
    // Of another address the same ports are free.
    assert_eq!(listing.bind("127.0.0.2:0").verdict, Verdict::Free);
}

#[test]
fn udp_has_a_port_for_each_socket_wherever_it_goes() {
    let listing = Listing::of_ten_ports();
    let source = "127.0.0.1".parse().unwrap();
    let call = Call::Connect { source, destination: endpoint("10.0.0.9:53"), is_bound: false };
    let answer = listing.ask(Protocol::Udp, call);
    let space = answer.space.unwrap();
    assert_eq!((space.headroom, answer.verdict), (10, Verdict::Free));
    assert_eq!(space.kind, crate::report::SpaceKind::Bind { address: "0.0.0.0".parse().unwrap() });
}

#[test]
fn a_port_below_1024_takes_a_privilege() {
    let mut listing = Listing::of_ten_ports();
    let answer = listing.bind("0.0.0.0:80");
    assert_eq!(answer.verdict, Verdict::Free);
    assert!(answer.summary.contains("CAP_NET_BIND_SERVICE"), "{answer:?}");
    listing.may_bind_low = false;
    assert_eq!(listing.bind("0.0.0.0:80").verdict, Verdict::Unknown);
    assert_eq!(listing.bind("0.0.0.0:8080").verdict, Verdict::Free);
}

#[test]
fn what_is_only_bound_is_not_seen_on_older_kernels() {
    let mut listing = Listing::of_ten_ports();
    listing.lists_bound = false;
    assert_eq!(listing.bind("0.0.0.0:8080").verdict, Verdict::Unknown);
    assert_eq!(listing.bind("0.0.0.0:0").verdict, Verdict::Unknown);
    listing.socket(TcpState::LISTEN, ("0.0.0.0:8080", None), Some(true), None);
    assert_eq!(listing.bind("0.0.0.0:8080").verdict, Verdict::Taken);
}
