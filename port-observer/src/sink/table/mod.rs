//! A table for people, aligned to the screen.

mod block;
mod colors;
pub mod failed;
mod fold;
mod layout;
mod overview;
mod pool;
mod render;
mod snapshot;
mod story;

use std::io::{self, BufWriter, Write};

use anstyle::Style;
use jiff::tz::TimeZone;

use self::colors::{level_style, style};
use self::fold::{Fold, Folded};
use self::layout::{Addresses, Column, Layout};
use self::overview::View;
use self::render::{below, header, row};
use self::story::Told;
use super::clock::LocalClock;
use crate::event::{Endpoint, Protocol};
use crate::process::Process;
use crate::report::{
    Body, Closing, EventType, Level, Port, Report, Sink, Space, SpaceKind, Summary,
};
use crate::words::{escape::escape, figures, namespaces::Names, refusals::Place, sentences};

/// The fewest lines between two headers.
const HEADER_EVERY_MIN: usize = 10;

/// What the table is seen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// The terminal on standard output; its size may change.
    Terminal,
    /// One of this size.
    Fixed {
        /// Characters in a line.
        columns: usize,
        /// Lines.
        rows: usize,
    },
    /// A file or a pipe: lines are as long as they need to be.
    None,
}

impl Screen {
    fn size(self) -> Option<(usize, usize)> {
        match self {
            Self::Terminal => Some(terminal_size::terminal_size().map_or(
                (80, 24),
                |(terminal_size::Width(columns), terminal_size::Height(rows))| {
                    (columns.into(), rows.into())
                },
            )),
            Self::Fixed { columns, rows } => Some((columns, rows)),
            Self::None => None,
        }
    }
}

/// How the table looks.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether events are coloured. Nothing is told by colour alone.
    pub color: bool,
    /// What it is seen on.
    pub screen: Screen,
    /// Of the times shown.
    pub time_zone: TimeZone,
    /// The network namespace that need not be named; none: no namespace is.
    pub home_netns: Option<u32>,
}

/// Writes the table.
#[derive(Debug)]
pub struct Table<W: Write> {
    out: BufWriter<W>,
    options: Options,
    clock: LocalClock,
    size: Option<(usize, usize)>,
    layout: Layout,
    /// What the layout has room for.
    addresses: Addresses,
    /// The widest since the last header.
    widest: Addresses,
    /// Lines since the last header; none: there was no header yet.
    lines: Option<usize>,
    told: Told,
    fold: Fold,
    /// What network namespaces are called.
    names: Names,
}

/// A line of the table, before it has a layout.
struct Row<'a> {
    time_ns: u64,
    event: EventType,
    style: Style,
    netns: u32,
    /// `None`: any.
    protocol: Option<Protocol>,
    local: String,
    remote: String,
    process: Option<&'a Process>,
    detail: String,
}

impl<W: Write> Table<W> {
    /// Writes to `out`, in few and large pieces.
    pub fn new(out: W, options: Options) -> Self {
        let size = options.screen.size();
        // In a file a header can't follow the width, so that there all IPv4 fits from the start.
        let addresses = if size.is_some() { Addresses::new(0, 0) } else { Addresses::new(21, 21) };
        Self {
            out: BufWriter::new(out),
            clock: LocalClock::new(options.time_zone.clone()),
            size,
            layout: Layout::fit(size.map(|(columns, _)| columns), addresses),
            addresses,
            widest: Addresses::new(0, 0),
            lines: None,
            told: Told::default(),
            fold: Fold::default(),
            names: Names::default(),
            options,
        }
    }

    /// Whether a network namespace is another than the observer's, where that is to be said.
    fn is_elsewhere(&self, netns: u32) -> bool {
        self.options.home_netns.is_some_and(|home| home != netns)
    }

    fn port_line(&mut self, report: &Report, port: &Port) -> io::Result<()> {
        let address =
            |endpoint: Option<Endpoint>| endpoint.map_or("-".to_owned(), |e| e.to_string());
        // Which namespace it is stands beside.
        let place = if self.is_elsewhere(port.netns) { Place::Namespace } else { Place::Here };
        let mut detail = sentences::detail(&report.body, place);
        let story = match &report.body {
            Body::Exhausted { story: Some(story), .. } => Some(story),
            _ => None,
        };
        let due = story.filter(|story| self.told.is_due(&story.space, report.time_ns));
        if story.is_some() && due.is_none() {
            detail.push_str(", see above");
        }
        let event = report.body.event_type();
        self.row(Row {
            time_ns: report.time_ns,
            event,
            style: style(event),
            netns: port.netns,
            protocol: Some(port.protocol),
            local: address(port.local),
            remote: address(port.remote),
            process: port.caller.as_ref().map(|caller| caller.process.as_ref()),
            detail,
        })?;
        if let Some(story) = due {
            return self.below(story::lines(story));
        }
        let change = story::change(&report.body);
        let key = (port.netns, port.protocol, port.local, port.remote);
        if change.is_empty() || !self.told.is_port_due(key, report.time_ns) {
            return Ok(());
        }
        // A program that tries many ports is told once what to change.
        if !self.told.is_change_due(change.join("\n"), report.time_ns) {
            return Ok(());
        }
        self.below(change)
    }

    /// Lines that were held back, by how many.
    fn folded(&mut self, folded: Vec<Folded>) -> io::Result<()> {
        let address =
            |endpoint: Option<Endpoint>| endpoint.map_or("-".to_owned(), |e| e.to_string());
        for Folded { port, time_ns, event, count, is_differing } in folded {
            let ends = if is_differing { (None, None) } else { (port.local, port.remote) };
            self.row(Row {
                time_ns,
                event,
                style: style(event),
                netns: port.netns,
                protocol: Some(port.protocol),
                local: address(ends.0),
                remote: address(ends.1),
                process: port.caller.as_ref().map(|caller| caller.process.as_ref()),
                detail: sentences::more_like_it(count, is_differing),
            })?;
        }
        Ok(())
    }

    fn threshold_line(&mut self, report: &Report, space: &Space, level: Level) -> io::Result<()> {
        let (local, remote) = match space.kind {
            SpaceKind::Connect { source, destination } => (source, destination.to_string()),
            SpaceKind::Bind { address } => (address, "-".to_owned()),
        };
        self.row(Row {
            time_ns: report.time_ns,
            event: EventType::Threshold,
            style: level_style(level),
            netns: space.netns,
            protocol: Some(space.protocol),
            local: local.to_canonical().to_string(),
            remote,
            process: None,
            detail: sentences::detail(&report.body, Place::Here),
        })
    }

    fn row(&mut self, of: Row<'_>) -> io::Result<()> {
        let Row { local, remote, process, mut detail, .. } = of;
        self.make_room(Addresses::new(local.len(), remote.len()))?;

        let pid = process.map_or("-".to_owned(), |process| process.pid.to_string());
        let name = process.map(|process| escape(&process.name)).filter(|name| !name.is_empty());
        let name = name.unwrap_or("-".into());
        let container = process.and_then(|process| process.container.as_ref());
        let container =
            container.map_or("".into(), |container| escape(figures::container_name(container)));
        if let Some(exec_name) = process.and_then(|process| process.exec_name.as_deref()) {
            detail.push_str(&format!(", program {}", escape(exec_name)));
        }
        if self.is_elsewhere(of.netns) {
            detail.push_str(&format!(", netns {}", self.names.of(of.netns)));
        }
        if self.layout.place(Column::Container).is_none() && !container.is_empty() {
            detail.push_str(&format!(", container {container}"));
        }
        let time = self.clock.format(of.time_ns);
        let cells = Column::ALL.map(|column| match column {
            Column::Time => time,
            Column::Event => of.event.short_name(),
            Column::Protocol => of.protocol.map_or("-", Protocol::name),
            Column::Local => &local,
            Column::Remote => &remote,
            Column::Pid => &pid,
            Column::Process => &name,
            Column::Container => &container,
            Column::Detail => &detail,
        });
        let style = if self.options.color { of.style } else { Style::new() };
        let (text, lines) = row(&self.layout, &cells, style);
        self.lines = self.lines.map(|before| before + lines);
        self.out.write_all(text.as_bytes())
    }

    /// Below the row that it is about, under its event.
    fn below(&mut self, lines: Vec<String>) -> io::Result<()> {
        let indent = self.layout.place(Column::Event).map_or(0, |(start, _)| start);
        for line in lines {
            for line in below(&line, indent, self.layout.screen) {
                self.plain_line(&line, Style::new())?;
            }
        }
        Ok(())
    }

    fn view(&self) -> View<'_> {
        let screen = self.size.map(|(columns, _)| columns);
        View { screen, home_netns: self.options.home_netns, names: &self.names }
    }

    fn summary(&mut self, time_ns: u64, summary: &Summary) -> io::Result<()> {
        let gap = " ".repeat(self.layout.gap);
        let title = format!("{}{gap}summary", self.clock.format(time_ns));
        self.plain_line(&title, Style::new().bold())?;
        let lines = overview::summary(summary, self.view());
        lines.iter().try_for_each(|line| self.plain_line(line, Style::new()))
    }

    /// Lays the table out for the widest address so far, and writes a header where one is due.
    fn make_room(&mut self, needed: Addresses) -> io::Result<()> {
        let screen = self.size.map(|(columns, _)| columns);
        let every =
            self.size.map_or(usize::MAX, |(_, rows)| rows.saturating_sub(2).max(HEADER_EVERY_MIN));
        let due = self.lines.is_none_or(|lines| lines >= every);
        let wanted = if due && screen.is_some() {
            // A fresh screen forgets what the one before had to have room for.
            std::mem::replace(&mut self.widest, needed).max(needed)
        } else {
            self.widest = self.widest.max(needed);
            self.addresses.max(needed)
        };
        let changed = wanted != self.addresses || screen != self.layout.screen;
        if changed {
            self.addresses = wanted;
            self.layout = Layout::fit(screen, wanted);
        }
        if due || (changed && screen.is_some()) {
            let style = if self.options.color { Style::new().bold() } else { Style::new() };
            let (text, _) = header(&self.layout, style);
            self.lines = Some(0);
            self.out.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    fn plain_line(&mut self, text: &str, style: Style) -> io::Result<()> {
        self.lines = self.lines.map(|lines| lines + 1);
        let style = if self.options.color { style } else { Style::new() };
        writeln!(self.out, "{style}{text}{style:#}")
    }
}

impl<W: Write + Send> Sink for Table<W> {
    fn set_offset(&mut self, offset_ns: i64) {
        self.clock.set_offset(offset_ns);
    }

    fn name(&mut self, netns: u32, names: &[String]) {
        self.names.set(netns, names);
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        // A file is to have every line.
        if self.size.is_some() {
            let is_last = matches!(report.body, Body::Stop(_));
            let due = if is_last { self.fold.rest() } else { self.fold.due(Some(report.time_ns)) };
            self.folded(due)?;
            if self.fold.holds_back(report.time_ns, &report.body) {
                return Ok(());
            }
        }
        match &report.body {
            Body::Start(start) => sentences::start(start, &self.names)
                .iter()
                .try_for_each(|line| self.plain_line(line, Style::new())),
            Body::Stop(stop) => self.plain_line(&sentences::stop(stop), Style::new().bold()),
            Body::Lost { count, place, kind, caller } => {
                let time = self.clock.format(report.time_ns);
                let text = sentences::lost(*count, *place, *kind, caller.as_ref());
                let gap = " ".repeat(self.layout.gap);
                let text = format!("{time}{gap}{:9}{gap}{text}", "LOST");
                self.plain_line(&text, style(EventType::Lost))
            }
            Body::Threshold { space, level } => self.threshold_line(report, space, *level),
            Body::Pool(of) => self.pool_line(report, of),
            Body::Summary(summary) => self.summary(report.time_ns, summary),
            body => match body.port() {
                Some(port) => self.port_line(report, port),
                None => Ok(()),
            },
        }
    }

    /// On a screen only: a file has all of it in its lines.
    fn closing(&mut self, closing: &Closing) -> io::Result<()> {
        if self.size.is_none() {
            return Ok(());
        }
        for (title, lines) in overview::closing(closing, self.view()) {
            self.plain_line("", Style::new())?;
            self.plain_line(&title, Style::new().bold())?;
            lines.iter().try_for_each(|line| self.plain_line(line, Style::new()))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let due = self.fold.due(None);
        self.folded(due)?;
        self.size = self.options.screen.size();
        self.out.flush()
    }
}
