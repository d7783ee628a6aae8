//! `pools verify` and `pools echo`: real calls on the loopback address. Nothing here is about time: on a busy
//! machine packets leave late, and nobody loses any.

use std::{
    io::{BufRead as _, BufReader},
    net::UdpSocket,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::{
        resource::{Resource, setrlimit},
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::directory::{Directory, alone};

/// Below the ephemeral range, and not well known.
fn pool(range: &str, more: &str) -> Directory {
    let text = format!("[[pool]]\nname = \"media\"\nrange = \"{range}\"\n{more}\n");
    Directory::of(&[("pools.toml", &text)])
}

fn verify(directory: &Directory, arguments: &[&str]) -> (Value, String, i32) {
    let arguments = [&["media", "--json", "--duration", "1s"], arguments].concat();
    let output = start(directory, "verify", &arguments).wait_with_output().unwrap();
    let out = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (out, String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
}

/// That nothing was lost of so many packets, less those for which this machine was too busy.
#[track_caller]
fn assert_all_came_back(found: &Value, packets: u64) {
    let rtp = &found["rtp"];
    let number = |name: &str| rtp[name].as_u64().unwrap();
    assert_eq!(number("sent") + number("skipped"), packets, "{found}");
    assert_eq!((number("sent"), number("lost")), (number("received"), 0), "{found}");
    assert_eq!((number("duplicate"), number("foreign"), number("refused")), (0, 0, 0), "{found}");
    assert!(rtp["rtt_p50_seconds"].as_f64().unwrap() > 0.0, "{found}");
    let rtcp = &found["rtcp"];
    assert!(rtcp["sent"].as_u64().unwrap() > 0 && rtcp["sent"] == rtcp["received"], "{found}");
    assert!(rtcp["rtt_max_seconds"].is_number(), "{found}");
    let is_complete = number("skipped") == 0;
    assert_eq!((&found["passed"], &found["complete"]), (&json!(true), &json!(is_complete)));
}

#[test]
fn calls_send_and_get_everything_back() {
    for (more, calls, packets, legs, ports) in [
        ("parity = \"pair\"\nports_per_unit = 4\nunits = 3", None, 300, 2, 2),
        ("parity = \"even\"\naddress = \"127.0.0.1\"", Some("3"), 150, 1, 1),
        ("protocol = \"udp\"", Some("1"), 100, 2, 2),
    ] {
        let directory = pool("28100-28111", more);
        let calls: Vec<&str> = calls.into_iter().flat_map(|count| ["--calls", count]).collect();
        let (found, error, code) = verify(&directory, &calls);
        assert_eq!((&*error, code), ("", 0), "{found}");
        assert_all_came_back(&found, packets);
        let shape = (&found["legs_per_call"], &found["ports_per_leg"]);
        assert_eq!(shape, (&json!(legs), &json!(ports)));
        assert_eq!(found["port_errors"], json!([]));
    }
}

#[test]
fn a_range_with_too_few_ports_says_so() {
    let directory = pool("28121-28128", "exclude = [28124]");
    let (found, error, code) = verify(&directory, &["--calls", "2"]);
    let words = "No ports available in range 28121-28128: 1 of 2 calls were set up";
    assert!(code == 1 && error.contains(words), "{error}");
    assert_eq!(found["calls"], json!({ "wanted": 2, "set_up": 1 }));
    assert_eq!((found.get("rtp"), &found["passed"]), (None, &json!(false)));
    let (text, _, code) = directory.told("verify", &["media", "--calls", "2"]);
    assert!(code == 1 && text.starts_with("media (28121-28128): 1 of 2 calls"), "{text}");
}

#[test]
fn a_port_that_somebody_holds_is_passed_over_and_told_with_who_that_is() {
    let directory = pool("28140-28147", "parity = \"pair\"");
    let _held = UdpSocket::bind("127.0.0.1:28143").unwrap();
    let arguments = ["media", "--calls", "3", "--duration", "1s", "--json"];
    let (out, _, code) = directory.told("verify", &arguments);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &found["port_errors_total"]), (0, &json!(1)), "{found}");
    assert_all_came_back(&found, 150);
    let told = &found["port_errors"][0];
    assert_eq!((&told["port"], &told["errno"]), (&json!(28_143), &json!("EADDRINUSE")));
    assert_eq!(told["holder"]["pid"], std::process::id());
    let (text, error, code) = directory.told("verify", &["media", "--calls", "4"]);
    let pid = format!("(pid {})", std::process::id());
    assert!(code == 1 && error.contains("No ports available in range 28140-28147"), "{error}");
    assert!(text.contains("udp port 28143: EADDRINUSE") && text.contains(&pid), "{text}");
}

#[test]
fn a_leased_port_is_left_out() {
    let directory = pool("28150-28153", "parity = \"pair\"");
    let (_, error, code) = directory.told("lease", &["media", "--owner", "call-1"]);
    assert_eq!((&*error, code), ("", 0));
    let (found, error, code) = verify(&directory, &["--calls", "2"]);
    assert!(code == 1 && error.contains("1 of 2 calls were set up"), "{error}");
    assert_eq!((&found["leased_ports"], &found["port_errors"]), (&json!(2), &json!([])));
}

#[test]
fn what_can_not_be_tried_is_said_with_the_reason() {
    for (more, arguments, reason) in [
        ("protocol = \"tcp\"", &["media"][..], "is for tcp alone"),
        ("", &["other"], "no pool is called other; declared: media"),
        ("address = \"127.0.0.1\"", &["media", "--to", "[::1]:9"], "nothing gets to [::1]:9"),
        ("address = \"192.0.2.1\"", &["media"], "EADDRNOTAVAIL"),
        ("netns = \"no-such-namespace\"", &["media"], "no-such-namespace"),
        ("container = \"no-such-container\"", &["media"], "does not run here"),
    ] {
        let (_, error, code) = pool("28160-28169", more).told("verify", arguments);
        assert!(code == 1 && error.contains(reason), "{error}");
    }
    let directory = pool("28160-28169", "");
    for wrong in ["--calls=0", "--to=127.0.0.1:65535", "--to=0.0.0.0:9", "--to=a", "--legs=65"] {
        assert_eq!(directory.told("verify", &["media", wrong]).2, 2, "{wrong}");
    }
    assert_eq!(directory.told("echo", &["--listen", "127.0.0.1:65535"]).2, 2);
}

#[test]
fn a_process_without_file_descriptors_left_says_how_many_calls_it_could_set_up() {
    let directory = pool("28200-28399", "");
    let mut command = directory.command("verify", &["media", "--calls", "50"]);
    // SAFETY: setrlimit is async-signal-safe.
    unsafe {
        command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_NOFILE, 64, 64)?));
    }
    let guard = alone();
    let output = command.output().unwrap();
    drop(guard);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("EMFILE") && error.contains(" of 50 calls were set up"), "{error}");
    assert_eq!(output.status.code(), Some(1));
}

/// A peer that drops every so many-th RTP packet.
struct Dropping {
    port: u16,
    stop: Arc<AtomicBool>,
    dropped: JoinHandle<u64>,
    first: std::sync::mpsc::Receiver<()>,
}

impl Dropping {
    fn start(port: u16, every: u64) -> Self {
        let rtp = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        let rtcp = UdpSocket::bind(("127.0.0.1", port + 1)).unwrap();
        rtp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        rtcp.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, first) = std::sync::mpsc::channel();
        let is_over = Arc::clone(&stop);
        let dropped = thread::spawn(move || {
            let (mut bytes, mut count) = ([0; 512], 0);
            while !is_over.load(Ordering::Relaxed) {
                while let Ok((_, from)) = rtcp.recv_from(&mut bytes) {
                    // A receiver report with one block: their SSRC, and the middle of their NTP time.
                    let mut answer = [0; 32];
                    answer[..4].copy_from_slice(&[0x81, 201, 0, 7]);
                    answer[8..12].copy_from_slice(&bytes[4..8]);
                    answer[24..28].copy_from_slice(&bytes[10..14]);
                    rtcp.send_to(&answer, from).unwrap();
                }
                let Ok((length, from)) = rtp.recv_from(&mut bytes) else { continue };
                count += 1;
                let _ = tell.send(());
                if count % every != 0 {
                    rtp.send_to(&bytes[..length], from).unwrap();
                }
            }
            count / every
        });
        Self { port, stop, dropped, first }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.dropped.join().unwrap()
    }
}

#[test]
fn what_the_peer_drops_is_lost() {
    let peer = Dropping::start(28_400, 10);
    let directory = pool("28410-28429", "");
    let (found, error, code) = verify(&directory, &["--calls", "2", "--to", &peer.address()]);
    let dropped = peer.end();
    assert_eq!((&*error, code), ("", 1));
    let rtp = &found["rtp"];
    assert!(dropped > 0 && rtp["lost"] == dropped, "{dropped} {found}");
    let sent = rtp["sent"].as_u64().unwrap();
    assert_eq!(dropped, sent / 10);
    assert!((9.0..=10.0).contains(&rtp["lost_percent"].as_f64().unwrap()), "{found}");
    assert_eq!((&found["rtcp"]["lost"], rtp.get("lost_there").is_some()), (&json!(0), true));
}

#[test]
fn a_peer_that_is_not_there_is_told_of_by_icmp() {
    let directory = pool("28430-28439", "");
    let (found, _, code) = verify(&directory, &["--calls", "1", "--to", "127.0.0.1:28440"]);
    assert_eq!((code, &found["rtp"]["received"]), (1, &json!(0)), "{found}");
    assert_eq!(found["rtcp"]["lost"], found["rtcp"]["sent"]);
    assert!(found["rtp"]["unreachable"].as_u64().unwrap() > 0, "{found}");
}

fn start(directory: &Directory, command: &str, arguments: &[&str]) -> Child {
    let mut command: Command = directory.command(command, arguments);
    let _guard = alone();
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn interrupt(child: Child) -> (Value, Option<i32>) {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (value, output.status.code())
}

#[test]
fn a_peer_of_its_own_answers_calls_and_ignores_garbage() {
    let directory = pool("28450-28459", "");
    let mut peer = start(&directory, "echo", &["--listen", "127.0.0.1:28460", "--json"]);
    let mut line = String::new();
    BufReader::new(peer.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("listening on 127.0.0.1:28460"), "{line}");
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut garbage: Vec<Vec<u8>> = [0, 1, 11, 500, 2_047].map(|count| vec![7; count]).into();
    // Version 1, a packet that claims more sources than it has, and RTCP that claims to be longer.
    garbage.extend([vec![0x40; 172], vec![0x8f; 13], vec![0x80, 200, 0, 60, 0, 0, 0, 1]]);
    // What another peer would answer is not answered.
    garbage.push(vec![0x80, 201, 0, 1, 0, 0, 0, 1]);
    for port in [28_460, 28_461] {
        for bytes in &garbage {
            stranger.send_to(bytes, ("127.0.0.1", port)).unwrap();
        }
    }
    let (found, error, code) = verify(&directory, &["--calls", "2", "--to", "127.0.0.1:28460"]);
    assert_eq!((&*error, code), ("", 0), "{found}");
    assert_all_came_back(&found, 200);
    assert_eq!(found["rtp"]["lost_there"], 0);
    let (served, code) = interrupt(peer);
    assert_eq!((code, &served["rtp"]["received"]), (Some(0), &found["rtp"]["sent"]), "{served}");
    assert_eq!(served["rtp"]["answered"], found["rtp"]["received"]);
    assert_eq!(served["rtcp"]["answered"], found["rtcp"]["received"]);
    assert_eq!((&served["ignored"], &served["streams"]), (&json!(18), &json!(4)), "{served}");
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut [0; 10]).is_err(), "nothing was answered");
}

#[test]
fn a_signal_ends_a_trial_with_what_came_of_it_so_far() {
    let directory = pool("28470-28479", "");
    let peer = Dropping::start(28_480, u64::MAX);
    let to = peer.address();
    let arguments = ["media", "--calls", "1", "--duration", "1h", "--json", "--to", &to];
    let trial = start(&directory, "verify", &arguments);
    for _ in 0..5 {
        peer.first.recv().unwrap();
    }
    let (found, code) = interrupt(trial);
    peer.end();
    let rtp = &found["rtp"];
    assert_eq!((&found["complete"], &rtp["lost"]), (&json!(false), &json!(0)), "{found}");
    assert!(rtp["sent"].as_u64().unwrap() >= 5, "{found}");
    assert_eq!(code, Some(0));
}

#[test]
fn a_peer_ends_by_itself_after_its_time() {
    let directory = pool("28490-28499", "");
    let arguments = ["--listen", "127.0.0.1:0", "--duration", "100ms", "--json"];
    let (out, error, code) = directory.told("echo", &arguments);
    assert!(code == 0 && error.contains("listening on 127.0.0.1:"), "{error}");
    let served: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&served["streams"], &served["ignored"]), (&json!(0), &json!(0)));
}

#[test]
fn calls_are_made_in_the_network_namespace_of_the_pool() {
    let made = thread::spawn(|| {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            println!("skipped: no privilege to make a network namespace");
            return;
        }
        // The child is in the namespace of the thread that starts it; so is nothing of this test else.
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        if !up.is_ok_and(|status| status.success()) {
            println!("skipped: no ip command");
            return;
        }
        let path = std::fs::canonicalize("/proc/thread-self").unwrap().join("ns/net");
        let more = format!("netns = {path:?}");
        let directory = pool("28500-28503", &more);
        // Held here, and free in the namespace from which the program is started.
        let held = UdpSocket::bind("127.0.0.1:28501").unwrap();
        let run = move |directory: Directory| {
            let (found, error, code) = verify(&directory, &["--calls", "1", "--legs", "2"]);
            assert!(code == 1 && error.contains("No ports available"), "{error}");
            assert_eq!(found["port_errors"][0]["port"], 28_501, "{found}");
            drop(held);
            let (found, error, code) = verify(&directory, &["--calls", "1", "--legs", "2"]);
            assert_eq!((&*error, code), ("", 0), "{found}");
            assert_all_came_back(&found, 100);
        };
        run(directory);
    });
    made.join().unwrap();
}
