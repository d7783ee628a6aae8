//! What the terminal can show: colours, and characters beyond ASCII. Nothing is told by colour alone.

use jiff::tz::TimeZone;
use ratatui::style::{Color, Modifier, Style};

use crate::{
    report::Level,
    report::Standing,
    words::{figures::sparkline, times},
};

/// What may be drawn with.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Colours, the sixteen that every terminal has.
    pub color: bool,
    /// Characters beyond ASCII.
    pub unicode: bool,
    /// Of the times shown.
    pub time_zone: TimeZone,
}

/// What the port at a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortState {
    /// Nobody holds it.
    Free,
    /// A connection.
    Established,
    /// TIME_WAIT.
    TimeWait,
    /// A bind() or a listener.
    Bound,
    /// A connection that one side has closed.
    Other,
    /// Automatic choice passes it over.
    Reserved,
    /// Somebody holds it whom the filter leaves out.
    FilteredOut,
}

impl PortState {
    /// In the order of the legend.
    pub const ALL: [Self; 7] = [
        Self::Free,
        Self::Established,
        Self::TimeWait,
        Self::Bound,
        Self::Other,
        Self::Reserved,
        Self::FilteredOut,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Established => "estab",
            Self::TimeWait => "TIME_WAIT",
            Self::Bound => "bound",
            Self::Other => "other",
            Self::Reserved => "reserved",
            Self::FilteredOut => "rest",
        }
    }

    /// The letter that stands for it, in small.
    pub fn letter(self) -> char {
        match self {
            Self::Free => '.',
            Self::Established => 'e',
            Self::TimeWait => 't',
            Self::Bound => 'b',
            Self::Other => 'o',
            Self::Reserved => 'x',
            Self::FilteredOut => '-',
        }
    }
}

impl From<Standing> for PortState {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Established => Self::Established,
            Standing::TimeWait => Self::TimeWait,
            Standing::Bound | Standing::Listening => Self::Bound,
            Standing::SynSent | Standing::CloseWait | Standing::FinWait | Standing::Other => {
                Self::Other
            }
        }
    }
}

impl Look {
    fn colored(&self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// What is of less weight.
    pub fn quiet(&self) -> Style {
        self.colored(Color::DarkGray)
    }

    /// Titles.
    pub fn title(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The row that the cursor is on, and the view that is shown.
    pub fn selected(&self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What must not be overlooked.
    pub fn alarm(&self) -> Style {
        self.colored(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What is about to be one.
    pub fn warning(&self) -> Style {
        self.colored(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// How full something is.
    pub fn level(&self, level: Level) -> Style {
        match level {
            Level::Ok => self.colored(Color::Green),
            Level::Warning => self.warning(),
            Level::Critical => self.alarm(),
        }
    }

    /// What holds a port.
    pub fn port(&self, state: PortState) -> Style {
        match state {
            PortState::Free | PortState::FilteredOut => self.quiet(),
            PortState::Established => self.colored(Color::Green),
            PortState::TimeWait => self.colored(Color::Yellow),
            PortState::Bound => self.colored(Color::Magenta),
            PortState::Other => self.colored(Color::Cyan),
            PortState::Reserved => self.colored(Color::Blue),
        }
    }

    /// A bar so many cells wide, so full.
    pub fn bar(&self, width: usize, part: f64) -> String {
        const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
        let part = part.clamp(0.0, 1.0);
        let steps = if self.unicode { 8 } else { 1 };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "between 0 and the width"
        )]
        // Full only when it is, and something when there is something.
        let filled = match (part * (width * steps) as f64) as usize {
            0 if part > 0.0 && width > 0 => 1,
            filled => filled,
        };
        let (full, empty) = if self.unicode { ('█', '░') } else { ('#', '.') };
        let mut bar: String = std::iter::repeat_n(full, filled / steps).collect();
        if filled % steps > 0 {
            bar.push(EIGHTHS[filled % steps]);
        }
        let rest = width - filled.div_ceil(steps);
        bar.extend(std::iter::repeat_n(empty, rest));
        bar
    }

    /// Heights beside each other, the highest of them as high as can be.
    pub fn sparkline(&self, bars: &[u32]) -> String {
        let most = bars.iter().copied().max().unwrap_or(0);
        let samples: Vec<Option<u32>> = bars.iter().map(|bar| Some(*bar)).collect();
        self.text(&sparkline(&samples, most))
    }

    /// The time of day, to the second, of a time since boot.
    pub fn time_of_day(&self, time_ns: u64, offset_ns: i64) -> String {
        self.time(i128::from(time_ns) + i128::from(offset_ns), "%H:%M:%S")
    }

    /// The date and time, to the second, of a time since 1970.
    pub fn date_and_time(&self, time_ns: i64) -> String {
        self.time(time_ns.into(), "%Y-%m-%d %H:%M:%S")
    }

    fn time(&self, time_ns: i128, format: &str) -> String {
        times::local(time_ns, &self.time_zone, format)
    }

    /// Our own words, with what this terminal has in place of characters that it has not.
    pub fn text(&self, text: &str) -> String {
        if self.unicode || text.is_ascii() {
            return text.to_owned();
        }
        let plain = |c: char| match c {
            '→' => "->".to_owned(),
            '…' => "~".to_owned(),
            '×' => "x".to_owned(),
            'µ' => "u".to_owned(),
            '·' => " ".to_owned(),
            '▁' => "_".to_owned(),
            '▂' => ".".to_owned(),
            '▃' => ":".to_owned(),
            '▄' => "-".to_owned(),
            '▅' => "=".to_owned(),
            '▆' => "+".to_owned(),
            '▇' => "*".to_owned(),
            '█' => "#".to_owned(),
            c if c.is_ascii() => c.to_string(),
            c => c.escape_unicode().to_string(),
        };
        text.chars().map(plain).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Look = Look { color: false, unicode: false, time_zone: TimeZone::UTC };
    const RICH: Look = Look { color: true, unicode: true, time_zone: TimeZone::UTC };

    #[test]
    fn a_bar_is_full_only_when_all_is_used() {
        assert_eq!(PLAIN.bar(4, 0.0), "....");
        assert_eq!(PLAIN.bar(4, 0.001), "#...");
        assert_eq!(PLAIN.bar(4, 0.999), "###.");
        assert_eq!(PLAIN.bar(4, 1.0), "####");
        assert_eq!(RICH.bar(4, 0.5), "██░░");
        assert_eq!(RICH.bar(4, 0.999), "███▉");
        assert_eq!(RICH.bar(4, f64::NAN), "░░░░");
        assert_eq!(RICH.bar(0, 0.5), "");
    }

    #[test]
    fn without_unicode_all_is_ascii() {
        assert_eq!(PLAIN.text("10.0.0.2 → 12 µs…"), "10.0.0.2 -> 12 us~");
        assert_eq!(PLAIN.text("Zoë"), "Zo\\u{eb}");
        assert!(PLAIN.sparkline(&[0, 1, 2, 3, 4, 5, 6, 7]).is_ascii());
        assert_eq!(RICH.text("Zoë"), "Zoë");
    }

    #[test]
    fn without_colours_no_style_has_one() {
        for state in PortState::ALL {
            assert_eq!(PLAIN.port(state).fg, None);
        }
        assert_eq!(PLAIN.alarm().fg, None);
        assert_eq!(RICH.alarm().fg, Some(Color::Red));
    }
}
