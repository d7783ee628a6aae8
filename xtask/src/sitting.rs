//! The kernel tests in groups, each of which runs by itself.

use std::collections::BTreeSet;

/// These make dozens of namespaces and observers of their own, which slow down all that other tests
/// wait for.
const LEDGER: &str = "ledger::";

/// What the test program is called with to run these tests, one call after the other.
pub fn sittings(tests: &BTreeSet<String>) -> Vec<Vec<String>> {
    let (ledger, others): (Vec<&String>, Vec<&String>) =
        tests.iter().partition(|name| name.starts_with(LEDGER));
    let arguments = |(tests, threads): (Vec<&String>, u32)| {
        let mut arguments = vec![
            "--show-output".to_owned(),
            format!("--test-threads={threads}"),
            "--exact".to_owned(),
        ];
        arguments.extend(tests.into_iter().cloned());
        arguments
    };
    let sittings = [(others, 16), (ledger, 4)].into_iter();
    sittings.filter(|(tests, _)| !tests.is_empty()).map(arguments).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Vec<Vec<String>> {
        sittings(&names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn tests_of_the_ledger_run_after_the_others() {
        let [others, ledger] = &of(&["ledger::b", "bind::a", "poll::ledger"])[..] else { panic!() };
        assert!(others.ends_with(&["--exact".into(), "bind::a".into(), "poll::ledger".into()]));
        assert!(ledger.ends_with(&["--exact".into(), "ledger::b".into()]));
    }

    #[test]
    fn there_is_no_sitting_without_tests() {
        assert_eq!(of(&["ledger::b"]).len(), 1);
        assert_eq!(of(&["bind::a"]).len(), 1);
        assert_eq!(of(&[]).len(), 0);
    }
}
