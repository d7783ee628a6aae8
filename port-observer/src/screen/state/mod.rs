//! What the screen is about: which view, which rows, what is looked at closely, and what a key
//! changes. Knows nothing of how it is drawn.

mod activity;
mod failures;
mod input;
mod keys;
mod list;
mod picture;
mod rows;
mod timeline;

pub use activity::{Activity, ProcessActivity, ProcessKey, SpaceActivity, key_of, second};
pub use failures::{FailedCall, Failures};
pub use keys::{Binding, Command, Key, When, bindings, command};
pub use list::{Cursor, Move};
pub use picture::{
    BAR_SECONDS, BARS, Close, Detail, Header, Picture, PortMap, ProcessRow, Question, SpaceRow,
    focus,
};
pub use rows::{FailureColumn, Needle, PoolColumn, ProcessColumn, Sort, SpaceColumn};

use std::sync::Arc;

use crate::{
    event::Protocol,
    ledger::SpaceKey,
    ports::PortRange,
    report::{NamespaceUse, PoolLook},
};

/// A view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Who holds ports.
    #[default]
    Processes,
    /// How full spaces are.
    Destinations,
    /// Calls that failed.
    Failures,
    /// The ports of a range.
    Ports,
    /// Declared pools, where there are some.
    Pools,
}

impl View {
    /// In the order of their keys.
    pub const ALL: [Self; 5] =
        [Self::Processes, Self::Destinations, Self::Failures, Self::Ports, Self::Pools];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Destinations => "destinations",
            Self::Failures => "failures",
            Self::Ports => "ports",
            Self::Pools => "pools",
        }
    }

    /// Its place among them.
    pub fn number(self) -> usize {
        Self::ALL.iter().position(|view| *view == self).unwrap_or(0)
    }
}

/// What takes the keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Mode {
    /// The view.
    #[default]
    View,
    /// A filter is typed; what it was before.
    Filter(String),
    /// A namespace is chosen; the place of the cursor, 0 for all of them.
    Namespaces(usize),
    /// Something is looked at closely; the first line that is shown.
    Detail(Close, usize),
    /// The help; the first line that is shown.
    Help(usize),
}

/// What is to be done beside drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Draw,
    /// The ledger is to be asked.
    Ask,
    /// The picture is to be whole, for it is held still from now on; or is to move again.
    Pause,
    /// Everything is to be drawn anew.
    Redraw,
    /// The terminal is handed back for a while.
    Suspend,
    /// The end.
    Quit,
    /// A step through a recording.
    Step(isize),
    /// To a failure of a recording.
    Jump(isize),
}

/// How much the screen has room for: what a move by a screen, or to the side, means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Rows of the list.
    pub rows: usize,
    /// How many lines of what is open are out of sight.
    pub hidden_lines: usize,
    /// Cells beside each other in the map of ports.
    pub columns: usize,
    /// How many ports each stands for.
    pub ports_per_cell: u32,
}

/// Where a recording is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Replay {
    /// When it begins and ends, nanoseconds since 1970.
    pub span_ns: (i64, i64),
    /// What is shown, nanoseconds since 1970.
    pub at_ns: i64,
    /// It is still being read up to that; what is shown is of before.
    pub is_read: bool,
}

/// The whole state.
#[derive(Clone, Debug)]
pub struct State {
    /// What is shown.
    pub picture: Picture,
    /// Of a recording, where it is.
    pub replay: Option<Replay>,
    /// Something to be told beside.
    pub notice: Option<String>,
    view: View,
    mode: Mode,
    netns: Option<u32>,
    protocol: Protocol,
    filter: String,
    is_paused: bool,
    room: Room,
    processes: (Cursor<ProcessKey>, Sort<ProcessColumn>),
    spaces: (Cursor<SpaceKey>, Sort<SpaceColumn>),
    failures: (Cursor<u64>, Sort<FailureColumn>),
    pools: (Cursor<usize>, Sort<PoolColumn>),
    /// Pools are watched.
    has_pools: bool,
    /// The port that the cursor of the map is on; `None`: the first.
    port: Option<u16>,
}

impl Default for Room {
    fn default() -> Self {
        Self { rows: 1, hidden_lines: 0, columns: 1, ports_per_cell: 1 }
    }
}

impl State {
    /// The first view that is shown, and the only namespace that is looked at, if there is one.
    pub fn new(view: View, netns: Option<u32>) -> Self {
        Self {
            picture: Picture::default(),
            replay: None,
            notice: None,
            view,
            mode: Mode::View,
            netns,
            protocol: Protocol::Tcp,
            filter: String::new(),
            is_paused: false,
            room: Room::default(),
            processes: (Cursor::default(), Sort::new(ProcessColumn::Held)),
            spaces: (Cursor::default(), Sort::new(SpaceColumn::Used)),
            failures: (Cursor::default(), Sort::new(FailureColumn::Time)),
            pools: (Cursor::default(), Sort::new(PoolColumn::Used)),
            has_pools: false,
            port: None,
        }
    }

    /// Pools are watched: they have a view.
    pub fn show_pools(&mut self) {
        self.has_pools = true;
    }

    /// The views that there are, in the order of their keys.
    pub fn views(&self) -> &'static [View] {
        let count = View::ALL.len() - usize::from(!self.has_pools);
        &View::ALL[..count]
    }

    /// Which view is shown.
    pub fn view(&self) -> View {
        self.view
    }

    /// What takes the keys.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// The only namespace that is shown; `None`: all are.
    pub fn netns(&self) -> Option<u32> {
        self.netns
    }

    /// The namespace that the header and the map of ports are about.
    pub fn focus(&self) -> Option<&NamespaceUse> {
        focus(&self.picture.namespaces, self.netns)
    }

    /// The protocol of the map of ports.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What rows are to have in them.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The same, to be looked for.
    pub fn needle(&self) -> Needle {
        Needle::new(&self.filter)
    }

    /// The picture is held still, or the recording is.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Holds it still, or not.
    pub fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// What the screen has room for.
    pub fn set_room(&mut self, room: Room) {
        self.room = room;
        if let Mode::Detail(_, line) | Mode::Help(line) = &mut self.mode {
            *line = (*line).min(room.hidden_lines);
        }
    }

    /// What is to be asked for: what is shown, or all views.
    pub fn question(&self, all: bool) -> Question {
        let views = if all { self.views().to_vec() } else { vec![self.view] };
        let close = match self.mode {
            Mode::Detail(close, _) => Some(close),
            _ => None,
        };
        Question { netns: self.netns, views, protocol: self.protocol, close }
    }

    /// The processes as they are listed, the cursor's place and the column that they are sorted by.
    pub fn processes(&self) -> (Vec<&ProcessRow>, usize, Sort<ProcessColumn>) {
        let (cursor, sort) = self.processes;
        let rows = rows::processes(&self.picture, &self.needle(), sort);
        let at = cursor.index(rows.iter().map(|row| row.key()));
        (rows, at, sort)
    }

    /// The same of the destinations.
    pub fn spaces(&self) -> (Vec<&SpaceRow>, usize, Sort<SpaceColumn>) {
        let (cursor, sort) = self.spaces;
        let rows = rows::spaces(&self.picture, &self.needle(), sort);
        let at = cursor.index(rows.iter().map(|row| row.key()));
        (rows, at, sort)
    }

    /// The same of the failures.
    pub fn failures(&self) -> (Vec<&Arc<FailedCall>>, usize, Sort<FailureColumn>) {
        let (cursor, sort) = self.failures;
        let rows = rows::failures(&self.picture, &self.needle(), sort);
        let at = cursor.index(rows.iter().map(|row| row.number));
        (rows, at, sort)
    }

    /// The same of the pools, each with its number.
    pub fn pools(&self) -> (Vec<(usize, &PoolLook)>, usize, Sort<PoolColumn>) {
        let (cursor, sort) = self.pools;
        let rows = rows::pools(&self.picture, &self.needle(), self.netns, sort);
        let at = cursor.index(rows.iter().map(|(number, _)| *number));
        (rows, at, sort)
    }

    /// The ports of the map, if they are known, and the one that the cursor is on.
    pub fn port(&self) -> Option<(PortRange, u16)> {
        let range = self.picture.ports.ports.as_ref()?.ephemeral;
        let port = self.port.unwrap_or(range.min).clamp(range.min, range.max);
        Some((range, port))
    }

    /// The ports of the cell that the cursor is on.
    pub fn cell(&self) -> Option<PortRange> {
        let (range, port) = self.port()?;
        let per_cell = self.room.ports_per_cell.max(1);
        let first = u32::from(range.min) + u32::from(port - range.min) / per_cell * per_cell;
        let last = (first + per_cell - 1).min(range.max.into());
        Some(PortRange { min: u16::try_from(first).ok()?, max: u16::try_from(last).ok()? })
    }
}
