//! Which key does what: the one table that the footer and the help are made from.

/// A key, or what a mouse did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// With Ctrl.
    Ctrl(char),
    /// An arrow.
    Up,
    /// An arrow.
    Down,
    /// An arrow.
    Left,
    /// An arrow.
    Right,
    /// A screen up.
    PageUp,
    /// A screen down.
    PageDown,
    /// To the first.
    Home,
    /// To the last.
    End,
    /// Enter
    Enter,
    /// Escape
    Escape,
    /// Tab
    Tab,
    /// Shift and Tab
    BackTab,
    /// Backspace
    Backspace,
    /// The mouse clicked on what is at this place of the list.
    Row(usize),
    /// The mouse clicked on the name of a view.
    View(usize),
    /// The wheel, up or down.
    Wheel(isize),
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Shows a view.
    View(usize),
    /// The next or the one before.
    Turn(isize),
    /// Moves the cursor by rows.
    Rows(isize),
    /// Moves the cursor sideways.
    Columns(isize),
    /// Moves it by screens.
    Pages(isize),
    /// To the first row.
    First,
    /// To the last row.
    Last,
    /// Looks closely.
    Open,
    /// Goes back.
    Back,
    /// Begins to type a filter.
    Filter,
    /// Sorts by another column.
    Sort,
    /// Sorts the other way round.
    Reverse,
    /// Chooses a network namespace.
    Namespace,
    /// TCP or UDP.
    Protocol,
    /// Holds the picture still.
    Pause,
    /// Shows the help.
    Help,
    /// Ends.
    Quit,
    /// Hands the terminal back for a while.
    Suspend,
    /// Draws everything anew.
    Redraw,
    /// A step through a recording.
    Step(isize),
    /// To a failure of a recording.
    Jump(isize),
}

/// Where a key is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// Watching the kernel.
    Live,
    /// Reading a recording.
    Replay,
}

/// One line of the help.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The keys, each with what it does.
    pub keys: &'static [(Key, Command)],
    /// How they are written.
    pub label: &'static str,
    /// What they do.
    pub text: &'static str,
    /// The same in a word, for the footer; empty: it stands in the help alone.
    pub short: &'static str,
    /// When they do it.
    pub when: When,
}

/// All of them; those first that the footer, which may be short, must not be without.
pub const BINDINGS: &[Binding] = &[
    Binding {
        keys: &[(Key::Char('?'), Command::Help)],
        label: "?",
        text: "this help",
        short: "help",
        when: When::Always,
    },
    Binding {
        keys: &[(Key::Char('q'), Command::Quit), (Key::Ctrl('c'), Command::Quit)],
        label: "q",
        text: "quit; so does Ctrl-C",
        short: "quit",
        when: When::Always,
    },
    Binding {
        keys: &[(Key::Enter, Command::Open)],
        label: "Enter",
        text: "look closely: who holds it, why, and what would help",
        short: "detail",
        when: When::Always,
    },
    Binding {
        keys: &[(Key::Char(' '), Command::Pause)],
        label: "Space",
        text: "hold the screen still and go on; nothing is missed meanwhile",
        short: "pause",
        when: When::Live,
    },
    Binding {
        keys: &[(Key::Char(' '), Command::Pause)],
        label: "Space",
        text: "play the recording, and stop it",
        short: "play",
        when: When::Replay,
    },
    Binding {
        keys: &[(Key::Char('['), Command::Step(-1)), (Key::Char(']'), Command::Step(1))],
        label: "[ ]",
        text: "step back and forward (--every)",
        short: "step",
        when: When::Replay,
    },
    Binding {
        keys: &[(Key::Char('{'), Command::Jump(-1)), (Key::Char('}'), Command::Jump(1))],
        label: "{ }",
        text: "to the failure before, to the next",
        short: "failure",
        when: When::Replay,
    },
    Binding {
        keys: &[(Key::Char('/'), Command::Filter)],
        label: "/",
        text: "filter by a part of a name, number or address; of ports, a number goes there",
        short: "filter",
        when: When::Always,
    },
    Binding {
        keys: &[(Key::Char('s'), Command::Sort), (Key::Char('S'), Command::Reverse)],
        label: "s S",
        text: "sort by the next column; the other way round",
        short: "sort",
        when: When::Always,
    },
    Binding {
        keys: &[(Key::Char('n'), Command::Namespace)],
        label: "n",
        text: "choose a network namespace",
        short: "netns",
        when: When::Always,
    },
    Binding {
        keys: &[
            (Key::Char('1'), Command::View(0)),
            (Key::Char('2'), Command::View(1)),
            (Key::Char('3'), Command::View(2)),
            (Key::Char('4'), Command::View(3)),
            (Key::Char('5'), Command::View(4)),
            (Key::Tab, Command::Turn(1)),
            (Key::BackTab, Command::Turn(-1)),
        ],
        label: "1-5 Tab",
        text: "the views: processes, destinations, failures, ports, and with --pools pools",
        short: "",
        when: When::Always,
    },
    Binding {
        keys: &[
            (Key::Up, Command::Rows(-1)),
            (Key::Down, Command::Rows(1)),
            (Key::Char('k'), Command::Rows(-1)),
            (Key::Char('j'), Command::Rows(1)),
            (Key::Wheel(-1), Command::Rows(-3)),
            (Key::Wheel(1), Command::Rows(3)),
            (Key::Left, Command::Columns(-1)),
            (Key::Right, Command::Columns(1)),
            (Key::Char('h'), Command::Columns(-1)),
            (Key::Char('l'), Command::Columns(1)),
        ],
        label: "arrows hjkl",
        text: "move the cursor; so do the wheel and a click",
        short: "",
        when: When::Always,
    },
    Binding {
        keys: &[
            (Key::PageUp, Command::Pages(-1)),
            (Key::PageDown, Command::Pages(1)),
            (Key::Home, Command::First),
            (Key::End, Command::Last),
            (Key::Char('g'), Command::First),
            (Key::Char('G'), Command::Last),
        ],
        label: "PgUp PgDn g G",
        text: "by a screen; to the first row, to the last",
        short: "",
        when: When::Always,
    },
    Binding {
        keys: &[(Key::Escape, Command::Back)],
        label: "Esc",
        text: "back; without anything open, clears the filter",
        short: "",
        when: When::Always,
    },
    Binding {
        keys: &[(Key::Char('u'), Command::Protocol)],
        label: "u",
        text: "the map of ports: UDP or TCP",
        short: "",
        when: When::Always,
    },
    Binding {
        keys: &[(Key::Ctrl('z'), Command::Suspend), (Key::Ctrl('l'), Command::Redraw)],
        label: "Ctrl-Z Ctrl-L",
        text: "to the shell, and back with fg; draw everything anew",
        short: "",
        when: When::Always,
    },
];

/// The lines of the help that are of use.
pub fn bindings(is_replay: bool) -> impl Iterator<Item = &'static Binding> {
    let out = if is_replay { When::Live } else { When::Replay };
    BINDINGS.iter().filter(move |binding| binding.when != out)
}

/// What a key does.
pub fn command(key: Key, is_replay: bool) -> Option<Command> {
    if let Key::View(view) = key {
        return Some(Command::View(view));
    }
    let mut keys = bindings(is_replay).flat_map(|binding| binding.keys);
    keys.find(|(bound, _)| *bound == key).map(|(_, command)| *command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_does_two_things() {
        for is_replay in [false, true] {
            let keys = || bindings(is_replay).flat_map(|binding| binding.keys);
            for (key, _) in keys() {
                assert_eq!(keys().filter(|(other, _)| other == key).count(), 1, "{key:?}");
            }
        }
    }

    #[test]
    fn only_a_recording_is_stepped_through() {
        assert_eq!(command(Key::Char(']'), false), None);
        assert_eq!(command(Key::Char(']'), true), Some(Command::Step(1)));
        assert_eq!(command(Key::Char('}'), true), Some(Command::Jump(1)));
    }
}
