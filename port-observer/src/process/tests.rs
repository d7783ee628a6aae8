//! The rules of the table, on a /proc made of plain files.

mod limits;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{ProcFs, ProcessTable};
use crate::event::{Exec, Fork, Task};

/// A directory that goes with its value.
pub(super) struct TempDir(PathBuf);

impl TempDir {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("port-observer-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const DOCKER: &str = "/docker/3f4b8c1d2e5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

struct Fake(TempDir);

impl Fake {
    fn new() -> Self {
        let directory = TempDir::new();
        fs::create_dir(directory.path().join("self")).unwrap();
        let line = format!("1 1 0:1 / {} rw - cgroup2 cgroup2 rw", directory.path().display());
        fs::write(directory.path().join("self/mountinfo"), line).unwrap();
        Self(directory)
    }

    fn table(&self) -> ProcessTable {
        ProcessTable::new(ProcFs::at(self.0.path()))
    }

    /// A living process; `start` in ticks.
    fn process(&self, pid: u32, start: u64, exe: &str, arguments: &[&str], cgroup: &str) {
        let directory = self.0.path().join(pid.to_string());
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        let name: String = exe.rsplit('/').next().unwrap().chars().take(15).collect();
        let stat = format!("{pid} ({name}) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0");
        fs::write(directory.join("stat"), stat).unwrap();
        symlink(exe, directory.join("exe")).unwrap();
        let line: String = arguments.iter().map(|argument| format!("{argument}\0")).collect();
        fs::write(directory.join("cmdline"), line).unwrap();
        fs::write(directory.join("status"), "Name:\tx\nUid:\t33\t0\t0\t0\n").unwrap();
        fs::write(directory.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
    }

    fn end(&self, pid: u32) {
        fs::remove_dir_all(self.0.path().join(pid.to_string())).unwrap();
    }
}

/// 123 ns into a tick: as exact as the kernel's side tells it. Its name is not known.
fn task(pid: u32, start: u64) -> Task {
    Task { name: String::new(), ..thread(pid, start) }
}

/// The same, as a thread with a name.
fn thread(pid: u32, start: u64) -> Task {
    Task {
        pid,
        tid: pid + 1,
        name: "worker-thread".into(),
        uid: 1000,
        start_time_ns: start * 10_000_000 + 123,
        cgroup_id: 0,
    }
}

fn exec(pid: u32, start: u64, executable: &str, arguments: &[&str], truncated: bool) -> Exec {
    let name = executable.rsplit('/').next().unwrap().to_owned();
    Exec {
        task: Task { name, ..task(pid, start) },
        executable: executable.into(),
        command_line: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        cgroup_name: String::new(),
        is_executable_cut: false,
        is_command_line_cut: truncated,
        is_cgroup_name_cut: false,
    }
}

fn fork(parent: (u32, u64), child: (u32, u64)) -> Fork {
    Fork {
        child_pid: child.0,
        child_start_time_ns: task(child.0, child.1).start_time_ns,
        parent_pid: parent.0,
        parent_start_time_ns: task(parent.0, parent.1).start_time_ns,
    }
}

#[test]
fn a_process_that_ran_before_is_read_from_proc() {
    let fake = Fake::new();
    fake.process(10, 500, "/usr/bin/nginx", &["nginx", "-g", ""], DOCKER);
    let process = fake.table().resolve(&task(10, 500));
    assert_eq!((process.pid, process.name.as_str()), (10, "nginx"));
    assert_eq!(process.executable.as_deref(), Some("/usr/bin/nginx"));
    assert_eq!(*process.command_line, ["nginx", "-g", ""]);
    assert_eq!(process.start_time_ns, 5_000_000_123);
    assert_eq!(process.uid, Some(1000));
    assert_eq!(process.cgroup.as_deref(), Some(DOCKER));
    assert_eq!(process.container.as_ref().unwrap().runtime, "docker");
}

#[test]
fn a_seeded_process_is_known_after_its_end() {
    let fake = Fake::new();
    fake.process(10, 500, "/usr/bin/curl (deleted)", &["curl"], "/system.slice/x.service");
    let mut table = fake.table();
    assert_eq!(table.seed().unwrap(), 1);
    fake.end(10);
    let process = table.resolve(&task(10, 500));
    assert_eq!(process.executable.as_deref(), Some("/usr/bin/curl"));
    assert_eq!(process.container.as_ref().unwrap().id, "x.service");
    assert_eq!(process.start_time_ns, 5_000_000_123);
}

#[test]
fn of_an_unknown_process_that_is_gone_only_the_task_is_known() {
    let process = Fake::new().table().resolve(&thread(10, 500));
    assert_eq!(process.name, "worker-thread");
    assert_eq!((process.uid, process.start_time_ns), (Some(1000), 5_000_000_123));
    assert!(process.executable.is_none() && process.command_line.is_empty());
    assert!(process.cgroup.is_none() && process.container.is_none());
}

#[test]
fn a_process_id_that_is_used_again_is_another_process() {
    let fake = Fake::new();
    let mut table = fake.table();
    table.exec(&exec(10, 500, "/bin/first", &["first"], false));
    fake.process(10, 900, "/bin/second", &["second"], "/b");
    let (first, second) = (table.resolve(&task(10, 500)), table.resolve(&task(10, 900)));
    assert_eq!((first.name.as_str(), second.name.as_str()), ("first", "second"));
    assert_eq!(first.cgroup, None);
    // In the same tick, told apart by the nanoseconds.
    let mut third = thread(10, 500);
    third.start_time_ns += 1;
    assert_eq!(table.resolve(&third).name, "worker-thread");
}

#[test]
fn an_exec_is_taken_from_the_kernel_without_reading_proc() {
    let fake = Fake::new();
    // What /proc shows is another program by now.
    fake.process(10, 500, "/bin/later", &["later"], "/");
    let mut table = fake.table();
    let mut event = exec(10, 500, "/bin/sooner", &["sooner", "-x"], false);
    event.cgroup_name = "docker-0123456789ab.scope".into();
    table.exec(&event);
    let process = table.resolve(&task(10, 500));
    assert_eq!(process.executable.as_deref(), Some("/bin/sooner"));
    assert_eq!(process.name, "sooner");
    assert_eq!(*process.command_line, ["sooner", "-x"]);
    assert_eq!(process.container.as_ref().unwrap().id, "0123456789ab");
}

#[test]
fn a_cut_command_line_and_a_relative_path_are_completed_while_it_lives() {
    let fake = Fake::new();
    fake.process(10, 500, "/srv/app/server", &["./server", "--long-option"], "/");
    fake.process(11, 500, "/srv/app/server", &["./server", "--long-option"], "/");
    let mut table = fake.table();
    for pid in [10, 11, 12] {
        table.exec(&exec(pid, 500, "./server", &["./server", "--lo"], true));
    }
    fake.end(11);
    let whole = table.resolve(&task(10, 500));
    assert_eq!(whole.executable.as_deref(), Some("/srv/app/server"));
    assert_eq!(*whole.command_line, ["./server", "--long-option"]);
    let cut = table.resolve(&task(11, 500));
    assert_eq!(cut.executable.as_deref(), Some("./server"));
    assert_eq!(*cut.command_line, ["./server", "--lo"]);
}

#[test]
fn a_cut_command_line_is_not_completed_from_another_program() {
    let fake = Fake::new();
    fake.process(10, 500, "/bin/other", &["other"], "/");
    let mut table = fake.table();
    table.exec(&exec(10, 500, "server", &["server", "--lo"], true));
    let process = table.resolve(&task(10, 500));
    assert_eq!(process.executable.as_deref(), Some("server"));
    assert_eq!(*process.command_line, ["server", "--lo"]);
}

#[test]
fn a_script_keeps_the_path_that_was_executed() {
    let fake = Fake::new();
    fake.process(10, 500, "/bin/bash", &["/bin/bash", "/srv/run.sh", "all", "of", "it"], "/");
    let mut table = fake.table();
    table.exec(&exec(10, 500, "/srv/run.sh", &["/bin/bash", "/srv/run.sh", "a"], true));
    let process = table.resolve(&task(10, 500));
    assert_eq!(process.executable.as_deref(), Some("/srv/run.sh"));
    assert_eq!(process.command_line.len(), 5);
}

#[test]
fn a_child_that_never_execs_is_its_parent_by_name_even_when_both_are_gone() {
    let fake = Fake::new();
    let mut table = fake.table();
    let mut event = exec(10, 500, "/bin/server", &["server"], false);
    event.cgroup_name = "web.service".into();
    table.exec(&event);
    table.fork(&fork((10, 500), (11, 600)));
    table.fork(&fork((11, 600), (12, 700)));
    let process = table.resolve(&task(12, 700));
    assert_eq!((process.pid, process.name.as_str()), (12, "server"));
    assert_eq!(process.executable.as_deref(), Some("/bin/server"));
    assert_eq!(process.container.as_ref().unwrap().id, "web.service");
    // Not from a process that had the parent's number before.
    table.fork(&fork((10, 400), (13, 700)));
    assert_eq!(table.resolve(&task(13, 700)).executable, None);
}

#[test]
fn a_fork_from_a_parent_that_was_not_seeded_reads_the_parent() {
    let fake = Fake::new();
    fake.process(10, 500, "/bin/server", &["server"], "/");
    let mut table = fake.table();
    table.fork(&fork((10, 500), (11, 600)));
    fake.end(10);
    assert_eq!(table.resolve(&task(11, 600)).name, "server");
}

#[test]
fn an_exec_changes_later_answers_and_not_earlier_ones() {
    let mut table = Fake::new().table();
    table.exec(&exec(10, 500, "/bin/sh", &["sh"], false));
    let before = table.resolve(&task(10, 500));
    table.exec(&exec(10, 500, "/bin/curl", &["curl"], false));
    let after = table.resolve(&task(10, 500));
    assert_eq!((before.name.as_str(), after.name.as_str()), ("sh", "curl"));
    assert!(Arc::ptr_eq(&after, &table.resolve(&task(10, 500))));
    let root = table.resolve(&Task { uid: 0, ..task(10, 500) });
    assert_eq!((root.uid, root.name.as_str()), (Some(0), "curl"));
}

#[test]
fn a_process_is_named_as_the_thread_was_at_the_call() {
    let mut table = Fake::new().table();
    table.exec(&exec(10, 500, "/usr/bin/python3", &["python3", "app.py"], false));
    let named = |name: &str| Task { name: name.into(), ..task(10, 500) };
    let before = table.resolve(&named("python3"));
    assert_eq!((before.name.as_str(), before.exec_name.as_deref()), ("python3", None));
    let worker = table.resolve(&named("puma-worker"));
    assert_eq!(worker.name, "puma-worker");
    assert_eq!(worker.exec_name.as_deref(), Some("python3"));
    assert_eq!(worker.executable.as_deref(), Some("/usr/bin/python3"));
    let mut of_both = Arc::clone(&worker);
    of_both.join(&worker);
    assert_eq!(of_both.name, "puma-worker");
    of_both.join(&before);
    assert_eq!((of_both.name.as_str(), of_both.exec_name.as_deref()), ("python3", None));
    assert!(before.is(&worker));
    // Threads that call in turn make nothing new each time.
    for number in 0..10 {
        table.resolve(&named(&format!("thread-{number}")));
    }
    assert!(Arc::ptr_eq(&worker, &table.resolve(&named("puma-worker"))));
    assert!(Arc::ptr_eq(&before, &table.resolve(&named("python3"))));
    for number in 0..1_000 {
        table.resolve(&named(&format!("{number}")));
    }
    let answers = table.entries.values().map(|entry| entry.resolved.len());
    assert_eq!(answers.collect::<Vec<_>>(), [super::table::ANSWERS]);
    // The kernel's own threads have no name that the program chose.
    assert_eq!(table.resolve(&named("iou-wrk-10")).name, "python3");
}

#[test]
fn after_a_loss_what_lives_is_read_again() {
    let fake = Fake::new();
    let mut table = fake.table();
    table.exec(&exec(10, 500, "/bin/sh", &["sh"], false));
    table.exec(&exec(11, 500, "/bin/sh", &["sh"], false));
    assert_eq!(table.resolve(&task(10, 500)).name, "sh");
    fake.process(10, 500, "/bin/curl", &["curl"], "/");
    assert_eq!(table.resolve(&task(10, 500)).name, "sh");
    table.events_lost();
    assert_eq!(table.resolve(&task(10, 500)).name, "curl");
    assert_eq!(table.resolve(&task(11, 500)).name, "sh");
}

#[test]
fn processes_that_are_gone_and_unused_are_dropped() {
    let fake = Fake::new();
    fake.process(10, 500, "/bin/stays", &["stays"], "/");
    let mut table = fake.table();
    table.seed().unwrap();
    for pid in 11..=20 {
        table.exec(&exec(pid, 500, "/bin/short", &["short"], false));
    }
    let kept = table.resolve(&task(11, 500));
    table.sweep_now();
    assert_eq!(table.len(), 11);
    table.resolve(&task(12, 500));
    table.sweep_now();
    assert_eq!(table.len(), 2);
    assert_eq!(kept.name, "short");
    assert_eq!(table.resolve(&task(10, 500)).name, "stays");
}

#[test]
fn the_table_stays_bounded_under_a_storm_of_short_processes() {
    let mut table = Fake::new().table();
    table.exec(&exec(1, 1, "/bin/sh", &["sh"], false));
    for number in 0..200_000u32 {
        table.fork(&fork((1, 1), (2 + number % 30_000, 100 + u64::from(number))));
        // The parent is in use.
        if number % 1000 == 0 {
            table.resolve(&task(1, 1));
        }
    }
    assert!(table.len() <= 3 * 16_384, "{}", table.len());
    assert_eq!(table.resolve(&task(1, 1)).name, "sh");
}

#[test]
fn the_cgroup_of_the_call_is_found_by_its_id() {
    use std::os::unix::fs::MetadataExt;
    let fake = Fake::new();
    let mut table = fake.table();
    table.exec(&exec(10, 500, "/bin/sh", &["sh"], false));
    let path = fake.0.path().join("system.slice/docker-0123456789ab.scope");
    fs::create_dir_all(&path).unwrap();
    let cgroup_id = fs::metadata(&path).unwrap().ino();
    let process = table.resolve(&Task { cgroup_id, ..task(10, 500) });
    assert_eq!(process.cgroup.as_deref(), Some("/system.slice/docker-0123456789ab.scope"));
    assert_eq!(process.container.as_ref().unwrap().id, "0123456789ab");
}

#[test]
fn this_machine_is_seeded_and_this_process_found() {
    let mut table = ProcessTable::default();
    let before = std::time::Instant::now();
    let count = table.seed().unwrap();
    println!("{count} processes in {:?}", before.elapsed());
    assert!(count > 0);
    let task = ProcFs::default().task(std::process::id()).unwrap();
    let process = table.resolve(&task);
    assert_eq!(*process.command_line, *std::env::args().collect::<Vec<_>>());
    assert_eq!(process.uid, Some(nix::unistd::getuid().as_raw()));
    assert!(process.start_time_ns > 0);
}
