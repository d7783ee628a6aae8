//! Processes that call in a loop: what they do is counted exactly, and costs nobody else a line.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests::child::Traffic;
use tests::lines::{Body, Conflict, Exhausted, Line};
use tests::net::{Net, SERVER, ephemeral_range, once_in_namespace, scenario};
use tests::observer::Observer;
use tests::socket::{Held, local, tcp, udp};
use tests::system::{in_virtual_machine, patience};

/// So many equal failures of one process in a second have a line each at least.
const EACH: usize = 100;
/// So many failures of one process in a second have a line each at most; in the first, twice as many.
const DIFFERING: usize = 500;

fn conflicts(lines: &[Line]) -> Vec<&Conflict> {
    lines
        .iter()
        .filter_map(|line| if let Body::Conflict(it) = &line.body { Some(it) } else { None })
        .collect()
}

fn exhausted(lines: &[Line]) -> Vec<&Exhausted> {
    lines
        .iter()
        .filter_map(|line| if let Body::Exhausted(it) = &line.body { Some(it) } else { None })
        .collect()
}

/// How many calls a line says failed; 0 if it is of another type.
fn failed(line: &Line) -> u64 {
    match &line.body {
        Body::Conflict(line) => 1 + line.repeated.unwrap_or(0),
        Body::Exhausted(line) => 1 + line.repeated.unwrap_or(0),
        _ => 0,
    }
}

/// Runs something that makes so many calls fail; the lines that say so, and how many seconds it took.
/// What is counted together comes up to a second later.
fn failing(net: &Net, count: u64, run: impl FnOnce()) -> (Vec<Line>, usize) {
    net.forget();
    let began = Instant::now();
    run();
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap_or(usize::MAX) + 2;
    let mut lines = Vec::new();
    let total = |lines: &[Line]| lines.iter().map(failed).sum::<u64>();
    while total(&lines) < count && began.elapsed() < 2 * patience() {
        std::thread::sleep(Duration::from_millis(250));
        lines.extend(net.mark());
    }
    assert_eq!(total(&lines), count, "{:?}", lines.last());
    (lines, seconds)
}

#[test]
fn a_bind_that_fails_in_a_loop_is_counted_exactly_in_few_lines() {
    let count = 20_000;
    scenario(|net| {
        let _server = net.server();
        let (lines, seconds) = failing(net, count, || {
            for _ in 0..count {
                tcp().try_bind(SERVER).expect_err("the port is taken");
            }
        });
        let lines = conflicts(&lines);
        assert!(lines.len() <= 2 * EACH * seconds, "{} lines in {seconds} s", lines.len());
        let local = |line: &&Conflict| line.local.as_ref().map(|at| at.socket_addr());
        assert!(lines.iter().all(|line| local(line) == Some(SERVER)));
        assert!(
            lines[..EACH].iter().all(|line| line.repeated.is_none()),
            "the first have a line each"
        );
    });
}

#[test]
fn a_connect_that_fails_in_a_loop_is_counted_exactly() {
    let count = 5_000;
    scenario(|net| {
        ephemeral_range(40_000, 40_009);
        let _server = net.server();
        let _held: Vec<Held> = (0..10).map(|_| tcp().connect(SERVER)).collect();
        let (lines, seconds) = failing(net, count, || {
            for _ in 0..count {
                tcp().try_connect(SERVER).expect_err("no port is left");
            }
        });
        let lines = exhausted(&lines);
        assert!(lines.len() <= 2 * EACH * seconds, "{} lines in {seconds} s", lines.len());
        let is_full =
            |line: &&Exhausted| line.space.as_ref().is_none_or(|space| space.headroom == 0);
        assert!(lines.iter().all(is_full));
    });
}

#[test]
fn fewer_than_a_hundred_equal_failures_have_a_line_each() {
    scenario(|net| {
        let _server = net.server();
        let (lines, _) = failing(net, EACH as u64 - 1, || {
            for _ in 0..EACH - 1 {
                tcp().try_bind(SERVER).expect_err("the port is taken");
            }
        });
        assert!(conflicts(&lines).iter().all(|line| line.repeated.is_none()));
    });
}

#[test]
fn failures_that_differ_in_their_ports_are_counted_together() {
    let (ports, rounds) = (200_u16, 40);
    scenario(|net| {
        let held: Vec<Held> = (5_000..5_000 + ports).map(|port| tcp().bind(local(port))).collect();
        let (lines, seconds) = failing(net, u64::from(ports) * rounds, || {
            for _ in 0..rounds {
                for at in &held {
                    tcp().try_bind(local(at.port())).expect_err("the port is taken");
                }
            }
        });
        let lines = conflicts(&lines);
        assert!(lines.len() <= DIFFERING * (seconds + 2), "{} lines in {seconds} s", lines.len());
        // What does not hold for all of them is not said.
        assert!(lines.iter().all(|line| line.local.is_some() || line.repeated.is_some()));
    });
}

/// How many acquires the kernel skipped the programs for.
fn skipped(lines: &[Line]) -> usize {
    let counts = lines.iter().filter_map(|line| match &line.body {
        Body::Lost(lost) if lost.place == "kernel_program" => usize::try_from(lost.count).ok(),
        _ => None,
    });
    counts.sum()
}

#[test]
fn who_takes_and_gives_back_ports_in_a_loop_hides_nobody() {
    let calm = 40;
    // Small, so that it is full at once.
    let Some(ended) = once_in_namespace(|inode| {
        let inode = inode.to_string();
        let observer = Observer::own(&["--netns", &inode, "--buffer-size", "1MiB"])?;
        let _server = udp().bind(SERVER);
        // It stands still as long as it takes to fill the buffer, and for each new second.
        observer.signal(Signal::SIGSTOP);
        observer.stopped();
        let mut loops: Vec<Traffic> = (0..2).map(|_| Traffic::start(&["flood-udp"])).collect();
        std::thread::sleep(Duration::from_millis(1_200));
        for _ in 0..calm {
            udp().bind(local(7_000)).close();
            std::thread::sleep(Duration::from_millis(25));
        }
        observer.signal(Signal::SIGCONT);
        loops.iter_mut().for_each(Traffic::go_on);
        loops.iter_mut().for_each(|one| assert!(one.wait().success()));
        Some(observer.interrupted_within(Duration::from_secs(60)))
    }) else {
        return;
    };
    let mine = std::process::id();
    let seen = |line: &&Line| match &line.body {
        Body::Acquire(line) => {
            line.local.port == 7_000 && line.process.as_ref().is_some_and(|it| it.pid == mine)
        }
        _ => false,
    };
    let seen = ended.lines.iter().filter(seen).count();
    if in_virtual_machine() {
        // On an emulated processor a program is now and then interrupted by itself, and then the
        // kernel skips it: that is counted.
        assert!(seen <= calm && calm - seen <= skipped(&ended.lines), "{seen} of {calm}");
    } else {
        assert_eq!(seen, calm);
    }
    // What was lost says whose it was.
    for line in &ended.lines {
        if let Body::Lost(lost) = &line.body
            && lost.place == "kernel_buffer"
        {
            let name = lost.process.as_ref().map(|process| process.name.as_str());
            assert_eq!(name, Some("traffic"), "{lost:?}");
        }
    }
}

#[test]
fn a_bind_without_a_family_that_fails_is_a_conflict_like_others() {
    scenario(|net| {
        let _server = net.server();
        let socket = tcp();
        let address = libc::sockaddr_in {
            sin_family: libc::AF_UNSPEC as u16,
            sin_port: SERVER.port().to_be(),
            sin_addr: libc::in_addr { s_addr: 0 },
            sin_zero: [0; 8],
        };
        // SAFETY: an address of this length.
        let result = unsafe {
            libc::bind(
                socket.socket().as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as u32,
            )
        };
        assert_eq!(result, -1);
        let lines = net.mark();
        let lines = conflicts(&lines);
        let [line] = lines[..] else { panic!("{lines:?}") };
        let local = line.local.as_ref().expect("what was asked for").socket_addr();
        assert_eq!(local.to_string(), format!("0.0.0.0:{}", SERVER.port()));
    });
}

#[test]
fn an_address_that_another_thread_changes_is_told_as_the_kernel_took_it() {
    use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

    scenario(|net| {
        let refused = AtomicU16::new(0);
        let _server = net.server();
        let done = AtomicBool::new(false);
        let mut address = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: SERVER.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
            sin_zero: [0; 8],
        };
        // SAFETY: a port within an address that lives as long as the thread.
        let port = unsafe { AtomicU16::from_ptr(&raw mut address.sin_port) };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    port.store(9_u16.to_be(), Ordering::Relaxed);
                    port.store(SERVER.port().to_be(), Ordering::Relaxed);
                }
            });
            // Few enough for a line each.
            for _ in 0..60 {
                let socket = tcp();
                // SAFETY: an address of this length.
                let result = unsafe {
                    libc::bind(
                        socket.socket().as_raw_fd(),
                        (&raw const address).cast(),
                        size_of::<libc::sockaddr_in>() as u32,
                    )
                };
                refused.fetch_add(u16::from(result == -1), Ordering::Relaxed);
            }
            done.store(true, Ordering::Relaxed);
        });
        let lines = net.mark();
        let lines = conflicts(&lines);
        assert_eq!(lines.len(), usize::from(refused.into_inner()));
        for line in lines {
            // Nobody has the other port.
            let local = line.local.as_ref().expect("what was asked for").socket_addr();
            assert_eq!(local, SERVER);
        }
    });
}
