//! What came of a run, as one HTML page: what the text says, how it went over time, and what it was
//! concluded from.

mod tables;

use std::io::{self, Write};

use askama::Template;
use serde::Serialize;

use self::tables::Table;
use super::{
    Limit, Outcome,
    json::{self, Shown, Told},
    samples::Sample,
    text,
};
use crate::{
    document::Document,
    words::{
        escape::{escape, json_line},
        figures::rate,
    },
};

/// What draws the pictures.
const SCRIPTS: &[&str] =
    &[include_str!("run.js"), include_str!("readings.js"), include_str!("over_time.js")];

#[derive(Template)]
#[template(path = "stress.html")]
struct Page {
    document: Document,
    about: String,
    headline: String,
    reasons: Vec<String>,
    also: Option<String>,
    parts: Vec<Part>,
    has_limit: bool,
    pictures: Vec<Picture>,
    tables: Vec<Table>,
}

/// What is said of a part of the run.
struct Part {
    label: &'static str,
    lines: Vec<String>,
}

/// A picture, and what is said of it.
struct Picture {
    id: &'static str,
    title: &'static str,
    text: String,
}

/// What the pictures are drawn from.
#[derive(Serialize)]
struct Drawn<'a> {
    /// What `stress --json` answers.
    answer: Shown<'a>,
    /// When the limit was met, since clients began.
    limit_seconds: Option<f64>,
    connects: Columns,
    searches: Columns,
}

/// Samples in columns, so that names are not said of each.
#[derive(Default, Serialize)]
struct Columns {
    /// Since clients began.
    seconds: Vec<f64>,
    connections: Vec<u64>,
    rate_per_second: Vec<Option<f64>>,
    refused: Vec<u64>,
    p50_seconds: Vec<Option<f64>>,
    p99_seconds: Vec<Option<f64>>,
}

impl Columns {
    fn of(samples: &[Sample], began_ns: u64) -> Self {
        let mut columns = Self::default();
        for (number, sample) in samples.iter().enumerate() {
            // The first is the start, of no time.
            columns.seconds.push(if number > 0 { since(sample.at_ns, began_ns) } else { 0.0 });
            columns.connections.push(sample.connections);
            columns.rate_per_second.push((number > 0).then_some(sample.rate_per_second));
            columns.refused.push(sample.refused);
            columns.p50_seconds.push(sample.p50_seconds);
            columns.p99_seconds.push(sample.p99_seconds);
        }
        columns
    }
}

/// Writes it.
///
/// # Errors
/// Writing failed.
pub fn write(mut out: impl Write, told: &Told<'_>) -> io::Result<()> {
    let outcome = told.outcome;
    let limit_seconds = limit_seconds(outcome);
    let drawn = Drawn {
        answer: json::shown(told),
        limit_seconds,
        connects: Columns::of(&outcome.samples, outcome.began_ns),
        searches: Columns::of(searches(told), outcome.began_ns),
    };
    let json = json_line(&drawn).map_err(io::Error::other)?;
    let title = format!("Limit of connections on {}", escape(&told.host));
    let page = Page {
        document: Document::new(title, &json, SCRIPTS),
        about: format!("{}, Linux {}, {}", escape(&told.host), escape(&told.kernel), told.time),
        headline: text::headline(outcome),
        reasons: text::reasons(outcome).map(|reason| escape(reason).into_owned()).collect(),
        also: text::also(outcome),
        parts: parts(told),
        has_limit: limit_seconds.is_some(),
        pictures: pictures(told),
        tables: tables::all(told),
    };
    page.write_into(&mut out)
}

/// When a limit was met, since clients began: of connections that are closed at once, when the first attempts
/// were refused.
fn limit_seconds(outcome: &Outcome) -> Option<f64> {
    if matches!(outcome.verdict.limit, Limit::Requested | Limit::Duration) {
        return None;
    }
    let first = outcome.samples.iter().find(|sample| sample.refused > 0);
    let first = first.filter(|_| outcome.plan.is_churn());
    Some(first.map_or(outcome.seconds, |sample| since(sample.at_ns, outcome.began_ns)))
}

fn since(at_ns: u64, began_ns: u64) -> f64 {
    at_ns.saturating_sub(began_ns) as f64 / 1e9
}

fn searches<'a>(told: &Told<'a>) -> &'a [Sample] {
    told.observed.map_or(&[], |seen| &seen.searches)
}

fn parts(told: &Told<'_>) -> Vec<Part> {
    let outcome = told.outcome;
    let compared = told.compared.as_ref().map(|compared| ("Compared", text::against(compared)));
    let observer = ("Observer", text::observer(told.observed, outcome.plan.udp));
    [("Tried", text::tried(outcome))]
        .into_iter()
        .chain(text::ends(outcome))
        .chain([observer])
        .chain(compared)
        .map(|(label, text)| {
            let lines = text.lines().map(|line| line.trim().to_owned());
            Part { label, lines: lines.collect() }
        })
        .collect()
}

fn pictures(told: &Told<'_>) -> Vec<Picture> {
    let outcome: &Outcome = told.outcome;
    let verb = if outcome.plan.is_churn() { "were opened and closed" } else { "stood" };
    let connections = format!("{} {verb} after {:.2} s", outcome.connections, outcome.seconds);
    let all = format!("{} on average until then", rate(outcome.rate()));
    let took = "of those that were made since the sample before: half took at most p50, 99 of 100 at \
                most p99";
    let searched = "how long connect() searched for a port, as the kernel programs measured it";
    let is_known = |samples: &[Sample]| samples.iter().any(|one| one.p50_seconds.is_some());
    let picture = |id, title, text: &str| Picture { id, title, text: text.to_owned() };
    let mut pictures = vec![picture("connections", "Connections", &connections)];
    // How often a program of the user's connects is not seen, only what it has.
    if outcome.plan.program.is_none() {
        pictures.push(picture("rate", "Connections a second", &all));
    }
    if is_known(&outcome.samples) {
        pictures.push(picture("connect-time", "Time to connect", took));
    }
    if is_known(searches(told)) {
        pictures.push(picture("search-time", "Search for a port", searched));
    }
    pictures
}

#[cfg(test)]
mod tests;
