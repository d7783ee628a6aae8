//! How much is kept of processes.

use std::sync::Arc;

use super::{Fake, exec, fork, task};
use crate::process::{Cut, ProcFs, ProcessTable, bounds::Total};

#[test]
fn a_command_line_is_read_up_to_its_limit_and_marked_as_cut() {
    let fake = Fake::new();
    let long = "x".repeat(10_000);
    let many = ["y"; 1000];
    fake.process(10, 500, "/bin/long", &["long", &long], "/");
    fake.process(11, 500, "/bin/many", &many, "/");
    fake.process(12, 500, "/bin/whole", &["whole", &long[..4000]], "/");
    let mut table = fake.table();
    table.seed().unwrap();
    let [long, many, whole] = [10, 11, 12].map(|pid| table.resolve(&task(pid, 500)));
    assert_eq!((long.command_line.len(), long.command_line[1].len()), (2, 4096 - "long ".len()));
    assert_eq!(many.command_line.len(), 64);
    assert_eq!(whole.command_line[1].len(), 4000);
    let cut = Cut { command_line: true, ..Cut::default() };
    assert_eq!([long.cut, many.cut, whole.cut], [cut, cut, Cut::default()]);
}

#[test]
fn what_the_kernel_cut_and_nobody_completes_is_marked() {
    let mut table = Fake::new().table();
    let mut event = exec(10, 500, "/bin/x", &["x", "caf\u{fffd}"], true);
    event.is_executable_cut = true;
    event.is_cgroup_name_cut = true;
    event.cgroup_name = "docker-0123".into();
    table.exec(&event);
    let process = table.resolve(&task(10, 500));
    assert_eq!(process.cut, Cut { executable: true, command_line: true, cgroup: true });
    assert_eq!(*process.command_line, ["x", "caf"]);
}

#[test]
fn the_text_of_all_processes_is_bounded_whoever_keeps_them() {
    const LIMIT: usize = 4 << 20;
    let fake = Fake::new();
    fake.process(1, 1, "/bin/early", &["early", "one"], "/early.service");
    let total = Total::new(LIMIT);
    let mut table = ProcessTable::with_total(ProcFs::at(fake.0.path()), total.clone());
    table.seed().unwrap();
    let long = "x".repeat(400);
    let mut kept = Vec::new();
    for pid in 2..30_000 {
        table.exec(&exec(pid, 500, "/bin/many", &["many", &long], false));
        kept.push(table.resolve(&task(pid, 500)));
        assert!(total.used() <= LIMIT);
    }
    assert_eq!(kept[0].command_line[1].len(), 400);
    assert!(!kept[0].cut.command_line);
    // Nothing is left: who it is stays known, and that something is missing.
    let last = kept.last().unwrap();
    assert_eq!((last.pid, last.name.as_str()), (29_999, "many"));
    assert!(last.cut.command_line && last.command_line.len() < 2);
    // What was known before is whole.
    assert_eq!(*table.resolve(&task(1, 1)).command_line, ["early", "one"]);
    // When they are let go, there is room again.
    drop(kept);
    for pid in 2..5_000 {
        table.exec(&exec(pid, 900, "/bin/many", &["many", &long], false));
    }
    let process = table.resolve(&task(4_999, 900));
    assert_eq!(process.command_line[1].len(), 400);
    assert!(table.len() < 8_000, "{}", table.len());
}

#[test]
fn a_process_and_its_entry_share_one_text() {
    let mut table = Fake::new().table();
    table.exec(&exec(10, 500, "/bin/sh", &["sh"], false));
    table.fork(&fork((10, 500), (11, 600)));
    let (one, child) = (table.resolve(&task(10, 500)), table.resolve(&task(11, 600)));
    assert!(Arc::ptr_eq(&one.command_line, &child.command_line));
}
