use std::sync::Arc;

use super::{Destination, EventType, Filter, Port, PortRange, Process, Protocol, Report};
use crate::event::Endpoint;
use crate::event::{LossKind, LossPlace, Reason, TcpState, Via};
use crate::process::Caller;
use crate::process::Container;
use crate::report::{Body, Level, Space, SpaceKind, Stop};

fn process() -> Process {
    Process {
        pid: 4242,
        name: "curl".to_owned(),
        executable: Some("/usr/bin/curl-8".into()),
        uid: Some(1000),
        container: Some(
            Container {
                id: "0123456789abcdef0123".to_owned(),
                name: Some("web".to_owned()),
                runtime: "docker",
            }
            .into(),
        ),
        ..Process::default()
    }
}

fn port(process: Option<Process>) -> Port {
    Port {
        netns: 4026531840,
        protocol: Protocol::Tcp,
        local: Some(Endpoint::new([10, 0, 0, 2].into(), 40001)),
        remote: Some(Endpoint::new([10, 0, 0, 1].into(), 443)),
        caller: process.map(|process| Caller { process: Arc::new(process), tid: 1 }),
    }
}

fn acquire_by(process: Option<Process>) -> Report {
    let body = Body::Acquire {
        port: port(process),
        via: Via::Connect,
        requested_port: Some(0),
        search_ns: None,
        space: None,
    };
    Report { time_ns: 1, body }
}

fn acquire() -> Report {
    acquire_by(Some(process()))
}

fn release() -> Report {
    let body = Body::Release { port: port(Some(process())), reason: Reason::Closed, held_ns: None };
    Report { time_ns: 2, body }
}

fn existing() -> Report {
    let body = Body::Existing { port: port(Some(process())), state: TcpState::ESTABLISHED };
    Report { time_ns: 2, body }
}

/// Of the same namespace, protocol and destination as the acquire.
fn connect_space() -> Space {
    Space {
        kind: SpaceKind::Connect {
            source: [10, 0, 0, 2].into(),
            destination: Endpoint::new([10, 0, 0, 1].into(), 443),
        },
        netns: 4026531840,
        protocol: Protocol::Tcp,
        capacity: 100,
        used: 90,
        headroom: 10,
        growth_per_second: None,
        own_range: None,
        seconds_to_exhaustion: None,
    }
}

fn bind_space() -> Space {
    Space { kind: SpaceKind::Bind { address: [10, 0, 0, 2].into() }, ..connect_space() }
}

fn threshold(space: Space) -> Report {
    let body = Body::Threshold { space: Box::new(space), level: Level::Critical };
    Report { time_ns: 3, body }
}

fn lost() -> Report {
    let body = Body::Lost {
        count: 1,
        place: LossPlace::KernelBuffer,
        kind: LossKind::Acquire,
        caller: None,
    };
    Report { time_ns: 3, body }
}

fn stop() -> Report {
    Report { time_ns: 4, body: Body::Stop(Stop::default()) }
}

fn summary() -> Report {
    Report { time_ns: 5, body: Body::Summary(Box::default()) }
}

/// One filter a space, each of which the acquire above meets, and one that it does not.
fn pairs() -> Vec<(Filter, Filter)> {
    let none = Filter::default;
    let range = |text: &str| text.parse::<PortRange>().unwrap();
    let to = |text: &str| text.parse::<Destination>().unwrap();
    vec![
        (Filter { pids: vec![1, 4242], ..none() }, Filter { pids: vec![1], ..none() }),
        (Filter { uids: vec![0, 1000], ..none() }, Filter { uids: vec![0], ..none() }),
        (
            Filter { names: vec!["wget".into(), "curl".into()], ..none() },
            Filter { names: vec!["cur".into()], ..none() },
        ),
        (
            Filter { ports: vec![range("1-2"), range("40000-40009")], ..none() },
            Filter { ports: vec![range("443")], ..none() },
        ),
        (
            Filter { destinations: vec![to("10.9.9.9"), to("10.0.0.1:443")], ..none() },
            Filter { destinations: vec![to("10.0.0.2")], ..none() },
        ),
        (Filter { netns: vec![1, 4026531840], ..none() }, Filter { netns: vec![1], ..none() }),
        (
            Filter { containers: vec!["db".into(), "web".into()], ..none() },
            Filter { containers: vec!["db".into()], ..none() },
        ),
        (
            Filter { protocols: vec![Protocol::Udp, Protocol::Tcp], ..none() },
            Filter { protocols: vec![Protocol::Udp], ..none() },
        ),
        (
            Filter { events: vec![EventType::Release, EventType::Acquire], ..none() },
            Filter { events: vec![EventType::Release], ..none() },
        ),
    ]
}

#[test]
fn nothing_asked_for_prints_everything() {
    let spaces = [threshold(connect_space()), threshold(bind_space())];
    for report in [acquire(), acquire_by(None), release(), existing(), lost(), stop()] {
        assert!(Filter::default().matches(&report));
    }
    for report in spaces {
        assert!(Filter::default().matches(&report));
    }
}

#[test]
fn any_member_of_a_list_is_enough_and_none_is_not() {
    for (meets, fails) in pairs() {
        assert!(meets.matches(&acquire()), "{meets:?}");
        assert!(!fails.matches(&acquire()), "{fails:?}");
    }
}

#[test]
fn all_lists_must_be_met() {
    let both = Filter { pids: vec![4242], uids: vec![1000], ..Filter::default() };
    assert!(both.matches(&acquire()));
    assert!(!Filter { uids: vec![0], ..both.clone() }.matches(&acquire()));
    assert!(!Filter { pids: vec![1], ..both }.matches(&acquire()));
}

#[test]
fn lines_that_are_not_about_a_port_pass_all_filters_but_that_on_types() {
    for (_, fails) in pairs() {
        let by_type = !fails.events.is_empty();
        assert_eq!(fails.matches(&lost()), !by_type, "{fails:?}");
        assert_eq!(fails.matches(&stop()), !by_type, "{fails:?}");
        assert_eq!(fails.matches(&summary()), !by_type, "{fails:?}");
    }
    let lost_only = Filter { events: vec![EventType::Lost], pids: vec![1], ..Filter::default() };
    assert!(lost_only.matches(&lost()) && !lost_only.matches(&stop()));
}

#[test]
fn an_unknown_process_meets_no_filter_on_processes() {
    let filters = [
        Filter { pids: vec![4242], ..Filter::default() },
        Filter { uids: vec![1000], ..Filter::default() },
        Filter { names: vec!["curl".into()], ..Filter::default() },
        Filter { containers: vec!["web".into()], ..Filter::default() },
    ];
    for filter in filters {
        assert!(!filter.matches(&acquire_by(None)), "{filter:?}");
        assert!(!filter.matches(&acquire_by(Some(Process::default()))), "{filter:?}");
    }
}

#[test]
fn a_name_is_that_at_the_call_and_that_of_the_program() {
    let worker = Process {
        name: "puma-worker".into(),
        exec_name: Some("ruby".into()),
        executable: Some("/usr/bin/ruby3.1".into()),
        ..Process::default()
    };
    let is_named = |process: &Process, name: &str| {
        Filter { names: vec![name.into()], ..Filter::default() }.matches_holder(Some(process))
    };
    for name in ["puma-worker", "ruby", "ruby3.1"] {
        assert!(is_named(&worker, name), "{name}");
    }
    assert!(!is_named(&worker, "puma") && !is_named(&worker, "puma-worker-1"));
    let cut = Process { name: "a-worker-of-fif".into(), ..worker };
    assert!(is_named(&cut, "a-worker-of-fifteen"));
}

#[test]
fn a_name_is_the_kernels_or_that_of_the_executables_file() {
    let named = |name: &str| Filter { names: vec![name.into()], ..Filter::default() };
    assert!(named("curl").matches(&acquire()) && named("curl-8").matches(&acquire()));
    assert!(!named("/usr/bin/curl-8").matches(&acquire()) && !named("bin").matches(&acquire()));
}

#[test]
fn a_name_longer_than_the_kernel_keeps_is_compared_with_what_it_keeps() {
    let cut =
        Process { name: "chromium-browse".to_owned(), executable: None, ..Process::default() };
    let named = |name: &str| Filter { names: vec![name.into()], ..Filter::default() };
    assert!(named("chromium-browser").matches(&acquire_by(Some(cut.clone()))));
    assert!(!named("chromium-brother").matches(&acquire_by(Some(cut.clone()))));
    // The whole name is known from the file, so it decides.
    let known = Process { executable: Some("/opt/chromium-browsers".into()), ..cut };
    assert!(!named("chromium-browser").matches(&acquire_by(Some(known))));
}

#[test]
fn a_container_goes_by_name_identifier_or_its_first_twelve_characters() {
    let of = |name: &str| Filter { containers: vec![name.into()], ..Filter::default() };
    for wanted in ["web", "0123456789abcdef0123", "0123456789ab"] {
        assert!(of(wanted).matches(&acquire()), "{wanted}");
    }
    for wanted in ["we", "0123456789a", "0123456789ac", ""] {
        assert!(!of(wanted).matches(&acquire()), "{wanted}");
    }
}

#[test]
fn a_port_that_was_held_before_is_filtered_as_one_that_is_taken() {
    for (meets, fails) in pairs().into_iter().filter(|(meets, _)| meets.events.is_empty()) {
        assert!(meets.matches(&existing()), "{meets:?}");
        assert!(!fails.matches(&existing()), "{fails:?}");
    }
}

#[test]
fn a_threshold_depends_on_namespace_protocol_destination_and_type() {
    for (meets, fails) in pairs() {
        let by_space = !fails.netns.is_empty()
            || !fails.protocols.is_empty()
            || !fails.destinations.is_empty()
            || !fails.events.is_empty();
        assert_eq!(fails.matches(&threshold(connect_space())), !by_space, "{fails:?}");
        let meets_type = meets.events.is_empty();
        assert_eq!(meets.matches(&threshold(connect_space())), meets_type, "{meets:?}");
    }
    let of = |event| Filter { events: vec![event], ..Filter::default() };
    assert!(of(EventType::Threshold).matches(&threshold(bind_space())));
}

#[test]
fn the_space_of_a_bind_is_towards_no_destination() {
    let to = Filter { destinations: vec!["0.0.0.0/0".parse().unwrap()], ..Filter::default() };
    assert!(to.matches_space(&connect_space()) && !to.matches_space(&bind_space()));
    let here = Filter { netns: vec![4026531840], ..Filter::default() };
    assert!(here.matches_space(&connect_space()) && here.matches_space(&bind_space()));
}

#[test]
fn a_holder_goes_by_what_is_known_of_the_process_alone() {
    for (meets, fails) in pairs() {
        let by_process = !(fails.pids.is_empty()
            && fails.names.is_empty()
            && fails.uids.is_empty()
            && fails.containers.is_empty());
        assert!(meets.matches_holder(Some(&process())), "{meets:?}");
        assert_eq!(fails.matches_holder(Some(&process())), !by_process, "{fails:?}");
        assert_eq!(meets.matches_holder(None), !by_process, "{meets:?}");
    }
}
