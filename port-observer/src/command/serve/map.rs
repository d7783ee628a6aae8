//! The map of an ephemeral range, asked of the ledger.

use std::{cmp::Reverse, collections::HashMap};

use crate::{
    event::Protocol,
    ledger::{HeldPort, Ledger},
    ports::{PortRange, Ports},
    process::Process,
    report::Standing,
    serve::{Cell, CellHolder, RangeMap},
    sink::UtcClock,
    words::{escape::escape, figures::container_name},
};

/// How many names a cell has.
const NAMES: usize = 3;

/// The map of a network namespace and protocol in `most` cells or fewer; `None`: the range is not known.
pub(super) fn look(
    ledger: &mut Ledger,
    (netns, protocol): (u32, Protocol),
    most: u32,
    now_ns: u64,
    offset_ns: i64,
) -> Option<RangeMap> {
    // What has expired by now is free.
    ledger.advance(now_ns);
    let holdings = ledger.holdings();
    let ports = &holdings.settings_of(netns)?.ports;
    let held = holdings.held_ports(netns, protocol);
    let ports_per_cell = ports.ephemeral.count().div_ceil(most.max(1));
    let mut clock = UtcClock::default();
    clock.set_offset(offset_ns);
    Some(RangeMap {
        time: clock.format(now_ns).to_owned(),
        netns,
        protocol: protocol.name(),
        ports_per_cell,
        cells: cells(ports, held, ports_per_cell),
    })
}

/// The range in cells of so many ports, one or more. `held`: ports of it in any order, each once.
fn cells(ports: &Ports, mut held: Vec<HeldPort>, per_cell: u32) -> Vec<Cell> {
    held.sort_unstable_by_key(|held| held.port);
    let PortRange { min, max } = ports.ephemeral;
    let mut rest = &held[..];
    let step = usize::try_from(per_cell).unwrap_or(usize::MAX).max(1);
    let firsts = (min..=max).step_by(step);
    firsts
        .map(|first| {
            let last = u32::from(first).saturating_add(per_cell.max(1) - 1).min(u32::from(max));
            let range = PortRange { min: first, max: u16::try_from(last).unwrap_or(max) };
            let (own, others) = rest.split_at(rest.partition_point(|held| held.port <= range.max));
            rest = others;
            cell(ports, range, own)
        })
        .collect()
}

fn cell(ports: &Ports, range: PortRange, held: &[HeldPort]) -> Cell {
    let reserved = ports.reserved.count_in(range);
    let mut cell = Cell { min: range.min, max: range.max, reserved, ..Cell::default() };
    let mut by_name: HashMap<(Option<&str>, Option<&str>), CellHolder> = HashMap::new();
    for HeldPort { port, standing, process, .. } in held {
        let process = process.as_deref();
        let (name, container) = (process.map(|process| &*process.name), container(process));
        let pid = process.map(|process| process.pid);
        let holder = by_name
            .entry((name, container))
            .or_insert_with(|| CellHolder { pid, ..CellHolder::default() });
        holder.ports += 1;
        if holder.pid != pid {
            holder.pid = None;
        }
        if ports.reserved.contains(*port) {
            continue;
        }
        *match standing {
            Standing::Bound | Standing::Listening => &mut cell.bound,
            Standing::TimeWait => &mut cell.time_wait,
            Standing::Established
            | Standing::SynSent
            | Standing::CloseWait
            | Standing::FinWait
            | Standing::Other => &mut cell.connected,
        } += 1;
    }
    let taken = cell.reserved + cell.bound + cell.time_wait + cell.connected;
    cell.free = range.count().saturating_sub(taken);
    let mut holders: Vec<_> = by_name.into_iter().collect();
    holders.sort_unstable_by_key(|(name, holder)| (Reverse(holder.ports), *name));
    cell.others = holders.iter().skip(NAMES).map(|(_, holder)| holder.ports).sum();
    let named = holders.into_iter().take(NAMES).map(|((name, container), holder)| CellHolder {
        name: name.map(|name| escape(name).into_owned()),
        container: container.map(|container| escape(container).into_owned()),
        ..holder
    });
    cell.holders = named.collect();
    cell
}

fn container(process: Option<&Process>) -> Option<&str> {
    Some(container_name(process?.container.as_deref()?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ports::ReservedPorts;

    fn ports(min: u16, max: u16, reserved: &[(u16, u16)]) -> Ports {
        let ranges = reserved.iter().map(|&(min, max)| PortRange { min, max }).collect();
        Ports { ephemeral: PortRange { min, max }, reserved: ReservedPorts::new(ranges) }
    }

    fn held(port: u16, standing: Standing, name: &str, pid: u32) -> HeldPort {
        let process = Process { pid, name: name.to_owned(), ..Process::default() };
        HeldPort { port, standing, holders: 1, process: Some(Arc::new(process)) }
    }

    #[test]
    fn each_port_of_a_range_is_in_one_cell_and_counts_once() {
        for (min, max) in [(40_000, 40_009), (32_768, 60_999), (1_024, 65_534), (1, 65_535), (9, 9)]
        {
            for most in [1, 7, 512, 2_048] {
                let ports = ports(min, max, &[(min, min)]);
                let count = ports.ephemeral.count();
                let per_cell = count.div_ceil(most);
                let all = [held(max, Standing::Established, "a", 1)];
                let cells = cells(&ports, all.into(), per_cell);
                assert!(cells.len() <= most as usize, "{}", cells.len());
                assert_eq!((cells[0].min, cells[cells.len() - 1].max), (min, max));
                assert!(cells.is_sorted_by(|a, b| u32::from(a.max) + 1 == u32::from(b.min)));
                let sum = |of: fn(&Cell) -> u32| cells.iter().map(of).sum::<u32>();
                let taken = u32::from(min != max);
                assert_eq!(sum(|cell| cell.connected), taken);
                assert_eq!(
                    (sum(|cell| cell.reserved), sum(|cell| cell.free)),
                    (1, count - 1 - taken)
                );
                assert_eq!(cells.last().unwrap().holders.len(), 1);
            }
        }
    }

    #[test]
    fn ports_are_told_apart_by_what_is_on_them_and_reserved_ones_by_that_alone() {
        let all = [
            held(40_003, Standing::TimeWait, "b", 2),
            held(40_000, Standing::Bound, "a", 1),
            held(40_001, Standing::Listening, "a", 1),
            held(40_002, Standing::CloseWait, "b", 3),
            held(40_005, Standing::SynSent, "a", 1),
            held(40_007, Standing::Established, "a", 1),
        ];
        let cells = cells(&ports(40_000, 40_009, &[(40_005, 40_006)]), all.into(), 5);
        let [first, second] = &cells[..] else { panic!("{cells:?}") };
        let counts =
            |cell: &Cell| [cell.free, cell.connected, cell.time_wait, cell.bound, cell.reserved];
        assert_eq!((counts(first), counts(second)), ([1, 1, 1, 2, 0], [2, 1, 0, 0, 2]));
        let who = |cell: &Cell| {
            let who =
                cell.holders.iter().map(|one| (one.name.clone().unwrap(), one.pid, one.ports));
            who.collect::<Vec<_>>()
        };
        let name = |name: &str| name.to_owned();
        assert_eq!(who(first), [(name("a"), Some(1), 2), (name("b"), None, 2)]);
        assert_eq!(who(second), [(name("a"), Some(1), 2)]);
    }

    #[test]
    fn names_of_a_cell_are_escaped_and_bounded_and_the_rest_is_counted() {
        let all = (0..10).map(|n| {
            let name = format!("{}\x1b", n / 2);
            held(40_000 + n, Standing::Established, &name, u32::from(n))
        });
        let cells = cells(&ports(40_000, 40_009, &[]), all.collect(), 10);
        assert_eq!((cells[0].holders.len(), cells[0].others), (NAMES, 4));
        assert_eq!(cells[0].holders[0].name.as_deref(), Some("0\\x1b"));
    }
}
