//! The full screen over real traffic, its keys pressed and its screen read in tmux.

use std::process::Command;
use std::time::{Duration, Instant};

use tests::child::Traffic;
use tests::net::{SERVER, ephemeral_range, in_namespace, sysctl};
use tests::observer::until;
use tests::recording::{Directory, Recorder};
use tests::socket::{Held, local, tcp};
use tests::system::{self, must_load};
use tests::tmux::{Terminal, backend, is_over};

/// Another server than [`SERVER`].
const OTHER: std::net::SocketAddr = local(81);
/// How many ports there are.
const PORTS: usize = 100;

/// `top` of this namespace, with more arguments. `None`: it can't be run here, as is printed.
fn top(inode: u32, more: &[&str]) -> Option<Terminal> {
    let terminal = Terminal::open(80, 24)?;
    let netns = inode.to_string();
    let arguments = [&["--netns", &netns][..], &backend(), more].concat();
    match terminal.top(&arguments) {
        Ok(()) => Some(terminal),
        Err(error) if must_load() => panic!("{error:#}"),
        Err(error) => {
            println!("skipped: {error:#}");
            None
        }
    }
}

fn servers() -> [Held; 2] {
    ephemeral_range(40_000, 40_099);
    // No port is to be had twice.
    sysctl("ipv4/tcp_tw_reuse", "0");
    [SERVER, OTHER].map(|at| tcp().reuse_address().bind(at).listen())
}

/// A process of this name that holds so many connections.
fn holder(directory: &Directory, name: &str, count: usize, to: std::net::SocketAddr) -> Traffic {
    let (count, to) = (count.to_string(), to.to_string());
    let mut traffic = Traffic::start_as(directory.path(), name, &["hold", &count, &to]);
    for _ in 0..count.parse::<usize>().expect("a number") {
        traffic.taken().expect("a connection");
    }
    traffic
}

/// The row after the titles.
fn first_row(screen: &str) -> &str {
    screen.lines().nth(5).unwrap_or_default()
}

#[test]
fn the_largest_process_and_destination_stand_first() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let _servers = servers();
        let terminal = top(inode, &["--every", "200ms"])?;
        let _small = holder(&directory, "small", 10, OTHER);
        let _large = holder(&directory, "large", 30, SERVER);
        let screen = terminal.sees("the largest process", |screen| {
            let row = first_row(screen);
            row.starts_with('>') && row.contains("large") && row.contains(" 30 ")
        });
        assert!(screen.contains("40000-40099") && screen.contains(" of 100 used"), "{screen}");
        terminal.keys(&["2"]);
        terminal.sees("the fullest destination", |screen| {
            first_row(screen).contains("30.0%") && screen.contains("most large")
        });
        terminal.keys(&["Enter"]);
        terminal.sees("its holders", |screen| screen.contains("30 established"));
        terminal.keys(&["Escape", "4"]);
        let map = terminal.sees("the map", |screen| screen.contains("TCP 1/cell"));
        let cells = map.lines().skip(4).take(2).flat_map(|line| line.chars().skip(6));
        // Two destinations may share a port.
        let taken = cells.filter(|cell| *cell == 'E').count();
        assert!((30..=40).contains(&taken), "{map}");
        assert!(map.contains(&format!("{taken} of 100 used")), "{map}");
        Some(())
    });
}

#[test]
fn a_refused_call_is_shown_within_a_second_with_who_held_the_ports() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let _servers = servers();
        let terminal = top(inode, &["--view", "failures"])?;
        let _all = holder(&directory, "greedy", PORTS, SERVER);
        terminal.sees("a full space", |screen| screen.contains("FULL NOW"));
        // A busy machine may be late once.
        let times: Vec<Duration> = (1..=3)
            .map(|count: usize| {
                // What follows soon is the same row.
                std::thread::sleep(Duration::from_secs(if count == 1 { 0 } else { 6 }));
                let refused = Instant::now();
                assert!(tcp().try_connect(SERVER).is_err());
                terminal.sees("the failure", |screen| {
                    screen.matches("EADDRNOTAVAIL").count() == count
                        && screen.contains(&format!("3 failures ({count})"))
                });
                refused.elapsed()
            })
            .collect();
        let fastest = times.iter().min().expect("three times");
        assert!(*fastest < Duration::from_secs(1), "{times:?}");
        terminal.keys(&["Enter"]);
        let screen = terminal.sees("the story", |screen| screen.contains("Who holds the ports"));
        assert!(screen.contains("0 of 100 ports were left"), "{screen}");
        // How many lines are above depends on the command line of this test.
        terminal.keys(&["G"]);
        terminal.sees("the holder", |screen| screen.contains("100 greedy"));
        Some(())
    });
}

#[test]
fn another_size_is_drawn_anew_and_the_end_leaves_the_terminal_as_it_was() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let _servers = servers();
        let terminal = top(inode, &[])?;
        let _held = holder(&directory, "holder", 5, SERVER);
        terminal.sees("the holder", |screen| screen.contains("holder"));
        assert_eq!(terminal.property("#{alternate_on} #{mouse_any_flag}"), "1 1");
        for (columns, lines) in [(160, 50), (60, 12), (100, 30)] {
            terminal.resize(columns, lines);
            let screen = terminal.sees("the last line where it belongs", |screen| {
                let last = screen.lines().nth(usize::from(lines) - 1);
                last.is_some_and(|line| line.starts_with("? help"))
            });
            assert_eq!(screen.matches("? help").count(), 1, "{screen}");
            assert!(screen.lines().all(|line| line.chars().count() <= columns.into()), "{screen}");
        }
        terminal.keys(&["q"]);
        assert_clean(&terminal, "0");
        Some(())
    });
}

#[test]
fn signals_give_the_terminal_back() {
    in_namespace(|inode| {
        let _servers = servers();
        let terminal = top(inode, &[])?;
        for stop in [None, Some("TSTP")] {
            match stop {
                None => terminal.keys(&["C-z"]),
                Some(signal) => send(&terminal, signal),
            }
            terminal.sees("the shell", |screen| screen.contains("Stopped"));
            assert_eq!(terminal.property("#{alternate_on} #{mouse_any_flag}"), "0 0");
            terminal.keys(&["clear", "Enter"]);
            terminal.keys(&["fg; echo \"ended with $?\"", "Enter"]);
            terminal.sees("the screen again", |screen| screen.contains("1 processes"));
            assert_eq!(terminal.property("#{alternate_on}"), "1");
            terminal.keys(&["2"]);
            terminal.sees("that keys are read", |screen| screen.contains("[2 destinations]"));
            terminal.keys(&["1"]);
            terminal.sees("that they still are", |screen| screen.contains("[1 processes]"));
        }
        send(&terminal, "TERM");
        assert_clean(&terminal, "0");
        Some(())
    });
}

/// To the program in the terminal: the child of the shell, which is a child of `timeout`.
fn send(terminal: &Terminal, signal: &str) {
    let shell = format!("$(pgrep --parent {})", terminal.property("#{pane_pid}"));
    let line = format!("pkill -{signal} --parent {shell} port-observer");
    let sent = system::output(Command::new("sh").args(["-c", &line]));
    assert!(sent.expect("send a signal").status.success());
}

#[test]
fn a_terminal_that_is_gone_ends_it() {
    in_namespace(|inode| {
        let _servers = servers();
        let terminal = top(inode, &[])?;
        let pattern = format!("top --netns {inode} ");
        let is_there = || {
            let found = system::output(Command::new("pgrep").args(["--full", &pattern]));
            !found.expect("look for it").stdout.is_empty()
        };
        assert!(is_there());
        drop(terminal);
        until("it has ended", || !is_there());
        Some(())
    });
}

/// It has ended so, and the terminal is as a shell needs it.
fn assert_clean(terminal: &Terminal, code: &str) {
    let ended = format!("ended with {code}");
    terminal.sees("its end", |screen| screen.lines().any(|line| line == ended));
    assert_eq!(terminal.property("#{alternate_on} #{cursor_flag} #{mouse_any_flag}"), "0 1 0");
    terminal
        .keys(&["clear; stty -a | grep -o ' icanon\\| echo ' | tr '\\n' ' '; echo done", "Enter"]);
    let screen = terminal.sees("the modes", |screen| screen.contains("done\n"));
    assert!(screen.contains("icanon") && screen.contains("echo"), "{screen}");
}

#[test]
fn a_locale_without_unicode_and_no_color_are_followed() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let _servers = servers();
        let _held = holder(&directory, "holder", 90, SERVER);
        let terminal = top(inode, &["--view", "destinations"])?;
        terminal.sees("the destination", |screen| screen.contains("█████████░"));
        assert!(has_color(&terminal), "{:?}", terminal.colors());
        terminal.keys(&["q"]);
        terminal.sees("its end", is_over);
        let netns = inode.to_string();
        let arguments = [&["--view", "destinations", "--netns", &netns][..], &backend()].concat();
        terminal.start("env LC_ALL=C NO_COLOR=1", &arguments).expect("start it");
        let screen =
            terminal.sees("the destination", |screen| screen.contains("127.0.0.1 -> 127.0.0.1:80"));
        assert!(screen.is_ascii() && screen.contains("#########."), "{screen}");
        assert!(!has_color(&terminal), "{:?}", terminal.colors());
        Some(())
    });
}

/// Whether any of the sixteen colours is on the screen.
fn has_color(terminal: &Terminal) -> bool {
    let colors = terminal.colors();
    let is_named = |number: u8| colors.contains(&format!("\x1b[{number}m"));
    (30..=37).chain(90..=97).any(is_named)
}

#[test]
fn a_recording_is_gone_through_step_by_step_and_from_failure_to_failure() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let file = directory.file("ports.db");
        let _servers = servers();
        let terminal = Terminal::open(80, 24)?;
        let recorder = Recorder::start(&file, &["--netns", &inode.to_string()])?;
        // What happens in the first second is shown from the beginning.
        std::thread::sleep(Duration::from_secs(2));
        let _all = holder(&directory, "greedy", PORTS, SERVER);
        for _ in 0..2 {
            assert!(tcp().try_connect(SERVER).is_err());
            std::thread::sleep(Duration::from_secs(3));
        }
        recorder.interrupted();
        terminal.top(&["--replay", &file, "--view", "failures"]).expect("show it");
        for (keys, failures) in [("}", 1), ("}", 2), ("{", 1), ("[", 0), ("]", 1), ("}", 2)] {
            let name = match failures {
                0 => "[3 failures]".to_owned(),
                count => format!("[3 failures ({count})]"),
            };
            terminal.keys(&["-l", keys]);
            terminal.sees(&format!("{name} after {keys}"), |screen| {
                screen.contains(&name) && screen.contains("REPLAY")
            });
        }
        terminal.keys(&["-l", "}"]);
        terminal.sees("that there is no more", |screen| screen.contains("no call failed after"));
        terminal.keys(&["1"]);
        terminal.sees("who held the ports then", |screen| first_row(screen).contains("greedy"));
        terminal.keys(&["q"]);
        assert_clean(&terminal, "0");
        Some(())
    });
}

#[test]
fn what_can_not_be_shown_is_said_with_what_can() {
    let Some(terminal) = Terminal::open(100, 30) else { return };
    terminal.start("env", &["--netns", "no-such-namespace"]).expect("start it");
    let screen = terminal.sees("its end", is_over);
    assert!(screen.contains("no network namespace \"no-such-namespace\""), "{screen}");
    terminal.start("env", &["--replay", "/proc/version"]).expect("start it");
    let screen = terminal.sees("its end", is_over);
    assert!(screen.contains("can't read /proc/version"), "{screen}");
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    terminal.start(nobody, &["--backend", "fexit"]).expect("start it");
    let screen = terminal.sees("its end", is_over).replace('\n', "");
    assert!(screen.contains("ended with 1"), "{screen}");
    assert!(screen.contains("--backend poll") && screen.contains("snapshot"), "{screen}");
}
