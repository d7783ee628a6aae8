//! A terminal of its own for a program that panics with the screen on it.

use std::{
    fs::File,
    io::Read as _,
    process::{Command, Stdio},
};

use jiff::tz::TimeZone;
use nix::{
    pty::{Winsize, openpty},
    sys::termios::{LocalFlags, tcgetattr},
};
use port_observer::screen::{
    Screen,
    state::{State, View},
    view::Look,
};

#[test]
#[ignore = "panics; a_panic_gives_the_terminal_back runs it in a terminal"]
fn on_the_screen() {
    let look = Look { color: true, unicode: true, time_zone: TimeZone::UTC };
    let mut screen = Screen::open(look).unwrap();
    let mut state = State::new(View::Processes, None);
    // A picture waits until the terminal has taken what came before.
    for _ in 0..20 {
        screen.draw(&mut state).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    port_observer::logging::write("a warning meanwhile\n");
    panic!("what went wrong");
}

#[test]
fn a_panic_gives_the_terminal_back_and_is_told_on_it() {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).unwrap();
    let end = |file: &std::os::fd::OwnedFd| Stdio::from(file.try_clone().unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "panic::on_the_screen", "--ignored", "--nocapture"])
        .env("RUST_BACKTRACE", "0")
        .stdin(end(&pty.slave))
        .stdout(end(&pty.slave))
        .stderr(end(&pty.slave))
        .spawn()
        .unwrap();
    // All that it writes fits into what the kernel keeps for it.
    assert!(!child.wait().unwrap().success());
    let modes = tcgetattr(&pty.slave).unwrap().local_flags;
    assert!(modes.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG), "{modes:?}");
    drop(pty.slave);
    let mut written = Vec::new();
    // Ends with an error once nobody has the other end.
    let _ = File::from(pty.master).read_to_end(&mut written);
    let written = String::from_utf8_lossy(&written);
    let at = |text: &str| written.find(text).unwrap_or_else(|| panic!("{text:?} in {written:?}"));
    assert!(at("\x1b[?1049h") < at("1 processes"));
    assert!(at("1 processes") < at("\x1b[?1049l"));
    assert!(at("\x1b[?1049l") < at("a warning meanwhile"));
    assert!(at("\x1b[?1049l") < at("what went wrong"));
    assert!(at("\x1b[?25h") < at("what went wrong"));
}
