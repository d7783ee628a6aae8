//! The results of several runs as one table, what went wrong after it, and the total as the last line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::results::{Run, Verdict};

/// The whole text.
pub fn render(runs: &[Run]) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = write_table(&mut text, runs);
    let _ = write_skips(&mut text, runs);
    let _ = write_failures(&mut text, runs);
    let count = |verdict| runs.iter().map(|run| run.count(verdict)).sum::<usize>();
    let failed = count(Verdict::Failed) + count(Verdict::Missing);
    let (passed, skipped) = (count(Verdict::Passed), count(Verdict::Skipped));
    let _ = writeln!(text, "{passed} passed, {failed} failed, {skipped} skipped");
    text
}

fn cell(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Passed) => "ok",
        Some(Verdict::Failed) => "FAILED",
        Some(Verdict::Skipped) => "skipped",
        Some(Verdict::Missing) => "MISSING",
        None => "-",
    }
}

fn write_table(text: &mut String, runs: &[Run]) -> std::fmt::Result {
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.tests.keys()).collect();
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0).max("test".len());
    let widths: Vec<usize> = runs
        .iter()
        .map(|run| run.kernel.len().max(run.backend.len()).max("MISSING".len()))
        .collect();
    let mut line = |first: &str, cells: Vec<&str>| {
        let mut line = format!("{first:width$}");
        for (cell, width) in cells.iter().zip(&widths) {
            line += &format!("  {cell:width$}");
        }
        writeln!(text, "{}", line.trim_end())
    };
    line("", runs.iter().map(|run| run.kernel.as_str()).collect())?;
    line("test", runs.iter().map(|run| run.backend.as_str()).collect())?;
    for name in names {
        let verdicts = runs.iter().map(|run| run.tests.get(name).map(|test| test.verdict));
        line(name, verdicts.map(cell).collect())?;
    }
    writeln!(text)
}

/// Each reason once, with the tests and where they were skipped.
fn write_skips(text: &mut String, runs: &[Run]) -> std::fmt::Result {
    let mut reasons: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for run in runs {
        for (name, test) in &run.tests {
            if test.verdict == Verdict::Skipped {
                let place = format!("{} {}", run.kernel, run.backend);
                reasons.entry((name, &test.output)).or_default().push(place);
            }
        }
    }
    for ((name, reason), places) in &reasons {
        writeln!(text, "skipped {name} ({}): {reason}", places.join(", "))?;
    }
    if reasons.is_empty() { Ok(()) } else { writeln!(text) }
}

fn write_failures(text: &mut String, runs: &[Run]) -> std::fmt::Result {
    for run in runs {
        for (name, test) in &run.tests {
            if test.verdict == Verdict::Failed {
                writeln!(text, "---- {name} ({} {}) ----", run.kernel, run.backend)?;
                writeln!(text, "{}\n", test.output.trim_end())?;
            }
        }
    }
    for run in runs {
        for problem in &run.problems {
            writeln!(text, "problem ({} {}): {problem}", run.kernel, run.backend)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Test;

    fn run(kernel: &str, backend: &str, verdict: Verdict, output: &str) -> Run {
        let test = Test { verdict, output: output.into() };
        Run {
            kernel: kernel.into(),
            backend: backend.into(),
            tests: BTreeMap::from([("a_connect_is_an_acquire".into(), test)]),
            problems: Vec::new(),
        }
    }

    #[test]
    fn the_table_shows_each_run_then_the_reasons_the_failures_and_the_total() {
        let mut runs = vec![
            run("5.10", "fexit", Verdict::Passed, ""),
            run("5.10", "kprobe", Verdict::Skipped, "no kprobes"),
            run("6.12", "fexit", Verdict::Failed, "left: 1\n"),
            run("6.12", "kprobe", Verdict::Missing, ""),
        ];
        runs[3].problems.push("timed out".into());
        let expected = "                         5.10     5.10     6.12     6.12
test                     fexit    kprobe   fexit    kprobe
a_connect_is_an_acquire  ok       skipped  FAILED   MISSING

skipped a_connect_is_an_acquire (5.10 kprobe): no kprobes

---- a_connect_is_an_acquire (6.12 fexit) ----
left: 1

problem (6.12 kprobe): timed out
1 passed, 2 failed, 1 skipped
";
        assert_eq!(render(&runs), expected);
    }
}
