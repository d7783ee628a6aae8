//! As a service: sockets that are passed, and what the service manager is told.

use std::{
    collections::HashSet,
    os::unix::net::UnixDatagram,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rusqlite::Connection;
use tests::{
    http::{Serve, get},
    net::{SERVER, in_namespace},
    recording::{Directory, run},
    socket::{Held, tcp},
};

/// What the service manager hears, until it is this or too long.
fn hears(socket: &UnixDatagram, what: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while Instant::now() < end {
        let length = socket.recv(&mut buffer).expect("a message within time");
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if message.lines().any(|line| line.starts_with(what)) {
            return;
        }
        heard.push(message);
    }
    panic!("{what} is not among {heard:?}");
}

#[test]
fn a_service_manager_passes_sockets_and_hears_how_it_is() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        manager.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let served = Serve::command(inode);
        let mut command = Command::new("systemd-socket-activate");
        command.args(["-l", "127.0.0.1:7678", "-E", "NOTIFY_SOCKET", "-E", "WATCHDOG_USEC"]);
        command.arg(served.get_program()).args(served.get_args());
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000").env_remove("RUST_LOG");
        let Some(serve) = Serve::activated(command) else { return };
        assert_eq!(get("/readyz").status, 200);
        hears(&manager, "READY=1");
        for _ in 0..3 {
            hears(&manager, "WATCHDOG=1");
        }
        serve.signal(Signal::SIGHUP);
        hears(&manager, "RELOADING=1");
        hears(&manager, "READY=1");
        serve.signal(Signal::SIGTERM);
        hears(&manager, "STOPPING=1");
        assert_eq!(serve.terminated(), Some(0));
    });
}

/// What was recorded until a second before it was killed is there, and the next run goes on in the same file.
#[test]
fn killed_it_loses_under_a_second_of_its_recording() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let file = directory.file("ports.db");
        let server = tcp().bind(SERVER).listen();
        let connect = |count: usize| -> Vec<Held> {
            (0..count).map(|_| tcp().connect(server.local)).collect()
        };
        let Some(serve) = Serve::start(inode, &["--record", &file]) else { return };
        let before = connect(200);
        thread::sleep(Duration::from_secs(1));
        let _perhaps = connect(20);
        serve.killed();
        let _unseen = connect(20);
        let serve = Serve::start(inode, &["--record", &file]).expect("it runs here");
        let after = connect(20);
        assert_eq!(serve.terminated(), Some(0));

        let connection = Connection::open(&file).expect("open the recording");
        let mut statement = connection
            .prepare("SELECT local_port FROM acquisitions WHERE remote_port = 80")
            .expect("the view acquisitions");
        let ports = statement.query_map([], |row| row.get(0)).expect("ports");
        let ports: HashSet<u16> = ports.map(|port| port.expect("a port")).collect();
        for (held, when) in [(before, "before"), (after, "after")] {
            let lost: Vec<u16> =
                held.iter().map(|one| one.port()).filter(|port| !ports.contains(port)).collect();
            assert!(lost.is_empty(), "{when}: {lost:?}");
        }
        let report = run(&["report", &file]);
        assert!(report.status.success(), "{report:?}");
    });
}
