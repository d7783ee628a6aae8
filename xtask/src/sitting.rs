//! The kernel tests in groups, each of which runs by itself.

use std::collections::BTreeSet;

/// These make dozens of namespaces and observers of their own, which slow down all that other tests
/// wait for.
const LEDGER: &str = "ledger::";

/// What the test program is called with to run these tests out of all that it has, one call after
/// the other. Short, since each line about a port has the command line of who took it.
pub fn sittings(filter: &[String], tests: &BTreeSet<String>) -> Vec<Vec<String>> {
    let (ledger, others): (Vec<&String>, Vec<&String>) =
        tests.iter().partition(|name| name.starts_with(LEDGER));
    let mut sittings = Vec::new();
    if !others.is_empty() {
        let filter = filter.iter().map(String::as_str);
        sittings.push(arguments(16, ["--skip", LEDGER].into_iter().chain(filter)));
    }
    match ledger[..] {
        [] => {}
        _ if filter.is_empty() => sittings.push(arguments(4, [LEDGER].into_iter())),
        // A test's name must have all of one filter, not one of several.
        _ => {
            let names = ledger.into_iter().map(String::as_str);
            sittings.push(arguments(4, ["--exact"].into_iter().chain(names)));
        }
    }
    sittings
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
        let [others, ledger] = &of(&[], &["bind::a", "ledger::b"])[..] else { panic!() };
        ends_with(others, &["--skip", "ledger::"]);
        ends_with(ledger, &["ledger::"]);
    }

    #[test]
    fn what_was_asked_for_runs_in_both() {
        let [others, ledger] = &of(&["ab"], &["bind::ab", "ledger::ab"])[..] else { panic!() };
        ends_with(others, &["--skip", "ledger::", "ab"]);
        ends_with(ledger, &["--exact", "ledger::ab"]);
    }

    #[test]
    fn there_is_no_sitting_without_tests() {
        assert_eq!(of(&["b"], &["ledger::b"]).len(), 1);
        assert_eq!(of(&["a"], &["bind::a"]).len(), 1);
        assert_eq!(of(&[], &[]).len(), 0);
    }
}
