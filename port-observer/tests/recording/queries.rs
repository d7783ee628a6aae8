//! The queries that the documentation shows, as it shows them.

use port_observer::event::{Existing, LossKind, Repeated, TcpState};
use rusqlite::Connection;

use super::*;

const DOCUMENTATION: &str = include_str!("../../../docs/recording.md");

fn queries() -> Vec<&'static str> {
    let blocks = DOCUMENTATION.split("```sql\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

fn exhausted(time_ns: u64) -> Entry {
    let kind = Kind::Exhausted {
        own_range: None,
        via: Via::Connect,
        errno: 99,
        search_ns: Some(5_000),
        task: None,
        repeated: Repeated::default(),
    };
    let mut entry = event(time_ns, 1_000_000, 0, kind);
    entry.set_caller(Some(caller()), &[]);
    entry
}

#[test]
fn a_failure_is_found_at_the_moment_up_to_which_it_is_read() {
    let directory = Directory::make();
    let mut recorder = recorder(options(&directory.file()));
    recorder.push(exhausted(BEGAN + SECOND));
    // What is taken in before a call may be later than that.
    recorder.push(Entry::tick(BEGAN + 5 * SECOND));
    recorder.push(exhausted(BEGAN + 4 * SECOND));
    recorder.push(exhausted(BEGAN + 6 * SECOND));
    // A clock that was set back is no such thing.
    recorder.push(Entry::clock(BEGAN + 7 * SECOND, offset_ns() - 3_600_000_000_000));
    recorder.push(exhausted(BEGAN + 8 * SECOND));
    recorder.stop(BEGAN + 9 * SECOND, std::time::Duration::from_secs(9));
    recorder.finish().unwrap();
    let mut found = Vec::new();
    port_observer::recording::failures(&directory.file(), |time_ns| found.push(time_ns)).unwrap();
    let since_first = |at: usize| (found[at] - found[0]) / 1_000_000;
    assert_eq!([1, 2].map(since_first), [4_000, 5_000]);
    // The clock goes on while this runs.
    assert_eq!((since_first(3) + 3_600_000) / 1_000, 7);
}

#[test]
fn every_query_of_the_documentation_runs_and_finds_something() {
    let directory = Directory::make();
    let mut recorder = recorder(options(&directory.file()));
    let by = caller();
    (0..100).for_each(|number| recorder.push(opened(BEGAN + number, number, &by)));
    recorder.push(exhausted(BEGAN + SECOND));
    recorder.push(closed(BEGAN + 2 * SECOND, 7));
    let lost = Event::Lost {
        count: 3,
        place: port_observer::event::LossPlace::KernelBuffer,
        kind: LossKind::Acquire,
        task: None,
    };
    recorder.push(Entry::of(BEGAN + 3 * SECOND, &lost).unwrap());
    recorder.stop(BEGAN + 4 * SECOND, std::time::Duration::from_secs(4));
    recorder.finish().unwrap();
    let connection = Connection::open(directory.file()).unwrap();
    let queries = queries();
    assert!(queries.len() >= 5, "{}", queries.len());
    for query in queries {
        let mut statement = connection.prepare(query).unwrap_or_else(|e| panic!("{query}: {e}"));
        if let Some(at) = statement.parameter_index(":at").unwrap() {
            let at_ns = offset_ns() + i64::try_from(BEGAN + SECOND).unwrap();
            statement.raw_bind_parameter(at, at_ns).unwrap();
        }
        let mut rows = statement.raw_query();
        assert!(rows.next().unwrap().is_some(), "{query} finds nothing");
    }
}

#[test]
fn holders_are_those_of_the_moment() {
    let directory = Directory::make();
    let mut recorder = recorder(options(&directory.file()));
    let by = caller();
    let began_ns = offset_ns() + i64::try_from(BEGAN).unwrap();
    recorder.push(opened(BEGAN + SECOND, 1, &by));
    recorder.push(opened(BEGAN + 2 * SECOND, 2, &by));
    let wait = Kind::TimeWait {
        successor: Some(SocketId(0x99)),
        done: false,
        reuse: port_observer::event::Reuse::default(),
    };
    recorder.push(event(BEGAN + 3 * SECOND, 2, 32_770, wait));
    recorder.push(closed(BEGAN + 4 * SECOND, 1));
    recorder.finish().unwrap();
    let connection = Connection::open(directory.file()).unwrap();
    let holders = |seconds: i64| -> Vec<(u16, String)> {
        let query = "SELECT local_port, holds FROM holders_at \
                     WHERE from_ns <= ?1 AND ?1 < until_ns ORDER BY local_port";
        let mut statement = connection.prepare(query).unwrap();
        let at_ns = began_ns + seconds * 1_000_000_000 + 500_000_000;
        let rows = statement.query_map([at_ns], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let socket = |port| (port, "socket".to_owned());
    assert_eq!(holders(0), []);
    assert_eq!(holders(1), [socket(32_769)]);
    assert_eq!(holders(2), [socket(32_769), socket(32_770)]);
    assert_eq!(holders(3), [socket(32_769), (32_770, "time_wait".to_owned())]);
    assert_eq!(holders(4), [(32_770, "time_wait".to_owned())]);
}

#[test]
fn a_holder_that_a_scan_finds_again_keeps_its_process() {
    let directory = Directory::make();
    let mut recorder = recorder(options(&directory.file()));
    recorder.push(opened(BEGAN + SECOND, 1, &caller()));
    for seconds in [2, 3] {
        let found = Event::Existing(Box::new(Existing {
            time_ns: BEGAN + seconds * SECOND,
            socket: Some(SocketId(0xffff_8880_0000_0000 + 64)),
            flow: flow(32_769),
            state: TcpState::ESTABLISHED,
            reuse: None,
            sharing: Sharing::default(),
            blocked: Some(false),
            task: None,
        }));
        recorder.push(Entry::of(BEGAN + seconds * SECOND, &found).unwrap());
    }
    recorder.push(closed(BEGAN + 4 * SECOND, 1));
    recorder.finish().unwrap();
    let connection = Connection::open(directory.file()).unwrap();
    let query = "SELECT pid, until_ns - from_ns FROM holders_at";
    let held: Vec<(Option<u32>, u64)> = connection
        .prepare(query)
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(held, [(Some(42), 3 * SECOND)]);
}
