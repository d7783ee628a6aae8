//! Each limit from made-up evidence.

use std::time::Duration;

use super::*;
use crate::stress::{Bind, Close, EndUse, Listening};

pub(super) fn plan() -> Plan {
    Plan {
        connections: None,
        range: None,
        sources: 1,
        destinations: 1,
        nofile: None,
        close: Close::Keep,
        tw_reuse: None,
        bind: Bind::None,
        rate: None,
        duration: Duration::from_secs(300),
        ipv6: false,
        udp: false,
        server: None,
        server_port: None,
        target: None,
        program: None,
        tcp_memory_max: 100_000,
        settings: Vec::new(),
    }
}

/// Both ends well, with 100 connections of 1,000 ports.
pub(super) fn evidence() -> Evidence {
    let end = EndUse {
        processes: 1,
        name: "server".to_owned(),
        descriptors: (108, 20_000),
        all_descriptors: 108,
        ..EndUse::default()
    };
    Evidence {
        ports: 1_000,
        ports_used: 100,
        pairs: 1,
        time_wait_max: 16_384,
        client: end.clone(),
        server: end,
        listening: Listening {
            is_there: true,
            queue_max: 128,
            accepted: 100,
            ..Listening::default()
        },
        tcp_memory_pages: 10,
        tcp_memory_max: 100_000,
        files: (1_000, 1_000_000),
        memory: (8 << 30, 16 << 30),
        ..Evidence::default()
    }
}

fn refused(errno: i32, count: u64) -> (End, Progress) {
    let progress =
        Progress { worked: 100, refused: [(errno, count)].into(), ..Progress::default() };
    (End::Refused { call: "connect".to_owned(), errno }, progress)
}

fn concluded(plan: &Plan, end: &End, progress: &Progress, evidence: &Evidence) -> Verdict {
    Seen { plan, end, progress, evidence }.conclude()
}

fn stalled(evidence: &Evidence) -> Verdict {
    let progress = Progress { worked: 100, pending: 64, ..Progress::default() };
    concluded(&plan(), &End::Stalled, &progress, evidence)
}

#[test]
fn ports_are_the_limit_where_all_of_them_are_used() {
    let (end, progress) = refused(libc::EADDRNOTAVAIL, 1);
    let full = Evidence { ports_used: 1_000, pairs_full: 1, ..evidence() };
    let verdict = concluded(&plan(), &end, &progress, &full);
    assert_eq!((verdict.limit, &*verdict.also), (Limit::EphemeralPorts, &[][..]));
    assert!(verdict.reasons[0].contains("1000 of 1000 ports"), "{verdict:?}");
    // The error alone does not say that they are used.
    let verdict = concluded(&plan(), &end, &progress, &evidence());
    assert_eq!(verdict.limit, Limit::Unknown);
    assert!(verdict.reasons[0].contains("no limit that is known is met"), "{verdict:?}");
}

#[test]
fn a_process_that_is_killed_is_told_by_what_else_shows() {
    let end = End::Died { how: "signal: 9 (SIGKILL)".to_owned() };
    let of = |evidence: &Evidence| concluded(&plan(), &end, &Progress::default(), evidence);
    assert_eq!(of(&evidence()).limit, Limit::Unknown);
    let killed = of(&Evidence { oom_kills: 1, ..evidence() });
    assert_eq!(killed.limit, Limit::Memory);
    assert!(killed.reasons[0].contains("killed 1 for want of memory"), "{killed:?}");
}

#[test]
fn descriptors_are_the_limit_of_the_end_that_has_none_left() {
    let (end, progress) = refused(libc::EMFILE, 1);
    let mut full = evidence();
    full.client.descriptors = (500, 500);
    let verdict = concluded(&plan(), &end, &progress, &full);
    assert_eq!(verdict.limit, Limit::FileDescriptors);
    assert!(verdict.reasons[0].contains("who connects has 500 of 500"), "{verdict:?}");
    let of_users = Plan { server: Some("server".to_owned()), ..plan() };
    let mut full = evidence();
    full.server.descriptors = (500, 500);
    full.listening.queue = 129;
    let progress = Progress { worked: 100, pending: 64, ..Progress::default() };
    let verdict = concluded(&of_users, &End::Stalled, &progress, &full);
    assert_eq!(verdict.limit, Limit::FileDescriptors);
    assert!(verdict.also.contains(&Limit::AcceptQueue), "{verdict:?}");
    assert!(verdict.reasons[0].contains("the server (server) has 500 of 500"), "{verdict:?}");
}

#[test]
fn two_limits_close_together_are_both_named() {
    let (end, progress) = refused(libc::EADDRNOTAVAIL, 1);
    let mut both = Evidence { ports_used: 1_000, pairs_full: 1, ..evidence() };
    both.client.descriptors = (1_008, 1_010);
    let with = Plan { nofile: Some(1_010), ..plan() };
    let verdict = concluded(&with, &end, &progress, &both);
    assert_eq!(
        (verdict.limit, verdict.also),
        (Limit::EphemeralPorts, vec![Limit::FileDescriptors])
    );
}

#[test]
fn a_server_that_stops_to_accept_is_told_from_one_that_accepts_too_slowly() {
    let mut full = evidence();
    full.listening.queue = 129;
    full.listening.overflows = 15;
    let stopped = stalled(&full);
    assert_eq!((stopped.limit, stopped.also), (Limit::Server, vec![Limit::AcceptQueue]));
    full.listening.accepted_per_second = 5;
    let slow = stalled(&full);
    assert_eq!((slow.limit, slow.also), (Limit::AcceptQueue, vec![]));
    assert!(slow.reasons[0].ends_with("accepts some 5 a second"), "{:?}", slow.reasons);
    // What never accepted has shown nothing but its queue.
    full.listening.accepted = 0;
    full.listening.accepted_per_second = 0;
    let never = stalled(&full);
    assert_eq!((never.limit, never.also), (Limit::AcceptQueue, vec![Limit::Server]));
}

#[test]
fn a_program_that_is_known_is_named_with_what_sets_its_table() {
    let mut full = evidence();
    full.server.name = "beam.smp".to_owned();
    full.server.table = Some(("+Q (ERL_MAX_PORTS)".to_owned(), 1_024));
    full.listening.accepted = 1_020;
    full.listening.queue = 129;
    let verdict = stalled(&full);
    assert_eq!(verdict.limit, Limit::Runtime);
    assert!(verdict.reasons[0].contains("accepted 1020"), "{verdict:?}");
    assert!(verdict.reasons[0].contains("+Q (ERL_MAX_PORTS) is 1024"), "{verdict:?}");
    // One that is far from it has another reason.
    full.server.table = Some(("+Q (ERL_MAX_PORTS)".to_owned(), 65_536));
    assert_eq!(stalled(&full).limit, Limit::Server);
}

#[test]
fn what_the_server_says_before_it_closes_is_a_reason() {
    let mut evidence = evidence();
    evidence.server.table = Some(("maxclients".to_owned(), 100));
    let heard = Some("-ERR max number of clients reached".to_owned());
    let progress = Progress { worked: 200, closed: 100, heard, ..Progress::default() };
    let verdict = concluded(&plan(), &End::Closed, &progress, &evidence);
    assert_eq!(verdict.limit, Limit::Runtime);
    assert!(verdict.reasons[0].contains("max number of clients"), "{verdict:?}");
    evidence.server.table = None;
    let verdict = concluded(&plan(), &End::Closed, &progress, &evidence);
    assert_eq!(verdict.limit, Limit::Server);
}

#[test]
fn limits_of_the_host_show_in_its_counters() {
    let tracked = Evidence { conntrack: Some((262_144, 262_144)), ..evidence() };
    assert_eq!(stalled(&tracked).limit, Limit::Conntrack);
    let memory = Evidence { tcp_memory_pages: 99_000, tcp_memory_failures: 3, ..evidence() };
    assert_eq!(stalled(&memory).limit, Limit::TcpMemory);
    let (end, progress) = refused(libc::ENFILE, 1);
    let mut files = Evidence { files: (999_900, 1_000_000), ..evidence() };
    let of_root = concluded(&plan(), &end, &progress, &files);
    assert_eq!(of_root.limit, Limit::Unknown);
    assert!(of_root.reasons[0].contains("no limit that is known is met"), "{of_root:?}");
    files.client.meets_file_max = true;
    let verdict = concluded(&plan(), &end, &progress, &files);
    assert_eq!(verdict.limit, Limit::FileMax);
    assert!(verdict.reasons[0].contains("999900 of 1000000 files"), "{verdict:?}");
    let mut group = evidence();
    group.client.group.memory_refused = 2;
    let (end, progress) = refused(libc::ENOMEM, 1);
    assert_eq!(concluded(&plan(), &end, &progress, &group).limit, Limit::CgroupMemory);
    let mut filtered = evidence();
    filtered.client.has_seccomp = true;
    let (end, mut progress) = refused(libc::EPERM, 1);
    let other = concluded(&plan(), &end, &progress, &filtered);
    assert_eq!(other.limit, Limit::Unknown);
    assert!(other.reasons[0].contains("no limit that is known is met"), "{other:?}");
    progress.is_filtered = true;
    let verdict = concluded(&plan(), &end, &progress, &filtered);
    assert_eq!(verdict.limit, Limit::Seccomp);
    assert!(verdict.reasons[0].contains("refuses connect() with EPERM"), "{verdict:?}");
    let short = Evidence { memory: (1 << 28, 16 << 30), ..evidence() };
    assert_eq!(concluded(&plan(), &End::Memory, &Progress::default(), &short).limit, Limit::Memory);
}

#[test]
fn time_wait_entries_that_were_not_made_hide_that_ports_run_out() {
    let churn = Plan { close: Close::Client, ..plan() };
    let progress = Progress { worked: 3_000, ..Progress::default() };
    let hidden = Evidence { time_wait_overflows: 2_896, time_wait_max: 100, ..evidence() };
    let verdict = concluded(&churn, &End::Duration, &progress, &hidden);
    assert_eq!(verdict.limit, Limit::TimeWaitBuckets);
    let verdict = concluded(&churn, &End::Duration, &progress, &evidence());
    assert_eq!(verdict.limit, Limit::Duration);
    let progress = Progress { refused: [(libc::EADDRNOTAVAIL, 9)].into(), ..progress };
    let verdict = concluded(&churn, &End::Duration, &progress, &evidence());
    assert_eq!(verdict.limit, Limit::EphemeralPorts);
}

#[test]
fn all_that_was_asked_for_is_no_limit() {
    let progress = Progress { worked: 100, ..Progress::default() };
    let verdict = concluded(&plan(), &End::Reached, &progress, &evidence());
    assert_eq!((verdict.limit, verdict.also), (Limit::Requested, vec![]));
}
