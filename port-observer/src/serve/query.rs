//! The filters of `live`, as the query of an address has them: `?events=exhausted,conflict&protocol=tcp`.

use std::{fmt::Display, str::FromStr};

use axum::http::Uri;

use super::journal::Journal;
use crate::{event::Protocol, filter::Filter, report::EventType};

/// How many parts a query may have.
const PARTS: usize = 128;

/// The filter that a query asks for. Values are repeated, or separated by commas.
///
/// # Errors
/// What is wrong with it, for whoever asked.
pub(super) fn filter(uri: &Uri, journal: &Journal) -> Result<Filter, String> {
    let parts = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| error.body_text())?;
    if parts.len() > PARTS {
        return Err(format!("a query has {PARTS} parts at most"));
    }
    let mut filter = Filter::default();
    for (name, values) in &parts.0 {
        for value in values.split(',') {
            match name.as_str() {
                "events" => {
                    filter.events.push(one_of(name, value, &EventType::ALL, EventType::name)?)
                }
                "protocol" => {
                    let all = [Protocol::Tcp, Protocol::Udp];
                    filter.protocols.push(one_of(name, value, &all, Protocol::name)?);
                }
                "pid" => filter.pids.push(parse(name, value)?),
                "uid" => filter.uids.push(parse(name, value)?),
                "port" => filter.ports.push(parse(name, value)?),
                "to" => filter.destinations.push(parse(name, value)?),
                "name" => filter.names.push(value.to_owned()),
                "container" => filter.containers.push(value.to_owned()),
                "netns" => {
                    let known = journal.namespace(value);
                    filter.netns.push(known.or_else(|| value.parse().ok()).ok_or_else(|| {
                        format!("netns={value}: no network namespace of this name is known")
                    })?);
                }
                _ => {
                    return Err(format!(
                        "'{name}' is no filter: there are events, pid, name, uid, port, to, netns, \
                         container and protocol"
                    ));
                }
            }
        }
    }
    Ok(filter)
}

fn parse<T: FromStr<Err: Display>>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|error| format!("{name}={value}: {error}"))
}

fn one_of<T: Copy>(
    name: &str,
    value: &str,
    all: &[T],
    name_of: impl Fn(T) -> &'static str,
) -> Result<T, String> {
    let found = all.iter().copied().find(|one| name_of(*one) == value);
    found.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| name_of(*one)).collect();
        format!("{name}={value}: there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter_of(query: &str) -> Result<Filter, String> {
        filter(&format!("/events?{query}").parse().unwrap(), &Journal::new())
    }

    #[test]
    fn filters_are_those_of_live() {
        let filter = filter_of(
            "events=exhausted,conflict&protocol=tcp&port=1-9&to=10.0.0.1:443&name=a%20b&pid=7&netns=42",
        )
        .unwrap();
        assert_eq!(filter.events, [EventType::Exhausted, EventType::Conflict]);
        assert_eq!(filter.protocols, [Protocol::Tcp]);
        assert_eq!((&filter.names[..], &filter.pids[..]), (&["a b".to_owned()][..], &[7][..]));
        assert_eq!(filter.netns, [42]);
        assert_eq!((filter.ports.len(), filter.destinations.len()), (1, 1));
        assert_eq!(filter_of("").unwrap(), Filter::default());
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (query, word) in [
            ("events=nothing", "exhausted"),
            ("pid=x", "pid=x"),
            ("color=red", "no filter"),
            ("netns=blue", "blue"),
            ("port=9-1", "before it begins"),
        ] {
            let error = filter_of(query).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(filter_of(&"pid=1&".repeat(1000)).is_err());
    }
}
