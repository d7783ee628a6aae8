//! What happened, as one HTML page that needs nothing else: no network, no other file.

use std::io::{self, Write};

use askama::Template;
use jiff::tz::TimeZone;

use super::{
    Forensics, Incident, Timeline,
    facts::{Fact, Words, left_out, lost, refused_headline, taken_headline, taken_left_out},
};
use crate::{
    document::{self, Document},
    ledger::SpaceKey,
    words::{
        escape::escape,
        figures::{ends, percent},
        namespaces::numbered,
        times,
    },
};

/// What draws the pictures.
const SCRIPTS: &[&str] = &[
    include_str!("report.js"),
    include_str!("data.js"),
    include_str!("chart.js"),
    include_str!("legend.js"),
    include_str!("table.js"),
    include_str!("page.js"),
];

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    document: Document,
    /// The zone of all times: a name that browsers know, or `+02:00`.
    zone: String,
    host: String,
    runs: Vec<String>,
    losses: Vec<String>,
    incidents: Vec<Told>,
    left_out: Option<String>,
    taken_headline: Option<String>,
    taken: Vec<String>,
    taken_left_out: Option<String>,
    refused_headline: Option<String>,
    refused: Vec<String>,
    refused_left_out: Option<String>,
    pictures: Vec<Picture>,
}

/// An incident, in words.
struct Told {
    headline: String,
    facts: Vec<Fact>,
    remedies: Vec<String>,
    /// The picture that shows it.
    picture: Option<usize>,
}

/// What is said of a picture.
struct Picture {
    title: String,
    place: String,
    fullest: String,
}

/// Writes it; times are of this zone.
///
/// # Errors
/// Writing failed.
pub fn write(mut out: impl Write, told: &Forensics, zone: &TimeZone) -> io::Result<()> {
    let words = Words { zone };
    let host = told.runs.first().map_or("an empty recording", |run| &run.start.host);
    let page = Page {
        document: Document::new(format!("Ports of {}", escape(host)), &json(told)?, SCRIPTS),
        zone: zone_name(zone, told),
        host: words.host(&told.runs),
        runs: told.runs.iter().map(|run| words.run(run)).collect(),
        losses: told.losses.iter().map(lost).collect(),
        incidents: told.incidents.iter().map(|one| self::told(one, told, &words)).collect(),
        left_out: left_out(told.left_out),
        taken_headline: taken_headline(&told.taken),
        taken: told.taken.most.iter().map(|taken| words.taken(taken)).collect(),
        taken_left_out: taken_left_out(&told.taken),
        refused_headline: refused_headline(&told.refused),
        refused: told.refused.most.iter().map(|one| words.taken(one)).collect(),
        refused_left_out: taken_left_out(&told.refused),
        pictures: told.timelines.iter().map(|timeline| picture(timeline, &words)).collect(),
    };
    page.write_into(&mut out)
}

/// What the page may do (Content-Security-Policy).
pub fn policy() -> String {
    document::policy(SCRIPTS)
}

/// The JSON of `report --json`.
fn json(told: &Forensics) -> io::Result<String> {
    let mut json = Vec::new();
    super::json::write_object(&mut json, told)?;
    String::from_utf8(json).map_err(io::Error::other)
}

fn zone_name(zone: &TimeZone, told: &Forensics) -> String {
    if let Some(name) = zone.iana_name() {
        return name.to_owned();
    }
    let began_ns = told.runs.first().map_or(0, |run| run.began_ns);
    times::local(began_ns.into(), zone, "%:z")
}

fn told(incident: &Incident, told: &Forensics, words: &Words<'_>) -> Told {
    let key = incident.spaces.first().map(|full| SpaceKey::from(&full.space));
    let is_of_it = |timeline: &Timeline| Some(SpaceKey::from(&timeline.space)) == key;
    let picture = told.timelines.iter().position(is_of_it);
    let mut facts = words.facts(incident);
    facts.extend(words.cause(incident));
    Told {
        headline: words.headline(incident),
        facts,
        remedies: incident.remedies.iter().map(|remedy| remedy.text.clone()).collect(),
        picture,
    }
}

fn picture(timeline: &Timeline, words: &Words<'_>) -> Picture {
    let space = &timeline.space;
    let refused: u64 = timeline.points.iter().map(|point| point.refused).sum();
    let calls = if refused == 1 { "call" } else { "calls" };
    Picture {
        title: ends(space),
        place: format!(
            "{}, network namespace {}",
            space.protocol.name(),
            numbered(space.netns, &timeline.names)
        ),
        fullest: format!(
            "at its fullest, {}, {} of {} ports were used ({}); {refused} {calls} refused",
            words.date(timeline.fullest_ns),
            space.used,
            space.capacity,
            percent(space)
        ),
    }
}
