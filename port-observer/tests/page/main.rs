//! The pages of `report --html`, `stress --html` and `serve`, in a browser.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod browser;
mod files;
mod live;
mod parts;
mod pictures;
mod stress;
#[path = "../synthetic/mod.rs"]
mod synthetic;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use port_observer::{ports::PortRange, process::Process};
use synthetic::{Client, Host};
use tempfile::TempDir;

/// What tries to be more than a name.
const HOSTILE: &str = "</script><img/src=x onerror=document.title='run'><!--<script>";

fn client(pid: u32, name: &str, to: u16, [per_second, in_burst]: [f64; 2], keeps: u64) -> Client {
    let process = Process {
        pid,
        name: name.to_owned(),
        executable: Some(format!("/usr/bin/{name}").into()),
        command_line: vec![name.to_owned(), HOSTILE.to_owned(), "\u{202e}\u{2028}]]>".to_owned()]
            .into(),
        start_time_ns: pid.into(),
        ..Process::default()
    };
    Client { process, to, per_second, in_burst, keeps: Duration::from_secs(keeps) }
}

/// Five minutes of a host whose 500 ports towards one destination run out twice.
fn record(path: &Path) {
    let mut clients = vec![
        client(100, HOSTILE, 443, [3.0, 12.0], 1),
        client(101, "mailer", 443, [2.0, 2.0], 20),
        client(102, "billing", 8080, [1.0, 1.0], 1),
    ];
    clients.extend((0..40).map(|n| client(200 + n, &format!("worker-{n}"), 443, [0.02, 0.02], 5)));
    let range = PortRange { min: 40_000, max: 40_499 };
    let host = Host { range, clients, burst_every: 150, burst_for: 30 };
    let refused = host.record(path, 7_000).unwrap();
    assert!(refused > 10, "{refused} calls were refused");
}

/// Runs the program.
fn run(arguments: &[&str], paths: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_port-observer"));
    command.arg("report").args(paths).args(arguments).env("TZ", "Europe/Berlin");
    command.output().unwrap()
}

/// The page of a recording, which is made first.
fn page(directory: &TempDir) -> (PathBuf, PathBuf) {
    let (file, page) = (directory.path().join("ports.db"), directory.path().join("report.html"));
    record(&file);
    let output = run(&["--html", page.to_str().unwrap()], &[&file]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(output.stdout.is_empty() && errors.is_empty(), "{errors}");
    (file, page)
}
