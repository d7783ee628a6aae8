//! The kernel tests on this machine.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::command::{command, make_directory, output, workspace};
use crate::results::{Run, Verdict, listed, parse};
use crate::sitting::sittings;
use crate::vm::Programs;

/// How long one sitting may take.
const TIMEOUT: Duration = Duration::from_secs(400);
/// Many connections in a row, none of which may be lost.
const LOAD: &str = "load::every_one_of_many_connections_has_its_acquire_and_its_release";
/// How many of the last lines are shown of a sitting that has failed for no test's reason.
const SHOWN: usize = 30;

/// The program and its tests as they are run here, with one backend.
pub struct Native<'a> {
    program: &'a Path,
    tests: &'a Path,
    backend: &'a str,
}

/// What one call of the test program left.
pub struct Sat {
    /// How it ended.
    pub status: ExitStatus,
    /// All that it wrote.
    pub text: String,
}

impl<'a> Native<'a> {
    /// From what was built.
    ///
    /// # Errors
    /// When the program or the tests were not built.
    pub fn new(programs: &'a Programs, backend: &'a str) -> Result<Self> {
        Ok(Self { program: programs.program()?, tests: programs.tests()?, backend })
    }

    /// Every test, in sittings.
    ///
    /// # Errors
    /// When the tests can't be started or a log can't be written; what fails is in the run.
    pub fn run(&self) -> Result<Run> {
        let expected = listed(&output(&mut command(self.tests, ["--list", "--format=terse"]))?);
        if expected.is_empty() {
            bail!("{} has no tests", self.tests.display());
        }
        let mut text = String::new();
        let mut statuses = Vec::new();
        for (number, arguments) in (1..).zip(sittings(&[], &expected)) {
            let name = format!("{}-{number}", self.backend);
            let sat = self.sit(&name, &arguments, &[], TIMEOUT)?;
            statuses.push(sat.status);
            text += &sat.text;
        }
        let mut run = Run {
            kernel: output(&mut command("uname", ["-r"]))?.trim().to_owned(),
            backend: self.backend.to_owned(),
            tests: parse(&text.lines().collect::<Vec<_>>(), &expected),
            problems: Vec::new(),
        };
        run.remarks().for_each(|remark| println!("{remark}"));
        let has_failed = run.count(Verdict::Failed) > 0;
        run.problems.extend(statuses.into_iter().filter_map(|status| match status.code() {
            Some(0) => None,
            Some(124 | 137) => Some(format!("not done after {} s", TIMEOUT.as_secs())),
            _ if has_failed => None,
            _ => Some(format!("the test program ended with {status}")),
        }));
        run.problems.extend(self.full_load(&expected)?);
        Ok(run)
    }

    /// The load test once more, by itself and with 200,000 connections: beside other tests, what
    /// reads the lines of all of them at the same time would be the limit. The problem, if there is
    /// one.
    fn full_load(&self, tests: &BTreeSet<String>) -> Result<Option<String>> {
        if !tests.contains(LOAD) {
            bail!("there is no test {LOAD}");
        }
        let name = format!("{}-load", self.backend);
        let arguments = ["--show-output", "--exact", LOAD].map(str::to_owned);
        let sat = self.sit(&name, &arguments, &[("PORT_OBSERVER_CONNECTS", "200000")], TIMEOUT)?;
        let last: Vec<&str> = sat.text.lines().rev().take(SHOWN).collect();
        let last: String = last.iter().rev().map(|line| format!("\n{line}")).collect();
        let failed = !sat.status.success();
        Ok(failed.then(|| format!("200,000 connections by themselves: {}{last}", sat.status)))
    }

    /// Calls the test program once.
    ///
    /// # Errors
    /// When it can't be started or its log can't be written.
    pub fn sit(
        &self,
        name: &str,
        arguments: &[String],
        variables: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Sat> {
        let log = log(name)?;
        let file = File::create(&log).with_context(|| format!("can't write {}", log.display()))?;
        eprintln!("this machine: {name}; {}", log.display());
        // timeout ends the tests' children with them: it leads a process group of its own.
        let limit = timeout.as_secs().to_string();
        // setpriv ends timeout with this program, however that ends.
        let wrapper = ["--pdeathsig", "TERM", "timeout", "--kill-after=10", limit.as_str()];
        let status = command("setpriv", wrapper)
            .arg(self.tests)
            .args(arguments)
            .current_dir(workspace().join("tests"))
            .env("PORT_OBSERVER", self.program)
            .env("PORT_OBSERVER_BACKEND", self.backend)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(file.try_clone().context("can't write the log twice")?)
            .stdout(file)
            .status()
            .with_context(|| format!("can't start {}", self.tests.display()))?;
        let text = fs::read(&log).with_context(|| format!("can't read {}", log.display()))?;
        Ok(Sat { status, text: String::from_utf8_lossy(&text).into_owned() })
    }
}

fn log(name: &str) -> Result<PathBuf> {
    let directory = workspace().join("target/native");
    make_directory(&directory)?;
    Ok(directory.join(format!("{name}.log")))
}
