//! What a reader that does not read its pipe holds up: nothing.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rusqlite::Connection;
use tests::child::Guarded;
use tests::lines::{Body, Line};
use tests::net::in_namespace;
use tests::observer::until;
use tests::recording::Directory;
use tests::socket::{local, udp};
use tests::system::{self, Backend, in_virtual_machine, must_load};

/// More lines than a pipe holds, a hundred times less than wait for a reader.
const FEW: usize = 2_000;
/// A port that calls ask for: no space is filled, so that there are no lines but theirs.
const PORT: SocketAddr = local(5_000);

/// An observer whose standard output is read when the test likes, and standard error always.
struct Unread {
    child: Guarded,
    output: BufReader<ChildStdout>,
    errors: Receiver<String>,
    said: String,
}

impl Unread {
    /// Starts it and reads its first line. `None`: this machine can't run it, as is printed.
    fn start(command: &str, inode: u32, more: &[&str]) -> Option<Self> {
        let program = system::program().expect("the program");
        let mut all = Command::new(program);
        all.args([command, "--json", "--buffer-size", "64MiB"]);
        all.args(["--netns", &inode.to_string(), "--backend", Backend::chosen().name()]);
        all.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child: Child = system::spawn(&mut all).expect("start the observer");
        let output = child.stdout.take().expect("a pipe");
        let errors = read(child.stderr.take().expect("a pipe"));
        let mut unread = Self {
            child: Guarded(child),
            output: BufReader::new(output),
            errors,
            said: String::new(),
        };
        let mut line = String::new();
        unread.output.read_line(&mut line).expect("its first line");
        if line.is_empty() {
            let errors = unread.errors.iter().collect::<String>();
            assert!(!must_load(), "{errors}");
            println!("skipped: {errors}");
            return None;
        }
        assert!(matches!(Line::parse(&line).expect("a line").body, Body::Start(_)));
        Some(unread)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.0.id().cast_signed()), signal).expect("send a signal");
    }

    /// Waits for its end, which comes soon and is one without a fault.
    fn ends_soon(&mut self) {
        let began = Instant::now();
        let mut status = None;
        until("it has ended", || {
            status = self.child.0.try_wait().expect("wait for it");
            status.is_some()
        });
        // Its own second, and one for a busy machine; an emulated one has to detach too.
        let soon = Duration::from_secs(if in_virtual_machine() { 60 } else { 3 });
        assert!(began.elapsed() < soon, "it took {:?}", began.elapsed());
        self.said.extend(self.errors.iter());
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", self.said);
    }

    /// How many lines it says that its reader did not get.
    fn missed(&self) -> usize {
        let number = self.said.split("did not get the last ").nth(1);
        number.and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap_or(0)
    }
}

fn read(errors: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            let _ = sender.send(line + "\n");
        }
    });
    receiver
}

/// Takes a port and gives it back.
fn touch(count: usize) {
    for _ in 0..count {
        // An iterator over open files holds the one that it is at (task_file_seq_next,
        // kernel/bpf/task_iter.c): its port is given back a moment after close().
        udp().reuse_address().bind(PORT).close();
    }
}

#[test]
fn a_reader_that_stalls_holds_up_no_end_and_is_said_how_much_it_missed() {
    in_namespace(|inode| {
        for signal in [Some(Signal::SIGTERM), Some(Signal::SIGINT), None] {
            let more: &[&str] = if signal.is_some() { &[] } else { &["--duration", "3s"] };
            let mut observer = Unread::start("live", inode, more)?;
            touch(FEW);
            thread::sleep(Duration::from_secs(if signal.is_some() { 1 } else { 3 }));
            if let Some(signal) = signal {
                observer.signal(signal);
            }
            observer.ends_soon();
            let mut rest = String::new();
            observer.output.read_to_string(&mut rest).expect("text");
            let written = rest.matches('\n').count();
            // An acquire and a release each, and `stop`.
            assert_eq!(written + observer.missed(), 2 * FEW + 1, "{}", observer.said);
            assert!(written < 2 * FEW, "the pipe is too large for this test");
            assert!(rest.ends_with('\n'), "the last line is cut off");
        }
        Some(())
    });
}

#[test]
fn a_reader_that_stalls_is_no_gap_in_a_recording() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let file = directory.file("ports.db");
        let mut recorder = Unread::start("record", inode, &[&file])?;
        touch(FEW);
        thread::sleep(Duration::from_secs(1));
        let recorded = || {
            let connection = Connection::open(&file).expect("open the recording");
            let query = "SELECT count(*) FROM acquisitions WHERE via = 'bind'";
            connection.query_row(query, [], |row| row.get(0)).expect("how many")
        };
        let mut count: usize = 0;
        until("all is recorded while nobody reads", || {
            count = recorded();
            count >= FEW
        });
        assert_eq!(count, FEW);
        recorder.signal(Signal::SIGTERM);
        recorder.ends_soon();
        assert!(recorder.missed() > 0, "{}", recorder.said);
        assert_eq!(recorded(), FEW);
        Some(())
    });
}

#[test]
fn lines_beyond_what_waits_for_the_reader_are_lost_and_counted() {
    if in_virtual_machine() {
        println!("skipped: 64 MiB of lines take an emulated processor minutes");
        return;
    }
    in_namespace(|inode| {
        let mut observer = Unread::start("live", inode, &[])?;
        let mut made = 0;
        while !observer.said.contains("lines are lost until it reads on") {
            assert!(made < 1_000_000, "nothing was lost");
            touch(1_000);
            made += 1_000;
            observer.said.extend(observer.errors.try_iter());
        }
        touch(1_000);
        let Unread { child, output, .. } = &mut observer;
        let pid = Pid::from_raw(child.0.id().cast_signed());
        let reader = thread::scope(|scope| {
            let reader = scope
                .spawn(|| output.lines().map(|line| line.expect("text")).collect::<Vec<String>>());
            // What is taken now is written after what was lost.
            thread::sleep(Duration::from_secs(3));
            touch(10);
            thread::sleep(Duration::from_secs(1));
            kill(pid, Signal::SIGINT).expect("interrupt it");
            reader.join().expect("the lines")
        });
        made += 1_010;
        observer.ends_soon();
        assert_eq!(observer.missed(), 0, "{}", observer.said);
        let (mut acquired, mut released, mut lost, mut of_output) = (0, 0, 0, 0);
        let mut stop = None;
        for (text, seq) in reader.iter().zip(2..) {
            let line = Line::parse(text).expect("a line");
            assert_eq!(line.seq, seq);
            match line.body {
                Body::Acquire(_) => acquired += 1,
                Body::Release(_) => released += 1,
                Body::Lost(line) => {
                    lost += line.count;
                    of_output += if line.place == "output" { line.count } else { 0 };
                    match line.kind.as_deref() {
                        Some("acquire") => acquired += line.count,
                        Some("release") => released += line.count,
                        _ => {}
                    }
                }
                Body::Stop(line) => stop = Some(line.lost),
                _ => {}
            }
        }
        assert!(of_output > 0);
        assert_eq!((acquired, released), (made, made), "of {} lines", reader.len());
        assert_eq!(stop, Some(lost));
        Some(())
    });
}
