//! Where the kernel and what was told differ, for whoever looks into a wrong answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;

use jiff::Timestamp;
use tests::lines::{Body, Endpoint, Line};

use super::question::{Asked, Question};

/// So many lines of a port are shown, the last ones.
const SHOWN: usize = 8;

/// What was told of a port until a question was asked.
#[derive(Default)]
struct Told<'a> {
    /// Both ends of those that hold it.
    holders: Vec<(SocketAddr, Option<SocketAddr>)>,
    lines: Vec<&'a Line>,
}

impl<'a> Told<'a> {
    fn add(&mut self, line: &'a Line) {
        self.lines.push(line);
        let Some((local, remote)) = ends(line) else { return };
        match line.body {
            Body::Existing(_) | Body::Acquire(_) => self.holders.push((local, remote)),
            Body::Release(_) => {
                // One that was bound has connected since.
                let fits = |holder: &&(SocketAddr, Option<SocketAddr>)| **holder == (local, remote);
                let by_port = self.holders.iter().rposition(|holder| holder.1.is_none());
                let found = self.holders.iter().position(|holder| fits(&holder)).or(by_port);
                found.map(|index| self.holders.swap_remove(index));
            }
            _ => {}
        }
    }
}

/// The addresses of a line about one port.
fn ends(line: &Line) -> Option<(SocketAddr, Option<SocketAddr>)> {
    let (local, remote): (&Endpoint, &Option<Endpoint>) = match &line.body {
        Body::Existing(line) => (&line.local, &line.remote),
        Body::Acquire(line) => (&line.local, &line.remote),
        Body::TimeWait(line) => (&line.local, &line.remote),
        Body::Release(line) => (&line.local, &line.remote),
        _ => return None,
    };
    Some((local.socket_addr(), remote.as_ref().map(Endpoint::socket_addr)))
}

/// The ports that the kernel gave although they were told as held by what is in the way of the question,
/// and those that it did not give although nobody was told to hold them, each with the last that was told
/// of it. `lines`: all of the namespace, of which `before` came before the question was asked.
pub fn differences(asked: &Asked, lines: &[Line], before: usize, range: (u16, u16)) -> String {
    let mut ports: BTreeMap<u16, Told<'_>> = BTreeMap::new();
    let protocol = asked.protocol();
    for line in &lines[..before] {
        if let Some((local, _)) = ends(line)
            && of(line) == protocol
        {
            ports.entry(local.port()).or_default().add(line);
        }
    }
    let given: BTreeSet<u16> = asked.ports.iter().copied().collect();
    let in_the_way = |(_, remote): &(SocketAddr, Option<SocketAddr>)| match asked.question {
        Question::Connect(_, to) => remote.is_none_or(|remote| remote == to),
        Question::Bind(..) => true,
    };
    let asked_at = lines.get(before).map(|line| line.time);
    let mut text = String::new();
    for port in range.0..=range.1 {
        let told = ports.remove(&port).unwrap_or_default();
        let what = match given.contains(&port) {
            true if told.holders.iter().any(in_the_way) => "given, told as held",
            false if told.holders.is_empty() => "not given, told as free",
            _ => continue,
        };
        let _ = writeln!(text, "    port {port}: {what}");
        for line in &told.lines[told.lines.len().saturating_sub(SHOWN)..] {
            let _ = writeln!(text, "        {}", short(line, asked_at));
        }
    }
    text
}

/// What was told between the first call of a question and the one that failed, beside that its calls took
/// ports: of each type how often, and the first lines that gave something back. `lines`: all until then.
pub fn meanwhile(asked: &Asked, lines: &[Line]) -> String {
    let Some(first) = asked.begin(lines) else { return "    nothing was told\n".to_owned() };
    let since = lines.iter().filter(|line| line.seq >= first.seq);
    let (mut acquired, mut failed_at, mut given_back) = (0, None, Vec::new());
    for line in since {
        match &line.body {
            Body::Acquire(_) => acquired += 1,
            Body::Release(_) | Body::TimeWait(_) => given_back.push(line),
            Body::Exhausted(_) => failed_at = Some(line.time),
            _ => {}
        }
    }
    let seconds = failed_at.map(|at| at.duration_since(first.time).as_secs_f64());
    let mut text = format!(
        "    {} calls succeeded, of which {acquired} were told; the one that failed {seconds:?} s after the \
         first; before that was told, {} ports were given back\n",
        asked.ports.len(),
        given_back.len()
    );
    for line in given_back.iter().take(SHOWN) {
        let _ = writeln!(text, "        {}", short(line, Some(first.time)));
    }
    text
}

fn of(line: &Line) -> &str {
    match &line.body {
        Body::Existing(line) => &line.protocol,
        Body::Acquire(line) => &line.protocol,
        Body::TimeWait(line) => &line.protocol,
        Body::Release(line) => &line.protocol,
        _ => "",
    }
}

/// A line in a few words, with its time before the question.
fn short(line: &Line, asked_at: Option<Timestamp>) -> String {
    let what = match &line.body {
        Body::Existing(line) => format!("existing {}", line.state),
        Body::Acquire(line) => format!("acquire {}", line.via),
        Body::TimeWait(_) => "time_wait".to_owned(),
        Body::Release(line) => format!("release {}", line.reason),
        _ => String::new(),
    };
    let seconds = asked_at.map_or(0.0, |at| line.time.duration_since(at).as_secs_f64());
    let Some((local, remote)) = ends(line) else { return what };
    let remote = remote.map(|remote| format!(" to {remote}")).unwrap_or_default();
    format!("{seconds:+.6} s: {what} {local}{remote}")
}
