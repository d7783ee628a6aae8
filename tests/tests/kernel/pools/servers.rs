//! Pools of real servers: rtpengine is filled with calls over its ng protocol, nginx listens where it should
//! not, and sipp calls with sound (`sipp.rs`).

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, UdpSocket},
    process::{Command, Stdio},
    time::Duration,
};

use jiff::Timestamp;
use tests::{
    child::Guarded,
    lines::{Body, Line, Pool},
    net::in_namespace,
    observer::{Observer, until},
    recording::Directory,
    socket::{local, tcp},
    system,
};

use super::{of_pool, pools, wait_for};

const NG: SocketAddr = local(2_223);
/// What 101 ports are room for: four each, in pairs.
const CALLS: usize = 25;

/// Pools that are watched, and servers whose they are.
pub(super) struct Servers {
    pub(super) directory: Directory,
    /// What declares the pools.
    pub(super) file: String,
    pub(super) observer: Observer,
}

impl Servers {
    /// Starts a program that `cargo xtask setup` installs; what it says goes into a file.
    pub(super) fn start(&self, program: &str, arguments: &[&str]) -> Guarded {
        let log = self.directory.file(&format!("{program}.log"));
        let said = fs::File::options().create(true).append(true).open(log).expect("make a log");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).current_dir(self.directory.path());
        command.stdout(said.try_clone().expect("the same")).stderr(said);
        Guarded(system::spawn(&mut command).unwrap_or_else(|error| panic!("{program}: {error}")))
    }

    pub(super) fn wait_for(&self, what: &str, is_it: impl Fn(&'static str, &Pool) -> bool) -> Pool {
        wait_for(&self.observer, what, is_it)
    }
}

/// Watches pools, as they are declared for a network namespace of its inode number, while servers run in that.
/// The virtual machines have no servers.
pub(super) fn with_servers(
    declare: impl Fn(u32) -> String + Send + Sync,
    run: impl Fn(&Servers) + Send + Sync,
) {
    if system::in_virtual_machine() {
        println!("skipped: this machine has none of rtpengine, nginx and sipp");
        return;
    }
    in_namespace(|inode| {
        let directory = Directory::make();
        let file = pools(&directory, &declare(inode));
        let Some(observer) = Observer::own(&["--pools", &file]) else { return };
        wait_for(&observer, "where the pool is", |kind, _| kind == "threshold");
        let servers = Servers { directory, file, observer };
        run(&servers);
        servers.observer.interrupted();
    });
}

/// Asks rtpengine: a cookie, and a dictionary of strings in bencoding.
fn ask(socket: &UdpSocket, number: usize, fields: &[(&str, &str)]) -> Option<String> {
    let sorted: BTreeMap<&str, &str> = fields.iter().copied().collect();
    let text = |text: &str| format!("{}:{text}", text.len());
    let fields: String = sorted.iter().map(|(key, value)| text(key) + &text(value)).collect();
    socket.send_to(format!("{number} d{fields}e").as_bytes(), NG).ok()?;
    let mut answer = vec![0; 65_536];
    let length = socket.recv(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// What a phone offers, or answers with.
fn sdp(port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n\
         a=rtpmap:0 PCMU/8000\r\n"
    )
}

/// Sets a call up; what rtpengine refused it with, if it did.
fn call(socket: &UdpSocket, number: usize) -> Option<String> {
    let id = format!("call-{number}");
    let both = [("offer", 5_000), ("answer", 5_002)];
    for (step, (command, port)) in both.into_iter().enumerate() {
        let sdp = sdp(port);
        let mut fields =
            vec![("command", command), ("call-id", &*id), ("from-tag", "a"), ("sdp", &sdp)];
        if command == "answer" {
            fields.push(("to-tag", "b"));
        }
        let answer = ask(socket, 10 * number + step, &fields).expect("an answer of rtpengine");
        if answer.contains("6:result5:error") {
            return Some(answer);
        }
    }
    None
}

#[test]
fn rtpengine_is_said_to_be_full_no_later_than_it_refuses_a_call() {
    let declare = |inode| {
        format!(
            "[[pool]]\nname = \"media\"\nrange = \"21000-21100\"\nprotocol = \"udp\"\nparity = \"pair\"\n\
             units = 25\nports_per_unit = 4\nprocess = \"rtpengine\"\nnetns = \"{inode}\"\n"
        )
    };
    with_servers(declare, |servers| {
        let arguments = [
            "--foreground",
            "--log-stderr",
            "--table=-1",
            "--interface=127.0.0.1",
            "--listen-ng=127.0.0.1:2223",
            "--port-min=21000",
            "--port-max=21100",
            "--num-threads=2",
            "--config-file=none",
        ];
        let _rtpengine = servers.start("rtpengine", &arguments);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        let ping = || ask(&socket, 0, &[("command", "ping")]).is_some_and(|it| it.contains("pong"));
        until("rtpengine answers", ping);
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");

        let mut refused = None;
        let mut calls = 0;
        while refused.is_none() {
            refused = call(&socket, calls + 1);
            calls += usize::from(refused.is_none());
            assert!(calls <= CALLS, "more calls than there are ports");
        }
        let at = Timestamp::now();
        assert!(refused.is_some_and(|why| why.contains("Ran out of ports")));
        assert_eq!(calls, CALLS);
        let full = |lines: &[Line]| {
            let mut full = lines.iter().filter(|line| matches!(line.body, Body::PoolExhausted(_)));
            full.next().map(|line| (line.time, of_pool(line).map(|(_, pool)| pool.clone())))
        };
        let (time, pool) = servers.observer.wait_lines(0, full).expect("it is said");
        let pool = pool.expect("a pool");
        assert!(time <= at, "{time} is after {at}");
        // While the last call takes its ports there is no room for another.
        assert!(pool.free.is_some_and(|free| free < 4), "{pool:?}");
        let largest = &pool.holders.expect("holders")[0];
        assert_eq!((Some(largest.ports), largest.stranger), (pool.used, Some(false)));
        // Its control port is none of its pool, and is told.
        let elsewhere = servers.wait_for("the control port", |kind, _| kind == "wrong_range");
        assert_eq!(elsewhere.local.map(|at| at.port), Some(NG.port()));

        // A call that ends makes room for one.
        let gone = [
            ("command", "delete"),
            ("call-id", "call-1"),
            ("from-tag", "a"),
            ("delete-delay", "0"),
        ];
        ask(&socket, 9_999, &gone).expect("an answer");
        let has_room = |lines: &[Line]| {
            let last = lines.iter().filter_map(of_pool).rfind(|(kind, _)| *kind == "threshold");
            last.and_then(|(_, pool)| (pool.level.as_deref() == Some("critical")).then_some(()))
        };
        servers.observer.wait_lines(0, has_room).expect("96 of 100 are critical still");
        until("another call has room", || call(&socket, 200).is_none());
    });
}

#[test]
fn nginx_in_the_range_of_another_is_told_with_whose_it_is() {
    let declare = |inode| {
        format!(
            "[[pool]]\nname = \"web\"\nrange = \"19000-19099\"\nprotocol = \"tcp\"\nprocess = \"nginx\"\n\
             netns = \"{inode}\"\n\
             [[pool]]\nname = \"engines\"\nrange = \"19100-19199\"\nprocess = \"engine\"\n\
             netns = \"{inode}\"\n"
        )
    };
    with_servers(declare, |servers| {
        let configuration = servers.directory.file("nginx.conf");
        let home = servers.directory.path().display();
        fs::write(
            &configuration,
            format!(
                "daemon off; master_process off; pid {home}/nginx.pid; error_log stderr;\n\
                 events {{}}\n\
                 http {{ access_log off;\n\
                 client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;\n\
                 fastcgi_temp_path {home}/fastcgi; uwsgi_temp_path {home}/uwsgi;\n\
                 scgi_temp_path {home}/scgi;\n\
                 server {{ listen 127.0.0.1:19007; listen 127.0.0.1:19107; }} }}\n"
            ),
        )
        .expect("write");
        let _nginx = servers.start("nginx", &["-c", &configuration, "-e", "stderr"]);
        let wrong = servers.wait_for("nginx elsewhere", |kind, _| kind == "wrong_range");
        assert_eq!((wrong.pool.as_str(), wrong.belongs_to.as_deref()), ("web", Some("engines")));
        assert_eq!(wrong.local.map(|at| at.port), Some(19_107));
        let who = wrong.process.expect("a process");
        assert_eq!(who.name, "nginx");
        let taken = servers.wait_for("a stranger", |kind, _| kind == "taken");
        assert_eq!((taken.pool.as_str(), taken.local.map(|at| at.port)), ("engines", Some(19_107)));
        // It serves there, as it was told to.
        until("nginx serves", || tcp().try_connect(local(19_107)).is_ok());
    });
}
