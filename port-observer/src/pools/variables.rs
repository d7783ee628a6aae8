//! Ranges that variables declare: `PORT_RANGE…`, and the seeds' `GLUETUN_PORT_RANGE_N` with
//! `GLUETUN_CONTAINER_NAME[_N]`. `PORT_RANGE_HOST` covers them and is no pool.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    env::Variables,
    pool::Pool,
    problem::{Code, Place, Problem, Problems},
    range,
};
use crate::ports::PortRange;

const COVER: &str = "PORT_RANGE_HOST";
const RANGE: &str = "PORT_RANGE";
const VPN_RANGE: &str = "GLUETUN_PORT_RANGE_";
const VPN: &str = "GLUETUN_CONTAINER_NAME";
/// The group that the pools of VPN containers are in.
const VPN_GROUP: &str = "vpn";
/// The pool of all of them, where none has a range, and its first port.
const GLOBAL: &str = "global";
const FIRST: u16 = 19_000;
const REPLICAS: &str = "MAX_ACTIVE_REPLICAS";
const MODE: &str = "VPN_MODE";
/// Ends of names that hold one end of a range and not a range.
const ENDS: [&str; 6] = ["_MIN", "_MAX", "_START", "_END", "_FROM", "_TO"];

/// Whether a variable of this name tells something about pools.
pub fn is_read(name: &str) -> bool {
    is_range(name) || name == COVER || name.starts_with(VPN) || name == REPLICAS || name == MODE
}

/// Whether a variable of this name declares a pool, or what covers pools.
pub(super) fn is_pool(name: &str) -> bool {
    is_range(name) || name == COVER
}

/// Whether whoever has these variables reads this one too.
pub(super) fn are_read_with<'a>(name: &str, mut names: impl Iterator<Item = &'a String>) -> bool {
    vpn_number(name).is_some()
        && names.any(|name| vpn_number(name).is_some() || container_number(name).is_some())
}

/// Whether a variable of this name declares a pool.
fn is_range(name: &str) -> bool {
    let is_plain = name.starts_with(RANGE) && name != COVER;
    (is_plain && !ENDS.iter().any(|end| name.ends_with(end))) || vpn_number(name).is_some()
}

/// Whether two values say the same.
pub(super) fn are_same(one: &str, other: &str) -> bool {
    let ranges = (range::parse(one), range::parse(other));
    one.trim() == other.trim() || matches!(ranges, (Ok(a), Ok(b)) if a == b)
}

/// The N of `GLUETUN_PORT_RANGE_N`.
fn vpn_number(name: &str) -> Option<u32> {
    name.strip_prefix(VPN_RANGE)?.parse().ok()
}

/// The N of `GLUETUN_CONTAINER_NAME_N`; of the first, without one, 1.
fn container_number(name: &str) -> Option<u32> {
    match name.strip_prefix(VPN)? {
        "" => Some(1),
        end => end.strip_prefix('_')?.parse().ok(),
    }
}

/// Who gets a variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Whoever reads the file.
    File,
    /// A service of Compose.
    Service(String),
}

/// A variable that tells something about pools, with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Its name.
    pub name: String,
    /// Its value, not empty.
    pub value: String,
    /// Where it is set.
    pub place: Place,
    /// Who gets it.
    pub scope: Scope,
}

impl Declaration {
    /// Those of a file of variables. Of a name that is there more than once, each.
    pub(super) fn of_file(variables: &Variables) -> impl Iterator<Item = Self> + '_ {
        let is_told = variables.list.iter().filter(|one| is_read(&one.name));
        is_told.filter_map(|one| {
            Some(Self {
                name: one.name.clone(),
                value: one.value.clone().filter(|value| !value.trim().is_empty())?,
                place: Place::new(&variables.file, one.line),
                scope: Scope::File,
            })
        })
    }
}

/// A range that all pools of variables have to be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    /// The range.
    pub range: PortRange,
    /// Where it is set.
    pub place: Place,
}

type ByName<'a> = BTreeMap<&'a str, Vec<&'a Declaration>>;

/// Adds the pools that variables declare to those of files of pools, where they are not the same.
pub fn read(
    declarations: &[Declaration],
    pools: &mut Vec<Pool>,
    problems: &mut Problems,
) -> Vec<Cover> {
    let mut by_name = ByName::new();
    for one in declarations {
        by_name.entry(&one.name).or_default().push(one);
    }
    let mut covers: Vec<Cover> = Vec::new();
    let mut found = Vec::new();
    for (name, all) in &by_name {
        let of_services = are_of_services(all);
        if !of_services {
            mismatch(name, all, problems);
        }
        if *name == COVER {
            for (range, one) in ranges(all, problems) {
                if !covers.iter().any(|known| known.range == range) {
                    covers.push(Cover { range, place: one.place.clone() });
                }
            }
        } else if is_range(name) {
            let container = vpn_number(name).and_then(|number| container(number, &by_name));
            for (range, one) in ranges(all, problems) {
                let name = match (&container, &one.scope) {
                    (Some(container), _) => container.clone(),
                    (None, Scope::Service(service)) if of_services => format!("{service}.{name}"),
                    (None, _) => (*name).to_owned(),
                };
                let mut pool = Pool::new(name, vec![range], one.place.clone());
                pool.variable = Some(one.name.clone());
                pool.services = services_of(all, range);
                pool.container.clone_from(&container);
                pool.group = container.is_some().then(|| VPN_GROUP.to_owned());
                found.push(pool);
            }
        }
    }
    replicas(&by_name, &mut found, problems);
    missing(&by_name, problems);
    join(pools, found, problems);
    covers
}

/// Each range once, with where it is first declared. What is none is a problem each time.
fn ranges<'a>(
    all: &[&'a Declaration],
    problems: &mut Problems,
) -> Vec<(PortRange, &'a Declaration)> {
    let mut found: Vec<(PortRange, &Declaration)> = Vec::new();
    for one in all {
        match range::parse(&one.value) {
            Ok(range) if found.iter().any(|(known, _)| *known == range) => {}
            Ok(range) => found.push((range, one)),
            Err(reason) => {
                let message = format!("Invalid {} format: {:?}: {reason}", one.name, one.value);
                let problem = Problem::error(Code::InvalidRange, message, one.place.clone());
                problems.push(problem.of([&*one.name]).fix(range::FIX));
            }
        }
    }
    found
}

/// The services that get a range.
fn services_of(all: &[&Declaration], range: PortRange) -> Vec<String> {
    let is_it = |one: &&&Declaration| range::parse(&one.value) == Ok(range);
    let of = |one: &&Declaration| match &one.scope {
        Scope::Service(service) => Some(service.clone()),
        Scope::File => None,
    };
    all.iter().filter(is_it).filter_map(of).collect()
}

/// Whether each service of one file has a value of its own: then they are different things.
fn are_of_services(all: &[&Declaration]) -> bool {
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    let first = all.first().map(|one| &one.place.file);
    let has_one_each = all.iter().all(|one| match &one.scope {
        Scope::File => false,
        Scope::Service(service) => *values.entry(service).or_insert(&one.value) == one.value,
    });
    has_one_each
        && all.iter().all(|one| Some(&one.place.file) == first)
        && values.values().any(|value| Some(value) != values.values().next().as_ref().copied())
}

/// Files that disagree.
fn mismatch(name: &str, all: &[&Declaration], problems: &mut Problems) {
    let Some((first, others)) = all.split_first() else { return };
    for one in others.iter().filter(|one| !are_same(&first.value, &one.value)) {
        let message =
            format!("{name} is {:?} here and {:?} in {}", one.value, first.value, first.place);
        let problem = Problem::warning(Code::Mismatch, message, one.place.clone());
        problems.push(problem.of([name]).fix(format!(
            "give {name} one value, set it in one place and refer to it elsewhere as ${{{name}}}"
        )));
    }
}

/// The container of a number.
fn container(number: u32, by_name: &ByName<'_>) -> Option<String> {
    let named = by_name.iter().find(|(name, _)| container_number(name) == Some(number));
    Some(named?.1.first()?.value.trim().to_owned())
}

/// How many engines are wanted at once: spread evenly over the VPNs.
fn replicas(by_name: &ByName<'_>, found: &mut [Pool], problems: &mut Problems) {
    let Some(one) = by_name.get(REPLICAS).and_then(|all| all.first()) else { return };
    let Ok(count) = one.value.trim().parse::<u64>() else {
        let message = format!("{REPLICAS} is {:?}, which is no number", one.value);
        let problem = Problem::warning(Code::InvalidFile, message, one.place.clone());
        problems.push(problem.fix("write how many engines may run at once"));
        return;
    };
    let numbers = by_name.keys().filter(|name| vpn_number(name).is_some()).count().max(1) as u64;
    for pool in found {
        if pool.variable.as_deref().and_then(vpn_number).is_some() {
            pool.units = Some(count.div_ceil(numbers));
            pool.unit_name = "engines";
        }
    }
}

/// The pool that all engines get ports of where no VPN container has a range of its own: one from 19000 on,
/// as far as `PORT_RANGE_HOST` goes, or for a thousand ports.
pub fn global(declarations: &[Declaration], covers: &[Cover], pools: &[Pool]) -> Option<Pool> {
    let has_range = declarations.iter().any(|one| vpn_number(&one.name).is_some());
    let is_vpn = |pool: &Pool| pool.group.as_deref() == Some(VPN_GROUP) || pool.name == GLOBAL;
    if has_range || pools.iter().any(is_vpn) {
        return None;
    }
    let named = declarations.iter().filter(|one| container_number(&one.name).is_some());
    let containers: BTreeSet<&str> = named.clone().map(|one| one.value.trim()).collect();
    let place = named.map(|one| one.place.clone()).next()?;
    let has_first = |range: &PortRange| range.min <= FIRST && range.max >= FIRST;
    let max = covers.iter().map(|cover| cover.range).find(has_first).map(|range| range.max);
    let range = PortRange { min: FIRST, max: max.unwrap_or(FIRST + 999) };
    let mut pool = Pool::new(GLOBAL, vec![range], place);
    pool.group = Some(VPN_GROUP.to_owned());
    // Of several, in whichever an engine is.
    let only = containers.first().filter(|_| containers.len() == 1);
    pool.container = only.map(|container| (*container).to_owned());
    pool.is_forwarded = pool.container.is_some();
    Some(pool)
}

/// Containers that have no range where others have one.
fn missing(by_name: &ByName<'_>, problems: &mut Problems) {
    let numbered = |of: fn(&str) -> Option<u32>| {
        by_name.iter().filter_map(move |(name, all)| Some((of(name)?, all)))
    };
    let ranges: BTreeMap<u32, &Vec<&Declaration>> = numbered(vpn_number).collect();
    let containers: Vec<(u32, &Vec<&Declaration>)> = numbered(container_number).collect();
    let is_redundant = |value: &&Declaration| value.value.trim() == "redundant";
    let is_redundant = by_name.get(MODE).is_some_and(|all| all.iter().any(is_redundant));
    if ranges.is_empty() && !is_redundant && containers.len() < 2 {
        return;
    }
    for (number, all) in containers {
        let variable = format!("{VPN_RANGE}{number}");
        let set = ranges.get(&number).copied();
        for one in all {
            let is_there = match (&one.scope, set) {
                // A file of variables may have one part, and a service the other.
                (Scope::File, set) => set.is_some(),
                (scope, Some(set)) => set.iter().any(|range| range.scope == *scope),
                (_, None) => false,
            };
            if is_there {
                continue;
            }
            let container = one.value.trim();
            let elsewhere = match (&one.scope, set.and_then(|set| set.first())) {
                (Scope::Service(service), Some(range)) => format!(
                    ": {} sets it, which does not reach the service {service}: Compose passes on only \
                     what `environment` and `env_file` name",
                    range.place
                ),
                _ => String::new(),
            };
            let what = format!("{variable} is not set for the container {container}{elsewhere}");
            let problem = if ranges.is_empty() {
                let message =
                    format!("{what}: all engines get ports of one global pool from 19000");
                Problem::warning(Code::MissingRange, message, one.place.clone())
            } else {
                let message = format!("{what}: its engines get ports that are mapped elsewhere");
                Problem::error(Code::MissingRange, message, one.place.clone())
            };
            problems.push(problem.of([container]).fix(format!(
                "set {variable}=MIN-MAX to the range that the container maps, next to {}, and restart \
                 what reads it",
                one.name
            )));
        }
    }
}

/// Adds pools, where a file of pools has not the same. Another value of a variable that has one there is
/// the same pool with other ports.
fn join(pools: &mut Vec<Pool>, found: Vec<Pool>, problems: &mut Problems) {
    let of_files = pools.len();
    let is_same = |known: &Pool, found: &Pool| {
        let is_vpn = found.container.is_some();
        let container = is_vpn && known.container == found.container;
        known.name == found.name || container || (!is_vpn && known.ports == found.ports)
    };
    let matches: Vec<Option<usize>> =
        found.iter().map(|one| pools.iter().position(|known| is_same(known, one))).collect();
    let of_variable: BTreeMap<String, usize> = (found.iter().zip(&matches))
        .filter_map(|(one, at)| Some((one.variable.clone()?, (*at)?)))
        .collect();
    // Variables of which one value is that of the file.
    let agreeing: BTreeSet<String> = (found.iter().zip(&matches))
        .filter(|(one, at)| at.is_some_and(|at| pools[at].ports == one.ports))
        .filter_map(|(one, _)| one.variable.clone())
        .collect();
    for (one, at) in found.into_iter().zip(matches) {
        // Where each service has a value of its own, they are different things.
        let is_one_of_several = one.container.is_none() && one.variable.as_ref() != Some(&one.name);
        let by_variable = one.variable.as_ref().and_then(|variable| of_variable.get(variable));
        let at = at.or(by_variable.copied().filter(|_| !is_one_of_several));
        let Some(known) = at.and_then(|at| pools[..of_files].get_mut(at)) else {
            pools.push(one);
            continue;
        };
        known.variable.clone_from(&one.variable);
        known.container = known.container.take().or(one.container.clone());
        known.group = known.group.take().or(one.group.clone());
        if let (None, Some(units)) = (known.units, one.units) {
            (known.units, known.unit_name) = (Some(units), one.unit_name);
        }
        if known.ports == one.ports || known.ranges == one.ranges {
            known.services.extend(one.services);
            continue;
        }
        // Otherwise that its values differ is said already.
        if one.variable.as_ref().is_none_or(|variable| !agreeing.contains(variable)) {
            other_value(known, &one, problems);
        }
        let (ranges, ports) = (one.ranges, one.ports);
        let other =
            Pool { ranges, ports, services: one.services, place: one.place, ..known.clone() };
        pools.push(other);
    }
}

/// A variable that is not what a file of pools says.
fn other_value(known: &Pool, found: &Pool, problems: &mut Problems) {
    let name = found.variable.as_deref().unwrap_or(&found.name);
    let (here, there) = (found.shown(), known.shown());
    let message =
        format!("{name} is {here} here, and the pool {} is {there} in {}", known.name, known.place);
    let problem = Problem::warning(Code::Mismatch, message, found.place.clone());
    problems.push(problem.of([&*known.name]).fix(format!("make both {there} or both {here}")));
}
