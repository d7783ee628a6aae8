use super::{super::Verdict, *};

const TO: &str = "127.0.0.1:8080";
const ELSEWHERE: &str = "127.0.0.1:9101";

/// Ten ports: seven that two processes of one name took by bind(), three in TIME_WAIT.
fn drill() -> Listing {
    let mut listing = Listing::of_ten_ports();
    listing
        .many(40000..40004, ELSEWHERE, TcpState::ESTABLISHED, true, Some(("etl-worker", 21)))
        .many(40004..40007, ELSEWHERE, TcpState::ESTABLISHED, true, Some(("etl-worker", 22)))
        .many(40007..40010, TO, TcpState::TIME_WAIT, false, None);
    listing.callers = vec![process("api", 30)];
    listing
}

#[test]
fn the_drill_is_answered_with_limit_holders_and_gains() {
    let answer = drill().connect(TO);
    assert_eq!(answer.verdict, Verdict::Exhausted);
    assert_eq!(
        blocked(&answer),
        ["bound 7: etl-worker 7 [(21, 4), (22, 3)]", "time_wait 3: api? 3 [(30, 3)]"]
    );
    assert_eq!(
        gains(&answer)[..3],
        [("ip_bind_address_no_port", 7), ("keep_alive", 3), ("tcp_tw_reuse", 3)]
    );
    let useless = useless(&answer);
    for change in ["tcp_fin_timeout", "restart", "file_descriptors"] {
        assert!(useless.contains(&change), "{useless:?}");
    }
    insta::assert_snapshot!("drill_text", text::render(&answer));
    let json = json::render(&answer, "2026-01-02T03:04:05.000000000Z").unwrap();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    insta::assert_snapshot!("drill_json", serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn the_gain_of_a_remedy_is_what_it_frees() {
    // Without the bind(), the same connections leave all to the destination but its own TIME_WAIT.
    let mut shared = Listing::of_ten_ports();
    shared
        .many(40000..40007, ELSEWHERE, TcpState::ESTABLISHED, false, Some(("etl-worker", 21)))
        .many(40007..40010, TO, TcpState::TIME_WAIT, false, None);
    let answer = shared.connect(TO);
    assert_eq!((answer.verdict, answer.space.unwrap().headroom), (Verdict::Free, 7));
    // With tcp_tw_reuse instead, three.
    let mut reuse = Listing::with(|settings| settings.tw_reuse = 1);
    reuse
        .many(40000..40007, ELSEWHERE, TcpState::ESTABLISHED, true, Some(("etl-worker", 21)))
        .many(40007..40010, TO, TcpState::TIME_WAIT, false, None);
    let answer = reuse.connect(TO);
    assert_eq!((answer.verdict, answer.space.unwrap().headroom), (Verdict::Free, 3));
}

#[test]
fn time_wait_that_is_too_young_or_awaits_a_fin_is_not_taken_over() {
    let mut listing = Listing::with(|settings| settings.tw_reuse = 2);
    listing.many(40000..40010, TO, TcpState::TIME_WAIT, false, None);
    for (port, entry) in &mut listing.time_waits {
        match port {
            // 500 ms old.
            40000 => entry.expires_ms = 59_500,
            40001 => entry.fin_wait2 = true,
            _ => {}
        }
    }
    let answer = listing.connect(TO);
    assert_eq!((answer.verdict, answer.space.as_ref().unwrap().headroom), (Verdict::Free, 8));
    for entry in listing.time_waits.values_mut() {
        entry.expires_ms = 59_500;
    }
    let answer = listing.connect(TO);
    assert_eq!(answer.verdict, Verdict::Exhausted);
    assert!(useless(&answer).contains(&"tcp_tw_reuse"), "{answer:?}");
    assert!(gains(&answer).iter().all(|(change, _)| *change != "tcp_tw_reuse"));
}

#[test]
fn loopback_is_what_tcp_tw_reuse_2_is_for() {
    let mut listing = Listing::with(|settings| settings.tw_reuse = 2);
    for port in 40000..40010 {
        let local = format!("10.0.0.1:{port}");
        let ends = (&*local, Some("10.0.0.9:80"));
        listing.socket(TcpState::TIME_WAIT, ends, Some(false), None);
        let entry = TimeWait { expires_ms: 1000, fin_wait2: false };
        listing.time_waits.insert(port, entry);
    }
    let source = "10.0.0.1".parse().unwrap();
    let call = Call::Connect { source, destination: endpoint("10.0.0.9:80"), is_bound: false };
    let answer = listing.why(call);
    assert_eq!(answer.verdict, Verdict::Exhausted);
    assert!(gains(&answer).contains(&("tcp_tw_reuse", 10)));
}

#[test]
fn the_state_of_connections_decides_what_helps() {
    for (state, change) in [
        (TcpState::ESTABLISHED, "share_connections"),
        (TcpState::SYN_SENT, "connect_timeout"),
        (TcpState::CLOSE_WAIT, "close_leak"),
        (TcpState::FIN_WAIT1, "peer"),
    ] {
        let mut listing = Listing::of_ten_ports();
        listing.many(40000..40010, TO, state, false, Some(("app", 5)));
        let answer = listing.connect(TO);
        assert_eq!(gains(&answer)[0], (change, 10));
        assert_eq!(blocked(&answer), ["connected 10: app 10 [(5, 10)]"]);
        assert!(useless(&answer).contains(&"ip_bind_address_no_port"));
        // Towards anywhere else all are free.
        assert_eq!(listing.connect(ELSEWHERE).space.unwrap().headroom, 10);
    }
}

#[test]
fn a_bound_connection_to_the_same_place_would_need_its_port_anyhow() {
    let mut listing = Listing::of_ten_ports();
    listing.many(40000..40010, TO, TcpState::ESTABLISHED, true, Some(("app", 5)));
    let answer = listing.connect(TO);
    assert_eq!(gains(&answer)[0], ("share_connections", 10));
    assert!(gains(&answer).iter().all(|(change, _)| *change != "ip_bind_address_no_port"));
    assert!(useless(&answer).contains(&"ip_bind_address_no_port"), "it frees nothing here");
}

#[test]
fn listeners_accepted_connections_and_what_is_only_bound_are_told_apart() {
    let mut listing = Listing::of_ten_ports();
    let at = |port: u16| format!("127.0.0.1:{port}");
    listing.socket(TcpState::LISTEN, (&at(40000), None), Some(true), Some(("web", 1)));
    for port in 40001..40003 {
        listing.socket(TcpState::BOUND_INACTIVE, (&at(port), None), Some(true), Some(("idle", 2)));
    }
    listing.socket(TcpState::LISTEN, (&at(40003), None), Some(true), Some(("web", 1)));
    let peer = Some("127.0.0.1:5000");
    listing.socket(TcpState::ESTABLISHED, (&at(40003), peer), Some(true), Some(("web", 1)));
    listing.many(40004..40010, TO, TcpState::ESTABLISHED, false, Some(("app", 5)));
    let answer = listing.connect(TO);
    assert_eq!(
        blocked(&answer),
        ["connected 6: app 6 [(5, 6)]", "bound 2: idle 2 [(2, 2)]", "listener 2: web 2 [(1, 2)]",]
    );
    assert_eq!(gains(&answer)[..2], [("share_connections", 6), ("close_bound", 2)]);
}

#[test]
fn without_privileges_only_what_is_certain_is_said() {
    let mut listing = Listing::of_ten_ports();
    listing.knows_binds = false;
    let fill = |listing: &mut Listing, ports: std::ops::Range<u16>, to: &str| {
        for port in ports {
            let local = format!("127.0.0.1:{port}");
            listing.socket(TcpState::ESTABLISHED, (&local, Some(to)), None, None);
        }
    };
    fill(&mut listing, 40000..40009, ELSEWHERE);
    let answer = listing.connect(TO);
    assert_eq!(answer.verdict, Verdict::Free, "one port nobody has");
    assert!(answer.missing[0].contains("the 9 ports"), "{answer:?}");
    fill(&mut listing, 40009..40010, ELSEWHERE);
    assert_eq!(listing.connect(TO).verdict, Verdict::Unknown);
    // Both parities alike: bind() has most likely chosen them.
    let mut bound = Listing::with(|s| s.ports.ephemeral = PortRange { min: 40000, max: 40099 });
    bound.knows_binds = false;
    fill(&mut bound, 40000..40025, ELSEWHERE);
    fill(&mut bound, 40025..40100, "127.0.0.1:9102");
    let answer = bound.connect(TO);
    assert_eq!(answer.verdict, Verdict::Unknown);
    let first = &answer.remedies[0];
    assert_eq!((first.change, first.gain, first.likely), ("ip_bind_address_no_port", 100, true));
    assert!(answer.summary.contains("likely not"), "{answer:?}");
    // Those of one parity are connect()'s choice.
    let mut chosen = Listing::with(|s| s.ports.ephemeral = PortRange { min: 40000, max: 40099 });
    chosen.knows_binds = false;
    for port in (40000..40100).step_by(2) {
        fill(&mut chosen, port..port + 1, ELSEWHERE);
    }
    let answer = chosen.connect(TO);
    assert_eq!((answer.verdict, answer.remedies.len()), (Verdict::Free, 0));
    assert!(answer.missing.iter().all(|one| !one.contains("likely")), "{answer:?}");
    // All between the same ends: no bind() could change that.
    let mut listing = Listing::of_ten_ports();
    listing.knows_binds = false;
    fill(&mut listing, 40000..40010, TO);
    assert_eq!(listing.connect(TO).verdict, Verdict::Exhausted);
}

#[test]
fn of_several_that_connect_there_nobody_is_blamed_for_time_wait() {
    let mut listing = drill();
    listing.callers.push(process("cron", 31));
    let answer = listing.connect(TO);
    assert_eq!(blocked(&answer)[1], "time_wait 3: ? 3 []");
    assert!(answer.missing.iter().any(|one| one.contains("api, cron")), "{answer:?}");
}

#[test]
fn an_end_of_an_odd_range_may_be_left_out() {
    let mut listing =
        Listing::with(|settings| settings.ports.ephemeral = PortRange { min: 40000, max: 40010 });
    listing.many(40000..40010, TO, TcpState::ESTABLISHED, false, None);
    assert_eq!(listing.connect(TO).verdict, Verdict::Unknown);
    let mut listing =
        Listing::with(|settings| settings.ports.ephemeral = PortRange { min: 40000, max: 40010 });
    listing.many(40000..40005, TO, TcpState::ESTABLISHED, false, None);
    listing.many(40006..40011, TO, TcpState::ESTABLISHED, false, None);
    assert_eq!(listing.connect(TO).verdict, Verdict::Free, "40005 is no end");
}

#[test]
fn reserved_ports_and_a_wider_range_are_counted_without_what_is_taken() {
    let mut listing = Listing::with(|settings| {
        settings.ports.reserved = ReservedPorts::new(vec![PortRange { min: 40000, max: 40003 }]);
    });
    listing.socket(TcpState::LISTEN, ("0.0.0.0:40000", None), Some(true), None);
    listing.socket(TcpState::LISTEN, ("0.0.0.0:8080", None), Some(true), None);
    listing.many(40004..40010, TO, TcpState::ESTABLISHED, false, None);
    let answer = listing.connect(TO);
    assert_eq!(answer.space.as_ref().unwrap().capacity, 6);
    assert_eq!(blocked(&answer).last().unwrap(), "reserved 4: ");
    // Of 64,512 ports, those of the range are had already, and 8080 is taken.
    assert_eq!(
        gains(&answer)[1..],
        [("reserved_ports", 3), ("widen_range", 64_512 - 10 - 1), ("source_addresses", 6)]
    );
}
