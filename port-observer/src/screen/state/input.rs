//! What a key changes.

use super::{
    Action, Close, Command, FailureColumn, Key, Mode, Move, PoolColumn, ProcessColumn, SpaceColumn,
    State, View, command,
};
use crate::{event::Protocol, ports::PortRange};

impl State {
    /// Takes a key.
    pub fn key(&mut self, key: Key) -> Action {
        if matches!(self.mode, Mode::Filter(_)) && key != Key::Ctrl('c') && key != Key::Ctrl('z') {
            return self.type_filter(key);
        }
        match command(key, self.replay.is_some()) {
            Some(command) => self.command(command),
            None => match key {
                Key::Row(row) => self.click(row),
                _ => Action::Draw,
            },
        }
    }

    fn type_filter(&mut self, key: Key) -> Action {
        match key {
            Key::Char(c) => self.filter.push(c),
            Key::Backspace => drop(self.filter.pop()),
            Key::Enter => self.mode = Mode::View,
            Key::Escape => {
                if let Mode::Filter(before) = std::mem::take(&mut self.mode) {
                    self.filter = before;
                }
            }
            _ => {}
        }
        // A port's number is where to go.
        if self.view == View::Ports
            && let Ok(port) = self.filter.parse()
        {
            self.port = Some(port);
        }
        Action::Draw
    }

    fn command(&mut self, command: Command) -> Action {
        match command {
            Command::Quit => return Action::Quit,
            Command::Suspend => return Action::Suspend,
            Command::Redraw => return Action::Redraw,
            Command::Step(by) => return Action::Step(by),
            Command::Jump(by) => return Action::Jump(by),
            Command::Pause => {
                self.is_paused = !self.is_paused;
                return Action::Pause;
            }
            Command::View(number) => return self.show(number),
            Command::Turn(by) => {
                let count = self.views().len();
                let next = (self.view.number() + count).saturating_add_signed(by) % count;
                return self.show(next);
            }
            Command::Help => {
                self.mode = match self.mode {
                    Mode::Help(_) => Mode::View,
                    _ => Mode::Help(0),
                }
            }
            Command::Back => match self.mode {
                Mode::View => self.filter.clear(),
                _ => self.mode = Mode::View,
            },
            Command::Filter => self.mode = Mode::Filter(std::mem::take(&mut self.filter)),
            Command::Namespace => {
                let at = self.netns.and_then(|netns| {
                    self.picture.namespaces.iter().position(|known| known.netns == netns)
                });
                self.mode = Mode::Namespaces(at.map_or(0, |at| at + 1));
            }
            Command::Protocol => {
                self.protocol = match self.protocol {
                    Protocol::Tcp => Protocol::Udp,
                    Protocol::Udp => Protocol::Tcp,
                };
                return Action::Ask;
            }
            Command::Sort => match self.view {
                View::Processes => self.processes.1.next(&ProcessColumn::ALL),
                View::Destinations => self.spaces.1.next(&SpaceColumn::ALL),
                View::Failures => self.failures.1.next(&FailureColumn::ALL),
                View::Pools => self.pools.1.next(&PoolColumn::ALL),
                View::Ports => {}
            },
            Command::Reverse => {
                let is_reversed = match self.view {
                    View::Processes => &mut self.processes.1.is_reversed,
                    View::Destinations => &mut self.spaces.1.is_reversed,
                    View::Failures => &mut self.failures.1.is_reversed,
                    View::Pools => &mut self.pools.1.is_reversed,
                    View::Ports => return Action::Draw,
                };
                *is_reversed = !*is_reversed;
            }
            Command::Open => return self.open(),
            Command::Rows(by) => self.go(Move::By(by)),
            Command::Columns(by) => self.sideways(by),
            Command::Pages(by) => {
                let page = isize::try_from(self.room.rows.max(2) - 1).unwrap_or(1);
                self.go(Move::By(by * page));
            }
            Command::First => self.go(Move::To(0)),
            Command::Last => self.go(Move::End),
        }
        Action::Draw
    }

    fn show(&mut self, number: usize) -> Action {
        if let Some(view) = self.views().get(number) {
            self.view = *view;
            self.mode = Mode::View;
        }
        Action::Ask
    }

    fn go(&mut self, how: Move) {
        let count = self.picture.namespaces.len();
        let hidden = self.room.hidden_lines;
        match &mut self.mode {
            Mode::Namespaces(at) => return *at = moved(*at, how, count),
            Mode::Detail(_, line) | Mode::Help(line) => return *line = moved(*line, how, hidden),
            Mode::View | Mode::Filter(_) => {}
        }
        match self.view {
            View::Processes => {
                let keys: Vec<_> = self.processes().0.iter().map(|row| row.key()).collect();
                self.processes.0.go(&keys, how);
            }
            View::Destinations => {
                let keys: Vec<_> = self.spaces().0.iter().map(|row| row.key()).collect();
                self.spaces.0.go(&keys, how);
            }
            View::Failures => {
                let keys: Vec<_> = self.failures().0.iter().map(|row| row.number).collect();
                self.failures.0.go(&keys, how);
            }
            View::Pools => {
                let keys: Vec<_> = self.pools().0.iter().map(|(number, _)| *number).collect();
                self.pools.0.go(&keys, how);
            }
            View::Ports => self.go_port(how),
        }
    }

    fn go_port(&mut self, how: Move) {
        let Some((range, port)) = self.port() else { return };
        let columns = i64::try_from(self.room.columns).unwrap_or(1);
        let row = columns * i64::from(self.room.ports_per_cell);
        let to = match how {
            Move::By(by) => i64::from(port) + i64::try_from(by).unwrap_or(0) * row,
            Move::To(cell) => {
                let cell = i64::try_from(cell).unwrap_or(0);
                i64::from(range.min) + cell * i64::from(self.room.ports_per_cell)
            }
            Move::End => range.max.into(),
        };
        self.set_port(range, to);
    }

    fn sideways(&mut self, by: isize) {
        if self.view == View::Ports
            && self.mode == Mode::View
            && let Some((range, port)) = self.port()
        {
            let by = i64::try_from(by).unwrap_or(0) * i64::from(self.room.ports_per_cell);
            self.set_port(range, i64::from(port) + by);
        }
    }

    fn set_port(&mut self, range: PortRange, to: i64) {
        let to = to.clamp(range.min.into(), range.max.into());
        self.port = u16::try_from(to).ok();
    }

    fn click(&mut self, row: usize) -> Action {
        match &mut self.mode {
            Mode::Namespaces(at) => {
                *at = row.min(self.picture.namespaces.len());
                self.open()
            }
            Mode::View | Mode::Filter(_) => {
                self.go(Move::To(row));
                Action::Draw
            }
            Mode::Detail(..) | Mode::Help(_) => {
                self.mode = Mode::View;
                Action::Draw
            }
        }
    }

    fn open(&mut self) -> Action {
        match self.mode {
            Mode::Namespaces(at) => {
                let chosen = at.checked_sub(1).and_then(|at| self.picture.namespaces.get(at));
                self.netns = chosen.map(|namespace| namespace.netns);
                self.port = None;
                self.mode = Mode::View;
                return Action::Ask;
            }
            Mode::Detail(..) | Mode::Help(_) => {
                self.mode = Mode::View;
                return Action::Draw;
            }
            Mode::View | Mode::Filter(_) => {}
        }
        let close = match self.view {
            View::Processes => {
                let (rows, at, _) = self.processes();
                rows.get(at).map(|row| Close::Process(row.key()))
            }
            View::Destinations => {
                let (rows, at, _) = self.spaces();
                rows.get(at).map(|row| Close::Space(row.key()))
            }
            View::Failures => {
                let (rows, at, _) = self.failures();
                rows.get(at).map(|row| Close::Failure(row.number))
            }
            View::Pools => {
                let (rows, at, _) = self.pools();
                rows.get(at).map(|(number, _)| Close::Pool(*number))
            }
            View::Ports => self.cell().map(|cell| Close::Ports(cell.min, cell.max)),
        };
        let Some(close) = close else { return Action::Draw };
        self.picture.detail = None;
        self.mode = Mode::Detail(close, 0);
        Action::Ask
    }
}

fn moved(at: usize, how: Move, last: usize) -> usize {
    let to = match how {
        Move::By(by) => at.saturating_add_signed(by),
        Move::To(to) => to,
        Move::End => last,
    };
    to.min(last)
}
