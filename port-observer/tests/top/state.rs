//! What the state makes of events.

use port_observer::{
    report::CauseKind,
    screen::state::{Close, Detail, Key, Mode, View},
};

use super::host::{Host, NETNS, busy, exhausted};

#[test]
fn the_largest_process_stands_first_with_what_keeps_its_ports() {
    let mut host = busy(View::Processes);
    let (rows, at, _) = host.look().processes();
    let first = rows[at];
    assert_eq!(first.used.process.as_ref().unwrap().name, "curl");
    assert_eq!(
        (first.held(), first.used.tcp.counts.established, first.used.tcp.counts.time_wait),
        (20, 5, 15)
    );
    // Two a second, of which the last five seconds count.
    assert_eq!(first.per_second, 2.0);
    assert_eq!(first.bars.iter().sum::<u32>(), 20);
}

#[test]
fn who_holds_nothing_is_listed_while_calls_fail() {
    let mut host = exhausted(View::Processes);
    let (rows, ..) = host.look().processes();
    let cron = rows.iter().find(|row| row.used.process.as_ref().unwrap().name == "cron");
    assert_eq!((cron.unwrap().held(), cron.unwrap().failures), (0, 1));
}

#[test]
fn of_one_namespace_too_who_fails_and_holds_nothing_is_listed() {
    let mut host = exhausted(View::Processes);
    let is_listed = |host: &mut Host| {
        let (rows, ..) = host.look().processes();
        rows.iter().any(|row| row.used.process.as_ref().unwrap().name == "cron")
    };
    host.only(NETNS);
    assert!(is_listed(&mut host));
    host.only(NETNS + 1);
    assert!(!is_listed(&mut host));
}

#[test]
fn a_destination_has_its_largest_holder_and_its_search() {
    let mut host = exhausted(View::Destinations);
    let (rows, at, _) = host.look().spaces();
    let first = rows[at];
    assert_eq!((first.space.headroom, first.failures), (0, 4));
    let largest = first.largest.as_ref().unwrap();
    assert_eq!(largest.process.as_ref().unwrap().name, "curl");
    let on = (40_000..=40_099u16)
        .filter(|port| !(40_010..=40_019).contains(port) && *port != 40_001 && port % 3 != 0);
    assert_eq!(largest.total(), u32::try_from(on.count()).unwrap());
    // The last ports were of the second parity, where the search takes longer.
    assert!(first.is_second_parity);
    assert!(first.search_ns.unwrap() > 20_000.0);
}

#[test]
fn the_mark_of_the_second_parity_goes_when_the_first_has_a_port_again() {
    let mut host = Host::new(View::Destinations);
    host.connect((1, "a"), "10.0.0.2:40030", "10.0.0.1:443");
    assert!(!host.look().spaces().0[0].is_second_parity);
    host.connect((1, "a"), "10.0.0.2:40031", "10.0.0.1:443");
    assert!(host.look().spaces().0[0].is_second_parity);
    host.connect((1, "a"), "10.0.0.2:40032", "10.0.0.1:443");
    assert!(!host.look().spaces().0[0].is_second_parity);
}

#[test]
fn what_is_full_first_is_forecast() {
    let mut host = Host::new(View::Destinations);
    for port in 40_020..40_080 {
        host.connect((1, "a"), &format!("10.0.0.2:{port}"), "10.0.0.1:443");
        host.wait(0.5);
    }
    let header = &host.look().picture.header;
    let first = header.first_full.as_ref().unwrap();
    assert_eq!((first.headroom, header.full), (30, 0));
    assert!((first.seconds_to_exhaustion.unwrap() - 15.0).abs() < 1.0, "{first:?}");
}

#[test]
fn failures_are_newest_first_and_a_storm_is_one_row() {
    let mut host = exhausted(View::Failures);
    let state = host.look();
    assert_eq!((state.picture.failed, state.picture.header.lost), (5, 12));
    let (rows, ..) = state.failures();
    let told: Vec<(u64, i32, bool)> =
        rows.iter().map(|row| (row.count, row.errno, row.story.is_some())).collect();
    assert_eq!(told, [(1, 98, false), (1, 99, true), (3, 99, true)]);
    let cause = rows[2].story.as_ref().unwrap().cause.as_ref().unwrap();
    assert_eq!(cause.kind, CauseKind::Churn);
    assert_eq!(rows[0].in_the_way[0].process.as_ref().unwrap().name, "idle");
    assert!(rows[2].time_ns > rows[2].began_ns);
}

#[test]
fn failures_that_are_apart_are_rows_of_their_own() {
    let mut host = Host::new(View::Failures);
    for wait in [4.0, 6.0, 0.0] {
        host.refused((1, "a"), "10.0.0.2", "10.0.0.1:443");
        host.wait(wait);
    }
    host.refused((2, "b"), "10.0.0.2", "10.0.0.1:443");
    let counts: Vec<u64> = host.look().failures().0.iter().map(|row| row.count).collect();
    assert_eq!(counts, [1, 1, 2]);
}

#[test]
fn only_so_many_failures_are_kept() {
    let mut host = Host::new(View::Failures);
    for pid in 1..=1_200 {
        host.refused((pid, "a"), "10.0.0.2", "10.0.0.1:443");
    }
    let state = host.look();
    assert_eq!((state.failures().0.len(), state.picture.failed), (1_000, 1_200));
}

#[test]
fn a_failure_looked_at_closely_has_its_remedies() {
    let mut host = exhausted(View::Failures);
    host.look();
    host.state.key(Key::End);
    host.state.key(Key::Enter);
    let Some(Detail::Failure { call, incident }) = &host.look().picture.detail else {
        panic!("a failure was opened")
    };
    assert_eq!(call.count, 3);
    let remedies = &incident.as_ref().unwrap().remedies;
    assert!(remedies[0].text.starts_with("Reuse connections"), "{remedies:?}");
}

#[test]
fn what_is_gone_while_it_is_looked_at_is_said_to_be() {
    let mut host = Host::new(View::Destinations);
    let one = host.connect((1, "a"), "10.0.0.2:40030", "10.0.0.1:443");
    host.look();
    host.state.key(Key::Enter);
    assert!(matches!(host.look().picture.detail, Some(Detail::Space { .. })));
    assert!(matches!(host.state.mode(), Mode::Detail(Close::Space(_), 0)));
    host.release(one);
    assert!(host.look().spaces().0.is_empty());
}

#[test]
fn the_ports_of_the_map_are_in_order_with_what_keeps_them() {
    let mut host = busy(View::Ports);
    let state = host.look();
    let map = &state.picture.ports;
    assert!(map.held.is_sorted_by_key(|held| held.port));
    assert_eq!(map.held.len(), 27);
    assert_eq!(
        state.port().map(|(range, port)| (range.min, range.max, port)),
        Some((40_000, 40_099, 40_000))
    );
}

#[test]
fn nothing_is_asked_for_that_is_not_on_the_screen() {
    let mut host = busy(View::Failures);
    let picture = &host.look().picture;
    assert!(picture.processes.is_empty() && picture.destinations.is_empty());
    assert!(picture.ports.held.is_empty());
}
