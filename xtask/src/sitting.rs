//! The kernel tests in groups, each of which runs by itself.

use std::collections::BTreeSet;

/// A group: how its tests' names begin, and how many run at a time.
struct Group {
    prefix: &'static str,
    threads: u32,
}

/// A test is of the first that its name fits.
const GROUPS: [Group; 16] = [
    // Waits for what is told of dozens of namespaces, which others' thousands of sockets put off.
    Group { prefix: "ledger::truth::", threads: 2 },
    // Look once and again at TIME_WAITs of a minute: on an emulated processor a look takes seconds, and many
    // at a time take longer than that.
    Group { prefix: "ledger::check::", threads: 2 },
    Group { prefix: "ledger::snapshot::", threads: 2 },
    Group { prefix: "ledger::why::", threads: 2 },
    // Make dozens of namespaces and observers of their own, which slow down what others wait for.
    Group { prefix: "ledger::", threads: 6 },
    // Attach an observer each, which on an emulated processor takes half a minute.
    Group { prefix: "privileges::", threads: 1 },
    // Stall observers of their own until their queues are full.
    Group { prefix: "output::", threads: 1 },
    // Keep a processor within the kernel programs, which a preemptible kernel then skips for others.
    Group { prefix: "storms::", threads: 1 },
    // Have observers of their own; most are about the program alone, and only named tests can be left out.
    Group { prefix: "options::", threads: 8 },
    Group { prefix: "command::", threads: 8 },
    // Set the clock of a virtual machine.
    Group { prefix: "pools::leases::", threads: 1 },
    // Have observers of their own, and servers of media and of the web beside.
    Group { prefix: "pools::", threads: 4 },
    // Set limits of the whole machine.
    Group { prefix: "stress::limits::", threads: 1 },
    // Have observers of their own, servers beside, and make connections as fast as they go.
    Group { prefix: "stress::", threads: 2 },
    // With Prometheus and Alertmanager beside.
    Group { prefix: "serve::", threads: 4 },
    Group { prefix: "", threads: 16 },
];

/// What the test program is called with to run these tests out of all that it has, one call after
/// the other.
pub fn sittings(filter: &[String], tests: &BTreeSet<String>) -> Vec<Vec<String>> {
    let mut sittings = Vec::new();
    for (index, group) in GROUPS.iter().enumerate() {
        let before: Vec<&str> = GROUPS[..index].iter().map(|group| group.prefix).collect();
        let is_mine = |name: &&str| {
            name.starts_with(group.prefix) && !before.iter().any(|prefix| name.starts_with(prefix))
        };
        let names: Vec<&str> = tests.iter().map(String::as_str).filter(is_mine).collect();
        if names.is_empty() {
            continue;
        }
        let which: Vec<&str> = if group.prefix.is_empty() {
            // Short: each line about a port has the command line of who took it.
            let skipped = before.iter().flat_map(|prefix| ["--skip", prefix]);
            skipped.chain(filter.iter().map(String::as_str)).collect()
        } else {
            ["--exact"].into_iter().chain(names).collect()
        };
        sittings.push(arguments(group.threads, which.into_iter()));
    }
    sittings.reverse();
    sittings
}

/// Whether a test runs with one backend of a kernel and not again with the next: it looks at what the
/// ledger makes of events, whose exactness the truth test shows with each.
pub fn is_enough_once(test: &str) -> bool {
    (test.starts_with("ledger::") && !test.starts_with("ledger::truth::"))
        || test.starts_with("privileges::commands_that_look_once")
}

/// Whether a test runs on the oldest and the newest kernel and not on those between: it attaches
/// observers of its own, each of which takes an emulated processor half a minute, or waits for TIME_WAIT
/// to end, and what it tests differs between kernels no more than those two do.
pub fn is_enough_at_the_ends(test: &str) -> bool {
    let waits = [
        "time_wait::time_wait_keeps_the_port_for_a_minute",
        "time_wait::time_wait_of_a_fixed_port",
        // Goes over two processors, many times.
        "time_wait::what_ended_an_entry",
    ];
    is_enough_once(test)
        || test.starts_with("storms::")
        || test.starts_with("stress::")
        || test.starts_with("pools::leases::")
        || test.starts_with("privileges::")
        || waits.iter().any(|name| test.starts_with(name))
}

/// Whether a test of those runs on the oldest kernel alone: it is about what `check`, `snapshot` and `why`
/// list, which differs there most; this machine, where it runs too, is as the newer ones.
pub fn is_enough_on_the_oldest(test: &str) -> bool {
    let lists = ["ledger::check", "ledger::snapshot", "ledger::why"];
    lists.iter().any(|prefix| test.starts_with(prefix))
}

/// Whether a test of those runs on the newest kernel alone: what the ledger makes of events.
pub fn is_enough_on_the_newest(test: &str) -> bool {
    is_enough_once(test) && !is_enough_on_the_oldest(test) && !test.starts_with("privileges::")
}

/// Groups whose tests are about the program alone, but for those whose names begin so.
const PARTLY_OF_THE_KERNEL: [(&str, &[&str]); 11] = [
    ("privileges::", &["live_keeps_what_it_needs", "commands_that_look_once"]),
    ("options::", &["netns_lets", "protocol_lets", "states_adds"]),
    ("output::", &[]),
    ("command::", &[]),
    ("serve::", &[]),
    ("pools::", &["ports_of_declared_pools", "leases::a_clock_that_is_set"]),
    ("stress::", &["a_full_range", "limits::"]),
    // What `check` makes of lists that are cut short or garbage.
    ("ledger::check_failures::", &[]),
    // What is made of events, whichever kernel told them.
    ("ledger::forecast::", &[]),
    ("ledger::record::", &[]),
    ("ledger::report::", &[]),
];

/// Whether a test is about the kernel too, so that it runs on each, and not about the program alone. Of
/// the privileges, what an observer keeps and what one look keeps show what the kernel asks for; of the
/// options, some are for the kernel programs.
pub fn is_of_the_kernel(test: &str) -> bool {
    PARTLY_OF_THE_KERNEL.iter().all(|(group, of_the_kernel)| {
        test.strip_prefix(group)
            .is_none_or(|name| of_the_kernel.iter().any(|prefix| name.starts_with(prefix)))
    })
}

fn arguments<'a>(threads: u32, which: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut arguments = vec!["--show-output".to_owned(), format!("--test-threads={threads}")];
    arguments.extend(which.map(str::to_owned));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(filter: &[&str], names: &[&str]) -> Vec<Vec<String>> {
        let owned = |name: &&str| (*name).to_owned();
        let filter: Vec<String> = filter.iter().map(owned).collect();
        sittings(&filter, &names.iter().map(owned).collect())
    }

    fn ends_with(sitting: &[String], end: &[&str]) {
        assert!(sitting.ends_with(&end.iter().map(|&word| word.into()).collect::<Vec<String>>()));
    }

    #[test]
    fn tests_of_the_ledger_run_after_the_others() {
        let names = ["bind::a", "ledger::b", "ledger::truth::c"];
        let [others, ledger, truth] = &of(&[], &names)[..] else { panic!() };
        let [.., last] = GROUPS;
        assert_eq!(last.prefix, "", "what no other group has");
        let skipped = GROUPS.iter().map(|group| group.prefix).take(GROUPS.len() - 1);
        let skipped = skipped.flat_map(|prefix| ["--skip", prefix]);
        ends_with(others, &["--test-threads=16"].into_iter().chain(skipped).collect::<Vec<_>>());
        ends_with(ledger, &["--test-threads=6", "--exact", "ledger::b"]);
        ends_with(truth, &["--test-threads=2", "--exact", "ledger::truth::c"]);
    }

    #[test]
    fn what_was_asked_for_runs_in_both() {
        let [others, ledger] = &of(&["ab"], &["bind::ab", "ledger::ab"])[..] else { panic!() };
        ends_with(others, &["--skip", "serve::", "ab"]);
        ends_with(ledger, &["--exact", "ledger::ab"]);
    }

    #[test]
    fn the_truth_is_told_with_every_backend() {
        assert!(is_enough_once("ledger::check::a"));
        assert!(!is_enough_once("ledger::truth::a"));
        assert!(!is_enough_once("bind::ledger"));
    }

    #[test]
    fn what_the_program_does_alone_is_not_of_the_kernel() {
        for test in
            ["bind::a", "options::netns_lets_only_one", "privileges::commands_that_look_once"]
        {
            assert!(is_of_the_kernel(test), "{test}");
        }
        for test in [
            "output::a",
            "options::count_ends",
            "privileges::a",
            "command::a",
            "ledger::forecast::a",
        ] {
            assert!(!is_of_the_kernel(test), "{test}");
        }
    }

    #[test]
    fn what_is_left_out_is_of_a_group_that_runs_by_name() {
        for (left_out, _) in PARTLY_OF_THE_KERNEL {
            let is_named =
                |group: &Group| !group.prefix.is_empty() && left_out.starts_with(group.prefix);
            assert!(GROUPS.iter().any(is_named), "{left_out}");
        }
        let [others] = &of(&[], &["bind::a"])[..] else { panic!() };
        assert!(others.windows(2).any(|pair| pair == ["--skip", "options::"]), "{others:?}");
    }

    #[test]
    fn what_a_kernel_lists_is_tested_on_the_oldest() {
        assert!(is_enough_on_the_newest("ledger::cause::a"));
        for test in ["ledger::check::a", "ledger::why::a", "ledger::truth::a", "storms::a"] {
            assert!(!is_enough_on_the_newest(test), "{test}");
        }
        assert!(is_enough_at_the_ends("storms::a") && !is_enough_at_the_ends("bind::a"));
        // Each runs on one of the two at least.
        for test in ["ledger::check::a", "ledger::cause::a", "storms::a", "privileges::a"] {
            assert!(!(is_enough_on_the_oldest(test) && is_enough_on_the_newest(test)), "{test}");
        }
    }

    #[test]
    fn there_is_no_sitting_without_tests() {
        assert_eq!(of(&["b"], &["ledger::b"]).len(), 1);
        assert_eq!(of(&["a"], &["bind::a"]).len(), 1);
        assert_eq!(of(&[], &[]).len(), 0);
    }
}
