//! Processes that call in a loop: what they do is counted exactly, and costs nobody else a line.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use tests::child::Traffic;
use tests::lines::{Body, Conflict, Exhausted, Line};
use tests::net::{SERVER, ephemeral_range, once_in_namespace};
use tests::observer::{Ended, Observer};
use tests::socket::{Held, local, tcp, udp};

/// So many equal failures of one process in a second have a line each at least.
const EACH: usize = 100;
/// So many failures of one process in a second have a line each at most; in the first, twice as many.
const DIFFERING: usize = 500;

fn conflicts(ended: &Ended) -> Vec<&Conflict> {
    ended
        .lines
        .iter()
        .filter_map(|line| if let Body::Conflict(it) = &line.body { Some(it) } else { None })
        .collect()
}

fn exhausted(ended: &Ended) -> Vec<&Exhausted> {
    ended
        .lines
        .iter()
        .filter_map(|line| if let Body::Exhausted(it) = &line.body { Some(it) } else { None })
        .collect()
}

/// How many calls a line stands for.
fn calls(repeated: Option<u64>) -> u64 {
    1 + repeated.unwrap_or(0)
}

fn lost(ended: &Ended) -> u64 {
    match ended.lines.last().map(|line| &line.body) {
        Some(Body::Stop(stop)) => stop.lost,
        other => panic!("not a stop line: {other:?}"),
    }
}

/// Runs something beside an observer of a namespace of its own; also how many seconds it took.
fn observed(arguments: &[&str], run: impl FnOnce() + Send) -> Option<(Ended, usize)> {
    once_in_namespace(|inode| {
        ephemeral_range(40_000, 40_009);
        let inode = inode.to_string();
        let observer = Observer::own(&[&["--netns", &inode], arguments].concat())?;
        let began = Instant::now();
        run();
        let seconds = usize::try_from(began.elapsed().as_secs()).unwrap_or(usize::MAX) + 2;
        Some((observer.interrupted_within(Duration::from_secs(60)), seconds))
    })
}

#[test]
fn a_bind_that_fails_in_a_loop_is_counted_exactly_in_few_lines() {
    let count = 20_000;
    let Some((ended, seconds)) = observed(&[], || {
        let _server = tcp().bind(SERVER).listen();
        for _ in 0..count {
            tcp().try_bind(SERVER).expect_err("the port is taken");
        }
    }) else {
        return;
    };
    let lines = conflicts(&ended);
    let told: u64 = lines.iter().map(|line| calls(line.repeated)).sum();
    assert_eq!((told, lost(&ended)), (count, 0));
    assert!(lines.len() <= 2 * EACH * seconds, "{} lines in {seconds} s", lines.len());
    assert!(
        lines.iter().all(|line| line.local.as_ref().map(|at| at.socket_addr()) == Some(SERVER))
    );
    assert!(
        lines[..EACH].iter().all(|line| line.repeated.is_none()),
        "each of the first has a line"
    );
}

#[test]
fn a_connect_that_fails_in_a_loop_is_counted_exactly() {
    let count = 5_000;
    let Some((ended, seconds)) = observed(&[], || {
        let _server = tcp().bind(SERVER).listen();
        let _held: Vec<Held> = (0..10).map(|_| tcp().connect(SERVER)).collect();
        for _ in 0..count {
            tcp().try_connect(SERVER).expect_err("no port is left");
        }
    }) else {
        return;
    };
    let lines = exhausted(&ended);
    let told: u64 = lines.iter().map(|line| calls(line.repeated)).sum();
    assert_eq!((told, lost(&ended)), (count, 0));
    assert!(lines.len() <= 2 * EACH * seconds, "{} lines in {seconds} s", lines.len());
    let total = match ended.lines.last().map(|line| &line.body) {
        Some(Body::Stop(stop)) => stop.exhausted,
        other => panic!("not a stop line: {other:?}"),
    };
    assert_eq!(total, count);
    let is_full = |line: &&Exhausted| line.space.as_ref().is_none_or(|space| space.headroom == 0);
    assert!(lines.iter().all(is_full));
}

#[test]
fn fewer_than_a_hundred_equal_failures_have_a_line_each() {
    let Some((ended, _)) = observed(&[], || {
        let _server = tcp().bind(SERVER).listen();
        for _ in 0..EACH - 1 {
            tcp().try_bind(SERVER).expect_err("the port is taken");
        }
    }) else {
        return;
    };
    let lines = conflicts(&ended);
    assert_eq!(lines.len(), EACH - 1);
    assert!(lines.iter().all(|line| line.repeated.is_none()));
}

#[test]
fn failures_that_differ_in_their_ports_are_counted_together() {
    let (ports, rounds) = (200_u16, 40);
    let run = || {
        let held: Vec<Held> = (5_000..5_000 + ports).map(|port| tcp().bind(local(port))).collect();
        for _ in 0..rounds {
            for at in &held {
                tcp().try_bind(local(at.port())).expect_err("the port is taken");
            }
        }
    };
    let Some((ended, seconds)) = observed(&[], run) else { return };
    let lines = conflicts(&ended);
    let told: u64 = lines.iter().map(|line| calls(line.repeated)).sum();
    assert_eq!((told, lost(&ended)), (u64::from(ports) * rounds, 0));
    assert!(lines.len() <= DIFFERING * (seconds + 2), "{} lines in {seconds} s", lines.len());
    // What does not hold for all of them is not said.
    assert!(lines.iter().all(|line| line.local.is_some() || line.repeated.is_some()));
}

#[test]
fn who_takes_and_gives_back_ports_in_a_loop_hides_nobody() {
    let calm = 40;
    // Small, so that it is full at once.
    let Some((ended, _)) = observed(&["--buffer-size", "1MiB"], || {
        let _server = udp().bind(SERVER);
        let mut loops: Vec<Traffic> = (0..2).map(|_| Traffic::start(&["flood-udp"])).collect();
        for _ in 0..calm {
            udp().bind(local(7_000)).close();
            std::thread::sleep(Duration::from_millis(25));
        }
        loops.iter_mut().for_each(Traffic::go_on);
        loops.iter_mut().for_each(|one| assert!(one.wait().success()));
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
    assert_eq!(ended.lines.iter().filter(seen).count(), calm);
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
    let Some((ended, _)) = observed(&[], || {
        let _server = tcp().bind(SERVER).listen();
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
    }) else {
        return;
    };
    let lines = conflicts(&ended);
    let [line] = lines[..] else { panic!("{lines:?}") };
    let local = line.local.as_ref().expect("what was asked for").socket_addr();
    assert_eq!(local.to_string(), format!("0.0.0.0:{}", SERVER.port()));
    assert_eq!(lost(&ended), 0);
}

#[test]
fn an_address_that_another_thread_changes_is_told_as_the_kernel_took_it() {
    use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

    let refused = AtomicU16::new(0);
    let Some((ended, _)) = observed(&[], || {
        let _server = tcp().bind(SERVER).listen();
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
    }) else {
        return;
    };
    let lines = conflicts(&ended);
    assert_eq!(lines.len(), usize::from(refused.into_inner()));
    for line in lines {
        // Nobody has the other port.
        let local = line.local.as_ref().expect("what was asked for").socket_addr();
        assert_eq!(local, SERVER);
    }
}
