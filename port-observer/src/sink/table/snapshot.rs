//! What was looked at once, for people.

use std::io::{self, Write};

use anstyle::Style;

use super::Table;
use super::block::{self, Align};
use super::overview::{self, View};
use crate::report::{Holding, Sink as _, Snapshot, Sources};
use crate::words::{escape::escape, figures::holder, sentences::standing};

/// Under the title that it belongs to.
const INDENT: usize = 2;

impl<W: Write + Send> Table<W> {
    /// Writes it whole; of a question about certain ports, the answer alone.
    ///
    /// # Errors
    /// Writing failed; `BrokenPipe` says that the reader has left.
    pub fn snapshot(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        for namespace in &snapshot.summary.namespaces {
            self.names.set(namespace.netns, &namespace.names);
        }
        let time = self.clock.format(snapshot.time_ns).to_owned();
        let (host, kernel) = (escape(&snapshot.host), escape(&snapshot.kernel));
        self.plain_line(&format!("{host} (Linux {kernel}) at {time}"), Style::new())?;
        let Sources { sockets, processes } = snapshot.sources;
        let processes = processes.map_or_else(String::new, |from| format!(", processes {from}"));
        self.plain_line(&format!("  from: sockets {sockets}{processes}"), Style::new())?;
        for missing in &snapshot.missing {
            self.plain_line(&format!("  missing: {}", escape(missing)), Style::new())?;
        }
        if snapshot.asked.is_none() {
            for (title, lines) in overview::sections(&snapshot.summary, self.view()) {
                self.section(&title, &lines)?;
            }
        }
        if let Some(holdings) = &snapshot.holdings {
            let title = match (&snapshot.asked, holdings.len()) {
                (None, 0) => "Holdings: none".to_owned(),
                (None, count) => format!("Holdings ({count})"),
                (Some(ports), 0) => format!("Nobody is seen to hold {ports}"),
                (Some(ports), _) => format!("Who holds {ports}"),
            };
            self.section(&title, &holdings_block(holdings, self.view()))?;
        }
        self.flush()
    }

    fn section(&mut self, title: &str, lines: &[String]) -> io::Result<()> {
        self.plain_line("", Style::new())?;
        self.plain_line(title, Style::new().bold())?;
        lines.iter().try_for_each(|line| self.plain_line(line, Style::new()))
    }
}

fn holdings_block(holdings: &[Holding], view: View<'_>) -> Vec<String> {
    if holdings.is_empty() {
        return Vec::new();
    }
    let titles = [
        ("PROTO", Align::Left),
        ("STATE", Align::Left),
        ("PID", Align::Right),
        ("PROCESS", Align::Left),
        ("LOCAL → REMOTE", Align::Left),
    ];
    let row = |of: &Holding| {
        let port = &of.port;
        let (pid, name) = holder(port.caller.as_ref().map(|caller| &*caller.process));
        let mut place = port.local.map_or_else(|| "-".to_owned(), |local| local.to_string());
        if let Some(remote) = port.remote {
            place.push_str(&format!(" → {remote}"));
        }
        if view.home_netns.is_some_and(|home| home != port.netns) {
            place.push_str(&format!(", netns {}", view.names.of(port.netns)));
        }
        [port.protocol.name().to_owned(), standing(port, of.state).to_owned(), pid, name, place]
    };
    block::lines(titles, &holdings.iter().map(row).collect::<Vec<_>>(), INDENT, view.screen)
}
