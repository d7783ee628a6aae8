//! `pools.toml`.

use std::{fmt, ops::Range, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use toml::Spanned;

use super::{
    pool::{Parity, Pool, Protocols},
    problem::{Code, Place, Problem, Problems},
    range,
};
use crate::ports::PortRange;

/// Pools of one file.
const MOST_POOLS: usize = 1_000;
/// Ranges of one pool, and ports that it excludes.
const MOST_RANGES: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    pool: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    range: Spanned<Ranges>,
    protocol: Option<Protocols>,
    units: Option<u64>,
    ports_per_unit: Option<Spanned<u64>>,
    #[serde(default)]
    parity: Parity,
    address: Option<Spanned<String>>,
    netns: Option<String>,
    container: Option<String>,
    process: Option<String>,
    group: Option<String>,
    exclude: Option<Spanned<Ranges>>,
}

/// One, or a list. Of a list each has its place.
struct Ranges(Vec<(String, Option<Range<usize>>)>);

impl<'de> Deserialize<'de> for Ranges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Ranges;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"MIN-MAX\", or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ranges, E> {
                Ok(Ranges(vec![(text.to_owned(), None)]))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Ranges, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Ranges, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = seq.next_element::<Spanned<Item>>()? {
                    if all.len() == MOST_RANGES {
                        return Err(de::Error::custom(format!("more than {MOST_RANGES} items")));
                    }
                    let span = item.span();
                    all.push((item.into_inner().0, Some(span)));
                }
                Ok(Ranges(all))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// An item of a list: a range, or a port.
struct Item(String);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"MIN-MAX\" or a port")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Item, E> {
                Ok(Item(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Item, E> {
                Ok(Item(number.to_string()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Reads the pools of a file; what is wrong with it is a problem.
pub fn read(file: &Arc<str>, text: &str, problems: &mut Problems) -> Vec<Pool> {
    let lines = Lines::of(text);
    let document: Document = match toml::from_str(text) {
        Ok(document) => document,
        Err(error) => {
            let line = error.span().map(|span| lines.line(span.start));
            let place = Place { file: file.clone(), line };
            let message = error.message().trim().replace('\n', " ");
            let fix = "a file of pools has [[pool]] tables with name and range, and at will protocol, \
                       units, ports_per_unit, parity, address, netns, container, process, group, exclude";
            problems.push(Problem::error(Code::InvalidFile, message, place).fix(fix));
            return Vec::new();
        }
    };
    let place = |at: usize| Place::new(file, lines.line(at));
    let mut pools: Vec<Pool> = Vec::new();
    if let Some(first) = document.pool.get(MOST_POOLS) {
        let message = format!("more than {MOST_POOLS} pools: those from here on are left out");
        problems.push(Problem::error(Code::TooMany, message, place(first.span().start)));
    }
    for entry in document.pool.into_iter().take(MOST_POOLS) {
        let entry = entry.into_inner();
        let at = place(entry.name.span().start);
        let name = entry.name.into_inner();
        if name.trim().is_empty() {
            let problem = Problem::error(Code::InvalidFile, "a pool without a name", at.clone());
            problems.push(problem.fix("give it a name"));
        }
        if let Some(first) = pools.iter().find(|pool| pool.name == name) {
            let message = format!("the pool {name} is declared in {} too", first.place);
            let problem = Problem::error(Code::DuplicateName, message, at);
            problems.push(problem.of([&*name]).fix("give each pool a name of its own"));
        }
        let range = place(entry.range.span().start);
        let written = entry.range.into_inner().0;
        if written.is_empty() {
            let message = format!("Invalid range format: the pool {name} has no range");
            let problem = Problem::error(Code::InvalidRange, message, range.clone());
            problems.push(problem.of([&*name]).fix(range::FIX));
        }
        let ranges: Vec<PortRange> = written
            .into_iter()
            .filter_map(|(text, span)| {
                let at = span.map_or_else(|| range.clone(), |span| place(span.start));
                let wrong = |reason: String| {
                    let message =
                        format!("Invalid range format: {text:?} of the pool {name}: {reason}");
                    Problem::error(Code::InvalidRange, message, at).of([&*name]).fix(range::FIX)
                };
                range::parse(&text).map_err(|reason| problems.push(wrong(reason))).ok()
            })
            .collect();
        if ranges.is_empty() {
            continue;
        }
        let mut pool = Pool::new(name, ranges, range);
        for (text, span) in entry.exclude.into_iter().flat_map(|one| {
            let at = one.span();
            one.into_inner()
                .0
                .into_iter()
                .map(move |(text, span)| (text, span.unwrap_or(at.clone())))
        }) {
            let one = match text.contains('-') {
                true => range::parse(&text),
                false => range::parse(&format!("{text}-{text}")),
            };
            match one {
                Ok(range) => pool.ports.remove(range),
                Err(reason) => {
                    let message = format!("exclude: {text:?} of the pool {}: {reason}", pool.name);
                    let problem = Problem::error(Code::InvalidRange, message, place(span.start));
                    let fix = "list ports and ranges, e.g. [21007, \"21010-21019\"]";
                    problems.push(problem.of([&*pool.name]).fix(fix));
                }
            }
        }
        if let Some(each) = entry.ports_per_unit {
            pool.ports_per_unit = *each.get_ref();
            if pool.ports_per_unit == 0 {
                let message = format!("ports_per_unit of the pool {} is 0", pool.name);
                let problem = Problem::error(Code::InvalidFile, message, place(each.span().start));
                problems.push(problem.of([&*pool.name]).fix("a unit takes 1 port or more"));
            }
        }
        if let Some(address) = entry.address {
            if address.get_ref().parse::<std::net::IpAddr>().is_err() {
                let message = format!("{:?} is no IP address", address.get_ref());
                let at = place(address.span().start);
                let problem = Problem::error(Code::InvalidFile, message, at).of([&*pool.name]);
                problems.push(problem.fix("write it as 10.0.0.1 or 2001:db8::1, or leave it out"));
            }
            pool.address = Some(address.into_inner());
        }
        pools.push(Pool {
            protocols: entry.protocol,
            units: entry.units,
            parity: entry.parity,
            netns: entry.netns,
            container: entry.container,
            process: entry.process,
            group: entry.group,
            ..pool
        });
    }
    pools
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The number of the line that has this byte.
    fn line(&self, at: usize) -> u32 {
        u32::try_from(self.0.partition_point(|&end| end < at) + 1).unwrap_or(u32::MAX)
    }
}
