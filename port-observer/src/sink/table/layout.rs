//! Which columns stand side by side, and how wide; pure arithmetic.

/// A column, in the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Time,
    Event,
    Protocol,
    Local,
    Remote,
    Pid,
    Process,
    Container,
    Detail,
}

impl Column {
    pub(super) const ALL: [Self; 9] = [
        Self::Time,
        Self::Event,
        Self::Protocol,
        Self::Local,
        Self::Remote,
        Self::Pid,
        Self::Process,
        Self::Container,
        Self::Detail,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Time => "TIME",
            Self::Event => "EVENT",
            Self::Protocol => "PROTO",
            Self::Local => "LOCAL",
            Self::Remote => "REMOTE",
            Self::Pid => "PID",
            Self::Process => "PROCESS",
            Self::Container => "CONTAINER",
            Self::Detail => "DETAIL",
        }
    }
}

/// The widths that addresses with ports are given: 10.0.0.1:40000, any IPv4, most IPv6, any.
const ADDRESS_WIDTHS: [usize; 4] = [15, 21, 30, 47];
/// The least that is worth a column of its own.
const DETAIL_MIN: usize = 30;
const PROCESS_MIN: usize = 8;
const PROCESS_WIDTH: usize = 15;
const CONTAINER_WIDTH: usize = 20;
/// What falls below starts under the event.
pub(super) const INDENT: usize = 13;

/// How wide the addresses have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) local: usize,
    pub(super) remote: usize,
}

impl Addresses {
    /// As wide as an address, in steps, so that the table is seldom laid out anew.
    pub(super) fn new(local: usize, remote: usize) -> Self {
        let step = |width| ADDRESS_WIDTHS.into_iter().find(|step| *step >= width).unwrap_or(width);
        Self { local: step(local), remote: step(remote) }
    }

    /// Both as wide as the wider.
    pub(super) fn max(self, other: Self) -> Self {
        Self { local: self.local.max(other.local), remote: self.remote.max(other.remote) }
    }
}

/// Columns side by side; those that are not among them fall to a line below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Between two columns.
    pub(super) gap: usize,
    /// Column and width; none: as wide as its content.
    pub(super) beside: Vec<(Column, Option<usize>)>,
    /// The width of the screen, if there is one.
    pub(super) screen: Option<usize>,
}

impl Layout {
    /// The best layout for a screen so wide, or for no screen at all.
    pub(super) fn fit(screen: Option<usize>, addresses: Addresses) -> Self {
        let Some(width) = screen else {
            let widths = Column::ALL.map(|column| (column, wanted(column, addresses)));
            return Self { gap: 2, beside: widths.into(), screen };
        };
        let gap = if width >= 140 { 2 } else { 1 };
        let without_container = Column::ALL.into_iter().filter(|c| *c != Column::Container);
        let choices = [Column::ALL.to_vec(), without_container.collect()];
        let beside = choices
            .into_iter()
            .find_map(|columns| all_beside(&columns, width, gap, addresses))
            .unwrap_or_else(|| as_many_as_fit(width, gap, addresses));
        Self { gap, beside, screen }
    }

    /// Where a column starts and how wide it is, if it stands beside the others.
    pub(super) fn place(&self, wanted: Column) -> Option<(usize, Option<usize>)> {
        let mut start = 0;
        for &(column, width) in &self.beside {
            if column == wanted {
                return Some((start, width));
            }
            start += width.unwrap_or(0) + self.gap;
        }
        None
    }
}

/// How wide a column wants to be; the detail takes what is left.
fn wanted(column: Column, addresses: Addresses) -> Option<usize> {
    match column {
        Column::Time => Some(12),
        Column::Event => Some(9),
        Column::Protocol => Some(5),
        Column::Local => Some(addresses.local),
        Column::Remote => Some(addresses.remote),
        Column::Pid => Some(7),
        Column::Process => Some(PROCESS_WIDTH),
        Column::Container => Some(CONTAINER_WIDTH),
        Column::Detail => None,
    }
}

fn all_beside(
    columns: &[Column],
    screen: usize,
    gap: usize,
    addresses: Addresses,
) -> Option<Vec<(Column, Option<usize>)>> {
    let widths: usize = columns.iter().filter_map(|column| wanted(*column, addresses)).sum();
    let rest = screen.checked_sub(widths + gap * (columns.len() - 1))?;
    (rest >= DETAIL_MIN).then(|| {
        columns.iter().map(|column| (*column, wanted(*column, addresses).or(Some(rest)))).collect()
    })
}

fn as_many_as_fit(screen: usize, gap: usize, addresses: Addresses) -> Vec<(Column, Option<usize>)> {
    let mut beside = Vec::new();
    let mut used = 0;
    for column in Column::ALL {
        let rest = screen.saturating_sub(used);
        let width = match (column, wanted(column, addresses)) {
            (Column::Process, _) if rest >= PROCESS_MIN => rest.min(PROCESS_WIDTH),
            // Not before the detail, which says why.
            (Column::Process | Column::Container | Column::Detail, _) | (_, None) => break,
            // The time and the event stand first on the narrowest screen.
            (Column::Time | Column::Event, Some(width)) => width,
            (_, Some(width)) if width <= rest => width,
            (_, Some(_)) => break,
        };
        beside.push((column, Some(width)));
        used += width + gap;
    }
    beside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(layout: &Layout) -> Vec<Column> {
        layout.beside.iter().map(|(column, _)| *column).collect()
    }

    #[test]
    fn no_layout_is_wider_than_its_screen() {
        for screen in 22..400 {
            for (local, remote) in [(9, 9), (19, 15), (28, 21), (47, 47)] {
                let layout = Layout::fit(Some(screen), Addresses::new(local, remote));
                let widths: usize = layout.beside.iter().map(|(_, width)| width.unwrap()).sum();
                let total = widths + layout.gap * (layout.beside.len() - 1);
                assert!(total <= screen, "{screen}: {layout:?}");
            }
        }
    }

    #[test]
    fn a_wide_screen_has_all_columns_side_by_side() {
        let layout = Layout::fit(Some(160), Addresses::new(15, 15));
        assert_eq!(columns(&layout), Column::ALL);
    }

    #[test]
    fn a_narrower_one_puts_the_container_below_before_the_detail() {
        let layout = Layout::fit(Some(120), Addresses::new(15, 15));
        assert!(columns(&layout).contains(&Column::Detail));
        assert!(!columns(&layout).contains(&Column::Container));
    }

    #[test]
    fn eighty_columns_hold_everything_up_to_the_process() {
        let layout = Layout::fit(Some(80), Addresses::new(15, 15));
        assert_eq!(columns(&layout), Column::ALL[..7]);
    }

    #[test]
    fn without_a_screen_all_columns_stand_side_by_side() {
        let layout = Layout::fit(None, Addresses::new(47, 47));
        assert_eq!(columns(&layout), Column::ALL);
        assert_eq!(layout.place(Column::Event), Some((14, Some(9))));
    }
}
