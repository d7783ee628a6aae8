//! A terminal that says it is as large as it can say.

use std::{
    fs::File,
    io::Read as _,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The most memory that a process has had, in KiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
fn a_terminal_that_claims_to_be_huge_takes_neither_memory_nor_the_end() {
    for (ws_row, ws_col) in [(65_535, 1_000), (1_000, 65_535), (65_535, 65_535)] {
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut child = Command::new(env!("CARGO_BIN_EXE_port-observer"))
            .args(["top", "--backend", "poll"])
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let (sender, drawn) = mpsc::channel();
        let mut output = File::from(pty.master.try_clone().unwrap());
        thread::spawn(move || {
            let mut all = Vec::new();
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                all.extend_from_slice(&piece[..length]);
                let _ = sender.send(String::from_utf8_lossy(&all).contains("processes"));
            }
        });
        let soon = Duration::from_secs(30);
        while !drawn.recv_timeout(soon).expect("a picture") {}
        thread::sleep(Duration::from_secs(2));
        let peak = peak(child.id());
        assert!(peak < 150 << 10, "{peak} KiB");
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        let told = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(told.elapsed() < Duration::from_secs(8), "it goes on");
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}
