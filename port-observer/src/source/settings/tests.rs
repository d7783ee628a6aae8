use std::fs;

use super::*;
use crate::kernel::testing::in_fresh_namespace;

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

fn told(events: Vec<Event>, netns: u32) -> Vec<Event> {
    let about = |event: &Event| match event {
        Event::Namespace(settings) => settings.netns == netns,
        Event::NamespaceGone(gone) => *gone == netns,
        _ => false,
    };
    events.into_iter().filter(about).collect()
}

fn capacity(events: &[Event]) -> u32 {
    let [Event::Namespace(settings)] = events else { panic!("{events:?}") };
    settings.ports.capacity()
}

/// Calls `poll` until it tells something of the namespace.
fn next(settings: &mut Settings, netns: u32) -> Vec<Event> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let events = told(settings.poll(), netns);
        if !events.is_empty() || Instant::now() > end {
            return events;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_namespace_is_told_once_then_its_changes_then_its_end() {
    let own = Namespace::own().unwrap().inode;
    let mut settings = Settings::new(Vec::new(), false);
    let followed = in_fresh_namespace(|| {
        let netns = Namespace::own().unwrap().inode;
        if netns == own || fs::write(RANGE, "40000 40099").is_err() {
            return None;
        }
        // SAFETY: takes nothing.
        let thread = u32::try_from(unsafe { libc::gettid() }).unwrap();
        assert_eq!(capacity(&told(settings.meet(netns, Some(thread)), netns)), 100);
        assert_eq!(told(settings.meet(netns, Some(thread)), netns), []);
        fs::write(RANGE, "40000 40009").unwrap();
        assert_eq!(capacity(&next(&mut settings, netns)), 10);
        Some(netns)
    });
    let Some(netns) = followed else {
        println!("skipped: no privilege to make a network namespace and set it up");
        return;
    };
    assert_eq!(next(&mut settings, netns), [Event::NamespaceGone(netns)]);
}

#[test]
fn the_number_of_an_observed_namespace_that_is_gone_is_anothers() {
    let own = Namespace::own().unwrap().inode;
    let followed = in_fresh_namespace(|| {
        let netns = Namespace::own().unwrap().inode;
        let mut settings = Settings::new(vec![netns], false);
        // SAFETY: takes nothing.
        let thread = u32::try_from(unsafe { libc::gettid() }).unwrap();
        let told = told(settings.meet(netns, Some(thread)), netns);
        (netns != own && told.len() == 1).then_some((netns, settings))
    });
    let Some((netns, mut settings)) = followed else {
        println!("skipped: no privilege to make a network namespace");
        return;
    };
    assert!(!settings.has_ended(netns));
    assert_eq!(next(&mut settings, netns), [Event::NamespaceGone(netns)]);
    // The kernel gives the lowest number that is free.
    let is_met = (0..50).any(|_| {
        in_fresh_namespace(|| {
            if Namespace::own().unwrap().inode != netns {
                return false;
            }
            // SAFETY: takes nothing.
            let thread = u32::try_from(unsafe { libc::gettid() }).unwrap();
            assert_eq!(told(settings.meet(netns, Some(thread)), netns), []);
            true
        })
    });
    println!("the number was {}given again", if is_met { "" } else { "not " });
    assert!(settings.has_ended(netns));
    assert!(settings.namespaces().unwrap().iter().all(|one| one.inode != netns));
}

#[test]
fn a_namespace_that_is_not_found_is_remembered_as_one_that_may_be_there() {
    let mut settings = Settings::new(Vec::new(), true);
    // The second is not even looked for, so soon after the first.
    for netns in [1, 2] {
        assert_eq!(told(settings.meet(netns, None), netns), []);
    }
    settings.poll();
    let inodes: Vec<u32> = settings.inodes().collect();
    assert!(inodes.contains(&1) && inodes.contains(&2), "{inodes:?}");
}

#[test]
fn long_lists_of_reserved_ports_are_kept_up_to_a_limit_for_all_and_short_ones_beyond_it() {
    const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
    let own = Namespace::own().unwrap().inode;
    in_fresh_namespace(|| {
        let netns = Namespace::own().unwrap().inode;
        let list = |count| (1..=count).map(|n: u16| (2 * n).to_string()).collect::<Vec<_>>();
        if netns == own || fs::write(RESERVED, list(1_000).join(",")).is_err() {
            println!("skipped: no privilege to make a network namespace and set it up");
            return;
        }
        // SAFETY: takes nothing.
        let thread = u32::try_from(unsafe { libc::gettid() }).unwrap();
        let reserved = |settings: &mut Settings| {
            std::thread::sleep(MEET);
            settings.unfound.clear();
            let told = told(settings.meet(netns, Some(thread)), netns);
            told.into_iter().next().map(|event| match event {
                Event::Namespace(settings) => settings.ports.reserved.ranges().len(),
                other => panic!("{other:?}"),
            })
        };
        let mut settings = Settings::new(vec![netns], false);
        settings.most_long_bytes = 0;
        assert_eq!((reserved(&mut settings), settings.has_warned_of_list), (None, true));
        settings.most_long_bytes = LONG_BYTES;
        assert_eq!(reserved(&mut settings), Some(1_000));
        assert!(settings.long_bytes > 1_000);
        // One that is known and grows beyond what there is room for stays as it was.
        settings.most_long_bytes = settings.long_bytes;
        fs::write(RESERVED, list(2_000).join(",")).unwrap();
        assert_eq!((reserved(&mut settings), settings.long_bytes), (None, 0));
        fs::write(RESERVED, list(10).join(",")).unwrap();
        assert_eq!((reserved(&mut settings), settings.long_bytes), (Some(10), 0));
    });
}
