//! What a libtest program printed, read back.

use std::collections::{BTreeMap, BTreeSet};

/// How much of the reason of a failure a line has, in characters.
const REASON: usize = 300;

/// What became of one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ran and passed.
    Passed,
    /// It ran and failed.
    Failed,
    /// It said that it can't run here, or it is ignored.
    Skipped,
    /// It gave no result.
    Missing,
}

/// One test's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// What became of it.
    pub verdict: Verdict,
    /// What it printed; for a skipped test its reason.
    pub output: String,
}

impl Test {
    /// The beginning of what its last panic said, in one line.
    fn reason(&self) -> String {
        let (_, said) = self.output.rsplit_once("panicked at ").unwrap_or(("", &self.output));
        let words: Vec<&str> = said.split_whitespace().collect();
        words.join(" ").chars().take(REASON).collect()
    }
}

/// One run of the test program.
#[derive(Debug)]
pub struct Run {
    /// The kernel that it ran on.
    pub kernel: String,
    /// The backend that it used.
    pub backend: String,
    /// Every test that should have run.
    pub tests: BTreeMap<String, Test>,
    /// What went wrong beside the tests.
    pub problems: Vec<String>,
}

impl Run {
    /// A line for each test that failed, and for each that passed at the second try, by its own word.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        let Self { kernel, backend, .. } = self;
        let is_retried = |test: &Test| test.output.lines().any(|l| l.starts_with("retried: "));
        self.tests.iter().filter_map(move |(name, test)| match test.verdict {
            Verdict::Failed => {
                Some(format!("failed {name} (Linux {kernel}, {backend}): {}", test.reason()))
            }
            Verdict::Passed if is_retried(test) => {
                Some(format!("retried {name} (Linux {kernel}, {backend}): its first try failed"))
            }
            _ => None,
        })
    }

    /// How many tests had this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.tests.values().filter(|test| test.verdict == verdict).count()
    }

    /// Whether everything ran that should, and nothing failed.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
            && self.count(Verdict::Failed) == 0
            && self.count(Verdict::Missing) == 0
    }
}

/// The tests that a program has, from its `--list --format terse`.
pub fn listed(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// Reads the output of a test program that ran with `--show-output`.
///
/// A test passes only by a line of its own; one that is expected and has none is missing. Lines that
/// other programs wrote between are passed over.
pub fn parse(lines: &[&str], expected: &BTreeSet<String>) -> BTreeMap<String, Test> {
    let missing = || Test { verdict: Verdict::Missing, output: String::new() };
    let mut tests: BTreeMap<String, Test> =
        expected.iter().map(|name| (name.clone(), missing())).collect();
    let mut section: Option<String> = None;
    for line in lines {
        if let Some((name, verdict, reason)) = result(line).filter(|(n, ..)| expected.contains(*n))
        {
            let test = tests.entry(name.to_owned()).or_insert_with(missing);
            // A repeated name can only make it worse.
            if test.verdict != Verdict::Failed {
                test.verdict = verdict;
            }
            test.output.push_str(reason);
        } else if let Some(name) = heading(line) {
            section = Some(name.to_owned());
        } else if matches!(*line, "successes:" | "failures:") || line.starts_with("test result:") {
            section = None;
        } else if let Some(test) = section.as_ref().and_then(|name| tests.get_mut(name)) {
            test.output.push_str(line);
            test.output.push('\n');
        }
    }
    for test in tests.values_mut() {
        let reason = test.output.lines().find_map(|line| line.strip_prefix("skipped: "));
        if let (Verdict::Passed, Some(reason)) = (test.verdict, reason) {
            *test = Test { verdict: Verdict::Skipped, output: reason.to_owned() };
        }
    }
    tests
}

/// `test NAME ... ok`, perhaps behind a piece of somebody else's line.
fn result(line: &str) -> Option<(&str, Verdict, &str)> {
    let (before, result) = line.rsplit_once(" ... ")?;
    let before = before.strip_suffix(" - should panic").unwrap_or(before);
    let (_, name) = before.rsplit_once("test ")?;
    match result.split_once(", ").unwrap_or((result, "")) {
        ("ok", "") => Some((name, Verdict::Passed, "")),
        ("FAILED", "") => Some((name, Verdict::Failed, "")),
        ("ignored", reason) => Some((name, Verdict::Skipped, reason)),
        _ => None,
    }
}

/// `---- NAME stdout ----`
fn heading(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 6 tests
test a_test_that_passes ... ok
half a line of a child test group::a_test_that_is_skipped ... ok
test a_test_that_fails ... FAILED
test an_ignored_test ... ignored, takes an hour
test a_test_that_panics - should panic ... ok
test somebody_elses ... ok

successes:

---- group::a_test_that_is_skipped stdout ----
skipped: no cgroup2

---- a_test_that_passes stdout ----
something

successes:
    a_test_that_passes

failures:

---- a_test_that_fails stdout ----
thread panicked
two lines

failures:
    a_test_that_fails

test result: FAILED. 4 passed; 1 failed
";

    fn parsed() -> BTreeMap<String, Test> {
        let names = [
            "a_test_that_passes",
            "group::a_test_that_is_skipped",
            "a_test_that_fails",
            "an_ignored_test",
            "a_test_that_panics",
            "a_test_that_hung",
        ];
        let expected = names.map(str::to_owned).into_iter().collect();
        parse(&OUTPUT.lines().collect::<Vec<_>>(), &expected)
    }

    #[test]
    fn each_test_has_its_verdict_and_what_has_none_is_missing() {
        let tests = parsed();
        assert_eq!(tests["a_test_that_passes"].verdict, Verdict::Passed);
        assert_eq!(tests["a_test_that_fails"].verdict, Verdict::Failed);
        assert_eq!(tests["a_test_that_panics"].verdict, Verdict::Passed);
        assert_eq!(tests["a_test_that_hung"].verdict, Verdict::Missing);
        assert_eq!(tests.len(), 6);
    }

    #[test]
    fn a_skipped_test_has_its_reason() {
        let test = |verdict, output: &str| Test { verdict, output: output.to_owned() };
        let tests = parsed();
        let skipped = test(Verdict::Skipped, "no cgroup2");
        assert_eq!(tests["group::a_test_that_is_skipped"], skipped);
        assert_eq!(tests["an_ignored_test"], test(Verdict::Skipped, "takes an hour"));
    }

    #[test]
    fn a_failed_test_has_its_output() {
        assert!(parsed()["a_test_that_fails"].output.contains("thread panicked\ntwo lines\n"));
    }

    #[test]
    fn a_run_remarks_on_what_failed_and_on_what_passed_at_the_second_try() {
        let mut tests = parsed();
        let passed = tests.get_mut("a_test_that_passes").unwrap();
        passed.output = "retried: the first try failed\n".to_owned();
        let failed = tests.get_mut("a_test_that_fails").unwrap();
        failed.output = "thread panicked at a.rs:1:1:\nleft:  1\n".to_owned();
        let run =
            Run { kernel: "6.12".into(), backend: "fexit".into(), tests, problems: Vec::new() };
        let expected = [
            "failed a_test_that_fails (Linux 6.12, fexit): a.rs:1:1: left: 1",
            "retried a_test_that_passes (Linux 6.12, fexit): its first try failed",
        ];
        assert_eq!(run.remarks().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_missing_test_or_a_problem_makes_a_run_bad() {
        let run = |tests, problems| Run {
            kernel: "6.12".into(),
            backend: "fexit".into(),
            tests,
            problems,
        };
        let mut tests = parsed();
        tests.retain(|_, test| !matches!(test.verdict, Verdict::Failed | Verdict::Missing));
        assert!(run(tests.clone(), vec![]).is_good());
        assert!(!run(tests.clone(), vec!["timed out".into()]).is_good());
        tests.insert("a_test_that_hung".into(), parsed()["a_test_that_hung"].clone());
        assert!(!run(tests, vec![]).is_good());
    }

    #[test]
    fn the_list_of_a_program_gives_its_tests_and_not_its_benchmarks() {
        let expected = ["a::b", "c"].map(str::to_owned).into_iter().collect();
        assert_eq!(listed("a::b: test\nc: test\nd: benchmark\n\n2 tests, 1 benchmark\n"), expected);
    }
}
