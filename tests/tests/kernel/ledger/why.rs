//! `why`, against what the kernel then does.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tests::lines::Space;
use tests::net::{SERVER, ephemeral_range, in_namespace, sysctl};
use tests::socket::{Held, local, tcp};
use tests::system;

use super::check::leave_in_time_wait;
use super::fill::fill;

const ELSEWHERE: std::net::SocketAddr = local(81);
/// Nobody.
const NOBODY: u32 = 65_534;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    schema: u32,
    #[expect(dead_code, reason = "it is a time")]
    time: jiff::Timestamp,
    verdict: String,
    summary: String,
    #[expect(dead_code, reason = "it repeats what was asked")]
    call: Value,
    space: Option<Space>,
    blocked: Vec<Blocked>,
    remedies: Vec<Remedy>,
    would_not_help: Vec<Unhelpful>,
    missing: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Blocked {
    how: String,
    ports: u32,
    holders: Vec<Holder>,
    #[expect(dead_code, reason = "for people")]
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Holder {
    name: Option<String>,
    pids: Vec<u32>,
    ports: u32,
    #[serde(default)]
    ports_each: Vec<u32>,
    #[serde(default)]
    likely: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remedy {
    change: String,
    #[expect(dead_code, reason = "for people")]
    text: String,
    #[expect(dead_code, reason = "for people")]
    command: Option<String>,
    gain: u32,
    #[expect(dead_code, reason = "of how sure it is, unit tests say more")]
    likely: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unhelpful {
    change: String,
    #[expect(dead_code, reason = "for people")]
    reason: String,
}

fn run(command: &mut Command) -> (i32, Answer) {
    let output = system::output(command);
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.stderr.is_empty(), "{output:?}");
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{command:?}: {error}: {output:?}"));
    assert_eq!(answer.schema, 1);
    (output.status.code().expect("an exit code"), answer)
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(system::program().expect("the program"));
    command.args(["why", "--json"]).args(arguments);
    command
}

fn why(arguments: &[&str]) -> (i32, Answer) {
    run(&mut command(arguments))
}

impl Answer {
    fn blocked(&self) -> Vec<(&str, u32)> {
        self.blocked.iter().map(|one| (&*one.how, one.ports)).collect()
    }

    fn gain(&self, change: &str) -> Option<u32> {
        self.remedies.iter().find(|one| one.change == change).map(|one| one.gain)
    }

    fn is_useless(&self, change: &str) -> bool {
        self.would_not_help.iter().any(|one| one.change == change)
    }

    fn headroom(&self) -> u32 {
        self.space.as_ref().expect("a space").headroom
    }
}

/// Connections from ports that bind() takes first, or that it leaves to connect().
fn bind_and_connect(count: usize, takes_port: bool) -> Vec<Held> {
    let socket = || if takes_port { tcp() } else { tcp().bind_address_no_port() };
    (0..count).map(|_| socket().bind(local(0)).connect(ELSEWHERE)).collect()
}

/// Replaces TIME_WAIT entries that expire while `work` goes on: on a slow machine that takes longer than
/// they last.
fn renewing_time_waits<T>(server: &Held, work: impl FnOnce() -> T) -> T {
    struct Finished<'a>(&'a AtomicBool);
    impl Drop for Finished<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let finished = AtomicBool::new(false);
    thread::scope(|scope| {
        let _finished = Finished(&finished);
        scope.spawn(|| {
            while !finished.load(Ordering::Relaxed) {
                let mut client = tcp();
                if client.try_connect(server.local).is_ok() {
                    let mut child = server.accept();
                    client.close();
                    child.read_to_the_end();
                    child.close();
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        work()
    })
}

#[test]
fn a_destination_without_ports_is_explained_and_the_first_remedy_brings_its_gain() {
    in_namespace(|_| {
        ephemeral_range(40_000, 40_019);
        sysctl("ipv4/tcp_tw_reuse", "0");
        let server = tcp().bind(SERVER).listen();
        let _elsewhere = tcp().bind(ELSEWHERE).listen();
        let mut bound = bind_and_connect(12, true);
        leave_in_time_wait(&server, 8);
        let me = std::process::id();

        let (code, answer) = renewing_time_waits(&server, || {
            let answer = why(&["127.0.0.1:80"]);
            assert_eq!(fill().len(), 0, "the kernel says so too");
            answer
        });
        assert_eq!((code, &*answer.verdict), (1, "exhausted"), "{answer:?}");
        assert_eq!(answer.blocked(), [("bound", 12), ("time_wait", 8)]);
        let holder = &answer.blocked[0].holders[0];
        assert_eq!((&holder.pids[..], &holder.ports_each[..]), (&[me][..], &[12][..]));
        assert!(holder.name.is_some() && !holder.likely && holder.ports == 12, "{holder:?}");
        assert_eq!(answer.remedies[0].change, "ip_bind_address_no_port");
        let gain = answer.remedies[0].gain;
        assert_eq!((gain, answer.gain("keep_alive")), (12, Some(8)));
        for change in ["tcp_fin_timeout", "restart", "file_descriptors"] {
            assert!(answer.is_useless(change), "{change}: {answer:?}");
        }

        // As the remedy has it, beside what TIME_WAIT has let go meanwhile.
        let _expired = fill();
        // A reset leaves no TIME_WAIT that bind() has taken.
        bound.iter_mut().for_each(Held::reset);
        let _unbound = bind_and_connect(12, false);
        let connected = fill();
        assert_eq!(connected.len(), gain as usize);
        drop(connected);
    });
}

#[test]
fn what_is_left_is_what_connect_then_gets() {
    in_namespace(|_| {
        ephemeral_range(40_000, 40_019);
        let _server = tcp().bind(SERVER).listen();
        let _elsewhere = tcp().bind(ELSEWHERE).listen();
        let _shared: Vec<Held> = (0..5).map(|_| tcp().connect(ELSEWHERE)).collect();
        let _bound = bind_and_connect(3, true);
        let (code, answer) = why(&["127.0.0.1:80"]);
        assert_eq!((code, &*answer.verdict, answer.headroom()), (0, "free", 17), "{answer:?}");

        // Who may not load programs says what is certain: 12 ports are nobody's.
        let mut unprivileged = command(&["127.0.0.1:80"]);
        unprivileged.uid(NOBODY).gid(NOBODY);
        if system::output(Command::new("/bin/true").uid(NOBODY).gid(NOBODY)).is_ok()
            && system::output(&mut unprivileged).is_ok()
        {
            let (code, answer) = run(&mut unprivileged);
            assert_eq!((code, &*answer.verdict), (0, "free"), "{answer:?}");
            assert!(answer.summary.contains("12 to 20"), "{answer:?}");
            assert!(answer.missing.iter().any(|one| one.contains("bind()")), "{answer:?}");
        } else {
            println!("skipped: nobody may not run the program");
        }
        assert_eq!(fill().len(), 17);
    });
}

#[test]
fn who_keeps_a_port_from_bind_is_named_in_each_way() {
    in_namespace(|_| {
        ephemeral_range(40_000, 40_019);
        let me = std::process::id();
        let server = tcp().bind(SERVER).listen();
        let (code, answer) = why(&["--bind", "80"]);
        assert_eq!((code, &*answer.verdict), (1, "taken"));
        assert_eq!(answer.blocked(), [("listener", 1)]);
        assert_eq!(answer.blocked[0].holders[0].pids, [me]);
        assert!(answer.is_useless("so_reuseaddr"));
        let client = tcp().connect(SERVER);
        let child = server.accept();
        drop(server);
        let (_, answer) = why(&["--bind", "127.0.0.1:80"]);
        assert_eq!(answer.blocked(), [("accepted", 1)]);
        assert_eq!(answer.remedies[0].change, "so_reuseaddr");
        let outgoing = client.local.port().to_string();
        let (_, answer) = why(&["--bind", &outgoing]);
        assert_eq!(answer.blocked(), [("connected", 1)]);
        assert_eq!(answer.gain("reserved_ports"), Some(0));
        // The server's side closes first.
        let (mut child, mut client) = (child, client);
        child.close();
        client.read_to_the_end();
        client.close();
        let (_, answer) = why(&["--bind", "80"]);
        assert_eq!(answer.blocked(), [("time_wait", 1)]);
        assert_eq!(answer.remedies[0].change, "so_reuseaddr");
        assert!(tcp().try_bind(local(80)).is_err(), "the kernel says so too");

        for asked in
            [&["--bind", "203.0.113.5:8080"][..], &["127.0.0.1:80", "--source", "203.0.113.5"]]
        {
            let (code, answer) = why(asked);
            assert_eq!((code, &*answer.verdict), (1, "not_local"), "{answer:?}");
        }
        let (code, answer) = why(&["203.0.113.5:80"]);
        assert_eq!((code, &*answer.verdict), (3, "unknown"), "there is no route: {answer:?}");
        let (code, answer) = why(&["--bind", "8080"]);
        assert_eq!((code, &*answer.verdict), (0, "free"), "{answer:?}");
    });
}
