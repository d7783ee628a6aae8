//! A `port-observer serve`, and what asks it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    child::Guarded,
    observer::until,
    socket::local,
    system::{self, Backend, must_load},
};

/// Where it listens in the namespace of a test.
pub const AT: SocketAddr = local(7678);

/// A running `serve`. It is killed when this is dropped.
pub struct Serve {
    child: Guarded,
    errors: Receiver<String>,
    said: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The number of its status.
    pub status: u16,
    /// What comes before the body.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Serve {
    /// Starts it in the calling thread's network namespace, of which alone it tells, and waits until it is
    /// ready. `None`: this machine can't run it, as is printed.
    pub fn start(inode: u32, more: &[&str]) -> Option<Self> {
        let mut command = Self::command(inode);
        command.args(more);
        Self::run(command, || ())
    }

    /// What [`Serve::start`] runs.
    pub fn command(inode: u32) -> Command {
        let mut command = Command::new(system::program().expect("the program"));
        command.args(["serve", "--netns", &inode.to_string()]);
        command.args(["--backend", Backend::chosen().name()]).env_remove("RUST_LOG");
        command
    }

    /// The same by a command that begins it with the first connection.
    pub fn activated(command: Command) -> Option<Self> {
        Self::run(command, || drop(TcpStream::connect(AT)))
    }

    fn run(mut command: Command, knock: impl Fn()) -> Option<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = system::spawn(&mut command).expect("start it");
        let from = BufReader::new(child.stderr.take().expect("a pipe"));
        let (to, errors) = mpsc::channel();
        thread::spawn(move || {
            from.lines().map_while(Result::ok).try_for_each(|line| to.send(line))
        });
        let mut serve = Self { child: Guarded(child), errors, said: String::new() };
        let mut has_ended = false;
        until("it serves", || {
            knock();
            has_ended = serve.child.0.try_wait().expect("ask whether it ended").is_some();
            has_ended || serve.says("serving on")
        });
        if has_ended {
            thread::sleep(Duration::from_millis(50));
            serve.says("");
            assert!(!must_load(), "{}", serve.said);
            println!("skipped: {}", serve.said);
            return None;
        }
        Some(serve)
    }

    /// Whether it has said this on standard error.
    pub fn says(&mut self, what: &str) -> bool {
        for line in self.errors.try_iter() {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        self.said.contains(what)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).expect("signal it");
    }

    /// Kills it, and waits until it is gone.
    pub fn killed(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.0.wait().expect("wait for it");
    }

    /// Ends it as a service manager does; its exit code.
    pub fn terminated(mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        let mut status = None;
        until("it ends", || {
            status = self.child.0.try_wait().expect("ask whether it ended");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

/// Asks [`AT`] for a path.
pub fn get(path: &str) -> Answer {
    ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

/// Sends a request as it is to [`AT`], and reads until the connection ends.
pub fn ask(request: &str) -> Answer {
    let mut stream = TcpStream::connect(AT).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    // It may be refused before all is sent.
    let _ = stream.write_all(request.as_bytes());
    let mut bytes = Vec::new();
    // A reset after the answer is the end too.
    let _ = stream.read_to_end(&mut bytes);
    parse(&bytes)
}

/// Asks a Unix socket for a path.
pub fn get_unix(socket: &Path, path: &str) -> Answer {
    ask_unix(socket, path, "")
}

/// The same with more headers, each with its end.
pub fn ask_unix(socket: &Path, path: &str, headers: &str) -> Answer {
    send_unix(socket, &format!("GET {path}"), headers, "")
}

/// Sends something to a Unix socket: a method with its path, more headers, and a body.
pub fn send_unix(socket: &Path, what: &str, headers: &str, body: &str) -> Answer {
    let mut stream = UnixStream::connect(socket).expect("connect");
    let length = body.len();
    let request = format!(
        "{what} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("ask");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// The value of a series, as the text format has it: name and labels, then the value.
pub fn value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

/// A client of `/events`.
pub struct Events {
    lines: std::io::Lines<BufReader<TcpStream>>,
}

/// An event as it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its `id`, empty: it has none.
    pub id: String,
    /// Its type.
    pub name: String,
    /// Its data.
    pub data: String,
}

impl Events {
    /// Follows from now on, or after the line with this id.
    pub fn follow(query: &str, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(AT).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let last = last.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!("GET /events{query} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).expect("ask");
        let mut lines = BufReader::new(stream).lines();
        let greeting =
            lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("retry:")));
        assert!(greeting.is_some(), "no event stream");
        Self { lines }
    }

    /// The next event. `None`: the stream has ended.
    pub fn next_event(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let line = self.lines.next()?.expect("a line within time");
            match line.split_once(": ") {
                Some(("id", id)) => event.id = id.to_owned(),
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("data", data)) => event.data = data.to_owned(),
                // The pieces of the body have lines of their own.
                _ if line.is_empty() && !event.data.is_empty() => return Some(event),
                _ => {}
            }
        }
    }
}
