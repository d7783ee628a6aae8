use std::sync::Arc;

use super::{Held, Series, Timeline, Timelines};
use crate::{
    event::{Endpoint, Protocol},
    ledger::Census,
    process::Process,
    report::{Counts, Holder, Space, SpaceKind, Story},
};

const SECOND: i64 = 1_000_000_000;
const CAPACITY: u32 = 28_232;

fn space(port: u16, used: u32) -> Space {
    let address = "10.0.0.2".parse().unwrap();
    Space {
        kind: SpaceKind::Connect { source: address, destination: Endpoint::new(address, port) },
        netns: 7,
        protocol: Protocol::Tcp,
        capacity: CAPACITY,
        used,
        headroom: CAPACITY - used,
        growth_per_second: None,
        own_range: None,
        seconds_to_exhaustion: None,
    }
}

fn holder(pid: u32, name: &str, established: u32, time_wait: u32) -> Holder {
    let process = Process { pid, name: name.to_owned(), ..Process::default() };
    let counts = Counts { established, time_wait, ..Counts::default() };
    Holder::new(Some(Arc::new(process)), counts)
}

fn census(port: u16, holders: &[Holder]) -> Vec<Census> {
    let used = holders.iter().map(Holder::total).sum();
    vec![Census { space: space(port, used), holders: holders.to_vec() }]
}

fn names(timeline: &Timeline) -> Vec<(String, bool)> {
    let name = |series: &Series| series.process.as_ref().unwrap().name.clone();
    timeline.series.iter().map(|series| (name(series), series.is_several)).collect()
}

/// At each point, all series and others are what is used.
fn assert_sums(timeline: &Timeline) {
    for (at, point) in timeline.points.iter().enumerate() {
        let held: u32 = timeline.series.iter().map(|series| series.held[at].total()).sum();
        assert_eq!(held + point.others.total(), point.used, "{point:?}");
    }
}

#[test]
fn many_processes_of_one_name_are_one_series() {
    let mut timelines = Timelines::default();
    let mut held: Vec<Holder> = (0..200).map(|pid| holder(pid, "curl", 1, 2)).collect();
    held.push(holder(1_000, "mailer", 100, 0));
    timelines.add(SECOND, &census(80, &held));
    let [timeline] = &timelines.finish(9)[..] else { panic!("one timeline") };
    assert_eq!(names(timeline), [("curl".to_owned(), true), ("mailer".to_owned(), false)]);
    assert_eq!(timeline.series[0].held, [Held { in_use: 200, time_wait: 400 }]);
    assert_eq!(timeline.points[0].others, Held::default());
    assert_sums(timeline);
}

#[test]
fn so_are_they_while_each_holds_a_large_part_of_little() {
    let mut timelines = Timelines::default();
    for count in 1..60 {
        let held: Vec<Holder> = (0..count).map(|pid| holder(pid, "curl", 0, 4)).collect();
        timelines.add(i64::from(count) * SECOND, &census(80, &held));
    }
    let [timeline] = &timelines.finish(9)[..] else { panic!("one timeline") };
    assert_eq!(names(timeline), [("curl".to_owned(), true)]);
    assert!(timeline.points.iter().all(|point| point.others == Held::default()));
    assert_sums(timeline);
}

#[test]
fn few_processes_of_one_name_are_shown_apart() {
    let mut timelines = Timelines::default();
    let mut held = vec![holder(1, "python3", 50, 0), holder(2, "python3", 0, 70)];
    held.extend((10..40).map(|pid| holder(pid, "python3", 1, 0)));
    timelines.add(SECOND, &census(80, &held));
    let [timeline] = &timelines.finish(9)[..] else { panic!("one timeline") };
    let python = "python3".to_owned();
    assert_eq!(names(timeline), [(python.clone(), false), (python.clone(), false), (python, true)]);
    assert_eq!(timeline.series[1].held, [Held { in_use: 50, time_wait: 0 }]);
    assert_eq!(timeline.series[2].held, [Held { in_use: 30, time_wait: 0 }]);
    assert_sums(timeline);
}

#[test]
fn what_is_beyond_the_largest_is_others() {
    let mut timelines = Timelines::default();
    let many: Vec<Holder> =
        (0..5_000).map(|pid| holder(pid, &format!("worker-{pid}"), 1, 2)).collect();
    let largest = [holder(9_000, "largest", 100, 0)];
    timelines.add(SECOND, &census(80, &[&many[..], &largest[..]].concat()));
    let [timeline] = &timelines.finish(9)[..] else { panic!("one timeline") };
    assert_eq!(timeline.series.len(), 8);
    assert_sums(timeline);
}

#[test]
fn a_bucket_has_its_fullest_moment_and_all_refused_calls() {
    let mut timelines = Timelines::default();
    timelines.add(SECOND, &census(80, &[holder(1, "curl", 10, 0)]));
    let full = Story {
        space: space(80, CAPACITY),
        holders: vec![holder(1, "curl", 32, CAPACITY - 32)].into(),
        cause: None,
    };
    timelines.refused(SECOND + 1_000, &full, 1);
    timelines.refused(SECOND + 2_000, &full, 1);
    timelines.add(SECOND + 3_000, &census(80, &[holder(1, "curl", 10, 0)]));
    let [timeline] = &timelines.finish(9)[..] else { panic!("one timeline") };
    let [point] = timeline.points[..] else { panic!("one point") };
    assert_eq!((point.used, point.capacity, point.refused), (CAPACITY, CAPACITY, 2));
    assert_eq!(timeline.series[0].held[0], Held { in_use: 32, time_wait: CAPACITY - 32 });
    assert_eq!((timeline.fullest_ns, timeline.space.headroom), (SECOND + 1_000, 0));
}

#[test]
fn a_long_time_has_no_more_buckets_and_keeps_its_peaks() {
    let mut timelines = Timelines::default();
    for second in 0..100_000 {
        let used = if second == 77_777 { 20_000 } else { 10 };
        timelines.add(second * SECOND, &census(80, &[holder(1, "curl", used, 0)]));
    }
    let step = i64::try_from(timelines.step().as_nanos()).unwrap();
    let [timeline] = &timelines.finish(9)[..] else { panic!("one timeline") };
    assert!((512..=1_024).contains(&timeline.points.len()), "{}", timeline.points.len());
    let peak: Vec<i64> =
        timeline.points.iter().filter(|point| point.used == 20_000).map(|p| p.bucket).collect();
    let at = timeline.began_ns + peak[0] * step;
    assert_eq!(peak.len(), 1);
    assert!((at..at + step).contains(&(77_777 * SECOND)));
    assert!(timeline.points.windows(2).all(|two| two[0].bucket + 1 == two[1].bucket), "no gap");
}

#[test]
fn spaces_in_which_calls_failed_are_kept_however_many_are_fuller() {
    let mut timelines = Timelines::default();
    let story = Story { space: space(1, 5), holders: Vec::new().into(), cause: None };
    timelines.refused(SECOND, &story, 1);
    for port in 2..2_000 {
        timelines.add(SECOND, &census(port, &[holder(1, "curl", 10_000 + u32::from(port), 0)]));
    }
    assert_eq!(timelines.followed().len(), 64);
    let told = timelines.finish(3);
    let used: Vec<u32> = told.iter().map(|timeline| timeline.space.used).collect();
    assert_eq!(used, [5, 11_999, 11_998]);
    assert_sums(&told[0]);
}
