//! The kernel tests on every kernel with every backend.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::initramfs::{Programs, TESTS, pack};
use super::kernels::{Image, KERNELS, Kernel};
use super::qemu::{Ending, Machine, Outcome, TRIES, Terminal, lines};
use super::{Args, Backend};
use crate::command::{command, make_directory, output, quoted, workspace};
use crate::results::{Run, Verdict, listed, parse};
use crate::sitting::{
    is_enough_at_the_ends, is_enough_on_the_newest, is_enough_on_the_oldest, is_enough_once,
    is_of_the_kernel, sittings,
};

/// Boots what the arguments ask for and returns a run for each kernel and backend.
///
/// # Errors
/// When something can't be built, fetched or started; what fails inside a machine is in its run.
pub fn run(args: &Args) -> Result<Vec<Run>> {
    let kernels = if args.kernel.is_empty() { KERNELS.to_vec() } else { args.kernel.clone() };
    let programs = Programs::build(true, args.object.as_deref())?;
    let mut list = command(programs.tests()?, ["--list", "--format=terse"]);
    let tests = listed(&output(list.args(&args.filter))?);
    if tests.is_empty() {
        bail!("no test's name contains {}", args.filter.join(" or "));
    }
    let logs = workspace().join("target/vm/logs");
    make_directory(&logs)?;
    // Two matrices at a time would write to the same logs.
    let lock = File::create(logs.join("lock")).context("can't write to target/vm/logs")?;
    if lock.try_lock().is_err() {
        eprintln!("waiting for another cargo xtask vm");
        lock.lock().context("can't lock target/vm/logs")?;
    }
    let images = kernels.iter().map(|kernel| kernel.image()).collect::<Result<Vec<_>>>()?;
    let matrix = Matrix { args, programs, tests: per_backend(args, tests), logs };
    matrix.say_what_is_left_out();
    matrix.boot_all(&images)
}

/// The tests that each backend runs. Without a filter, the second of a kernel leaves out what the
/// first has shown.
fn per_backend(args: &Args, tests: BTreeSet<String>) -> Vec<(Backend, BTreeSet<String>)> {
    let [first, others @ ..] = &args.backend[..] else { return Vec::new() };
    let (mut tests, count) = (tests.clone(), tests.len());
    if args.filter.is_empty() {
        tests.retain(|test| is_of_the_kernel(test));
        println!(
            "skipped {} tests of the program alone, run on this machine: cargo xtask vm --filter \
             options",
            count - tests.len()
        );
    }
    let mut rest = tests.clone();
    if args.filter.is_empty() && !others.is_empty() {
        rest.retain(|test| !is_enough_once(test));
        let names: Vec<&str> = others.iter().map(|backend| backend.name()).collect();
        println!(
            "skipped {} tests of the ledger with {}, run with {}: cargo xtask vm --filter ledger",
            tests.len() - rest.len(),
            names.join(" and "),
            first.name()
        );
    }
    let others = others.iter().map(|backend| (*backend, rest.clone()));
    [(*first, tests)].into_iter().chain(others).collect()
}

struct Matrix<'a> {
    args: &'a Args,
    programs: Programs,
    tests: Vec<(Backend, BTreeSet<String>)>,
    logs: PathBuf,
}

impl Matrix<'_> {
    /// What each backend runs on this kernel.
    fn tests_on(&self, kernel: Kernel) -> Vec<(Backend, BTreeSet<String>)> {
        let mut tests = self.tests.clone();
        if let Some(is_left_out) = self.left_out(kernel) {
            for (_, tests) in &mut tests {
                tests.retain(|test| !is_left_out(test));
            }
        }
        tests
    }

    /// A whole run has some tests on the oldest and the newest kernel only, or on one of the two.
    fn left_out(&self, kernel: Kernel) -> Option<fn(&str) -> bool> {
        let is_whole = self.args.kernel.is_empty() && self.args.filter.is_empty();
        if !is_whole {
            None
        } else if Some(&kernel) == KERNELS.last() {
            Some(is_enough_on_the_oldest)
        } else if Some(&kernel) == KERNELS.first() {
            Some(is_enough_on_the_newest)
        } else {
            Some(is_enough_at_the_ends)
        }
    }

    fn say_what_is_left_out(&self) {
        for kernel in KERNELS {
            let Some(is_left_out) = self.left_out(kernel) else { continue };
            let all = self.tests.iter().flat_map(|(_, tests)| tests);
            let count = all.filter(|test| is_left_out(test)).count();
            let name = kernel.name;
            println!(
                "skipped {count} tests on {name}, run on other kernels: cargo xtask vm --kernel {name}"
            );
        }
    }

    /// Those with most tests first, of equals the newest, which takes longest; the runs come back in the
    /// order of the images.
    fn boot_all(&self, images: &[Image]) -> Result<Vec<Run>> {
        let mut queue: VecDeque<(usize, &Image)> = images.iter().enumerate().rev().collect();
        let tests = |image: &Image| -> usize {
            self.tests_on(image.kernel).iter().map(|(_, tests)| tests.len()).sum()
        };
        queue.make_contiguous().sort_by_key(|(_, image)| Reverse(tests(image)));
        let queue = Mutex::new(queue);
        let done = Mutex::new(Vec::new());
        let next = || queue.lock().ok().and_then(|mut queue| queue.pop_front());
        std::thread::scope(|scope| {
            for _ in 0..self.args.jobs.max(1) {
                scope.spawn(|| {
                    while let Some((order, image)) = next() {
                        let runs = self.boot(image);
                        if let Ok(mut done) = done.lock() {
                            done.push((order, runs));
                        }
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_default();
        done.sort_by_key(|(order, _)| *order);
        if done.len() != images.len() {
            bail!("{} of {} kernels have no result", images.len() - done.len(), images.len());
        }
        let runs = done.into_iter().map(|(_, runs)| runs).collect::<Result<Vec<_>>>()?;
        Ok(runs.into_iter().flatten().collect())
    }

    fn boot(&self, image: &Image) -> Result<Vec<Run>> {
        let name = image.kernel.name;
        let initramfs = self.logs.join(format!("{name}.cpio"));
        let tests = self.tests_on(image.kernel);
        pack(image, &self.programs, &job(self.args, &tests), &initramfs)?;
        let machine = Machine {
            image,
            initramfs: &initramfs,
            logs: &self.logs,
            terminal: Terminal::File,
            timeout: Duration::from_secs(self.args.timeout),
        };
        eprintln!("Linux {name}: boots; {}", machine.output_log().display());
        let outcome = machine.boot()?;
        let _ = std::fs::remove_file(&initramfs);
        let printed = if outcome.ending == Ending::NoInit {
            Vec::new()
        } else {
            lines(&machine.output_log())?
        };
        let console = lines(&machine.console_log()).unwrap_or_default();
        let mut runs = Vec::new();
        for (backend, tests) in &tests {
            let mut run = self.run_of(image.kernel, (*backend, tests), &printed, &outcome);
            run.problems.extend(kernel_problems(&console, &machine.console_log()));
            let [passed, failed, skipped, missing] =
                [Verdict::Passed, Verdict::Failed, Verdict::Skipped, Verdict::Missing]
                    .map(|verdict| run.count(verdict));
            eprintln!(
                "Linux {name}: {}: {passed} passed, {failed} failed, {skipped} skipped, \
                 {missing} missing ({} s since power on)",
                run.backend,
                outcome.took.as_secs()
            );
            run.remarks().for_each(|remark| println!("{remark}"));
            runs.push(run);
        }
        Ok(runs)
    }

    /// What one backend's lines and the machine's end say.
    fn run_of(
        &self,
        kernel: Kernel,
        (backend, tests): (Backend, &BTreeSet<String>),
        printed: &[String],
        outcome: &Outcome,
    ) -> Run {
        let backend = backend.name();
        let prefix = format!("[{backend}] ");
        let own: Vec<&str> =
            printed.iter().filter_map(|line| line.strip_prefix(prefix.as_str())).collect();
        let mut run = Run {
            kernel: kernel.name.to_owned(),
            backend: backend.to_owned(),
            tests: parse(&own, tests),
            problems: Vec::new(),
        };
        let exit = format!("end {backend} ");
        let exit = outcome.status.iter().find_map(|line| line.strip_prefix(exit.as_str()));
        match (&outcome.ending, exit) {
            (Ending::NoInit, _) => {
                let log = self.logs.join(format!("{}.console.log", kernel.name));
                let log = log.display();
                run.problems
                    .push(format!("the kernel never ran init, in {TRIES} boots (see {log})"));
            }
            (Ending::TimedOut, None) => {
                run.problems.push(format!("not done after {} s", self.args.timeout));
            }
            (_, None) => run.problems.push("the machine ended before the tests did".to_owned()),
            (_, Some("0")) => {}
            (_, Some(_)) if run.count(Verdict::Failed) > 0 => {}
            (_, Some(code)) => run.problems.push(format!("the test program exited with {code}")),
        }
        let all_skipped = run.count(Verdict::Skipped) == run.tests.len();
        if all_skipped && self.args.filter.is_empty() {
            run.problems.push("every test was skipped, so nothing was tested".to_owned());
        }
        run
    }
}

/// The shell commands that run the tests with each backend.
fn job(args: &Args, tests: &[(Backend, BTreeSet<String>)]) -> String {
    // Each line gets its backend's name, so that runs at the same time can be told apart.
    let mut job = "export PORT_OBSERVER=/bin/port-observer PORT_OBSERVER_IN_VM=1\n\
         run() {\n\
             say \"begin $1\"\n\
             {\n\
                 export PORT_OBSERVER_BACKEND=$1 code=0\n\
                 $1\n\
                 say \"end $1 $code\"\n\
             } | awk -v backend=\"$1\" '{ print \"[\" backend \"] \" $0; fflush() }' >/dev/ttyS1\n\
         }\n"
    .to_owned();
    for (backend, tests) in tests {
        let calls = sittings(&args.filter, tests).into_iter().map(|sitting| {
            let arguments: Vec<String> = sitting.iter().map(|argument| quoted(argument)).collect();
            format!("{TESTS} {} 9>&- </dev/null 2>&1 || code=$?\n", arguments.join(" "))
        });
        let (name, calls) = (backend.name(), calls.collect::<String>());
        let then = if args.together { " &" } else { "" };
        job += &format!("{name}() {{\n{calls}}}\nrun {name}{then}\n");
    }
    // What the kernel had to say about it belongs to the console's log.
    job + "wait\ndmesg >/dev/console\n"
}

/// What the kernel itself complained about.
fn kernel_problems(console: &[String], log: &Path) -> Vec<String> {
    let signs = ["BUG: ", "WARNING: CPU", "Oops: ", "Kernel panic", "general protection fault"];
    let mut found = console.iter().filter(|line| signs.iter().any(|sign| line.contains(sign)));
    found.next().map(|line| format!("{line} (see {})", log.display())).into_iter().collect()
}
