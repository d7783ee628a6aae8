//! What happened, as one HTML page that needs nothing else: no network, no other file.
//!
//! Names of processes and what they were called with come from whoever ran them. The template escapes
//! every text, the JSON has no character that HTML knows, and the policy of the page lets nothing run
//! or load but its own script and style.

use std::io::{self, Write};

use askama::Template;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use super::{
    Forensics, Incident, Timeline,
    facts::{Fact, Words, left_out, lost, refused_headline, taken_headline, taken_left_out},
    json,
};
use crate::{
    ledger::SpaceKey,
    words::{
        escape::escape,
        figures::{ends, percent},
        namespaces::numbered,
        times,
    },
};

const STYLE: &str =
    concat!(include_str!("../../../vendor/uplot/uPlot.min.css"), "\n", include_str!("report.css"));
const SCRIPT: &str = concat!(
    "\"use strict\";\n/*\n",
    include_str!("../../../vendor/uplot/LICENSE"),
    "*/\n",
    include_str!("../../../vendor/uplot/uPlot.iife.min.js"),
    "\n",
    include_str!("report.js"),
    include_str!("data.js"),
    include_str!("chart.js"),
    include_str!("legend.js"),
    include_str!("table.js"),
    include_str!("page.js"),
);

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    policy: String,
    style: &'static str,
    script: &'static str,
    json: String,
    /// The zone of all times: a name that browsers know, or `+02:00`.
    zone: String,
    title: String,
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
        policy: policy(),
        style: STYLE,
        script: SCRIPT,
        json: embedded(told)?,
        zone: zone_name(zone, told),
        title: format!("Ports of {}", escape(host)),
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

/// What the page may do: run this script, with this style (Content-Security-Policy).
pub fn policy() -> String {
    let hash = |text: &str| BASE64.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; base-uri \
         'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

/// The JSON of `report --json`, in which nothing can end the element that it is in.
fn embedded(told: &Forensics) -> io::Result<String> {
    let mut json = Vec::new();
    json::write_object(&mut json, told)?;
    let json = String::from_utf8(json).map_err(io::Error::other)?;
    // These are in strings alone.
    Ok(json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendored_files_are_those_that_their_note_names() {
        let note = include_str!("../../../vendor/uplot/README.md");
        let script = include_str!("../../../vendor/uplot/uPlot.iife.min.js");
        assert!(script.contains("uPlot (v1.6.32)") && note.starts_with("# uPlot 1.6.32"));
        for (name, text) in [
            ("LICENSE", include_str!("../../../vendor/uplot/LICENSE")),
            ("uPlot.iife.min.js", script),
            ("uPlot.min.css", include_str!("../../../vendor/uplot/uPlot.min.css")),
        ] {
            let digest: String =
                Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(note.contains(&format!("{digest}  {name}")), "{name}: {digest}");
        }
    }

    #[test]
    fn no_script_or_style_can_end_its_element() {
        let ends = |text: &str| text.to_lowercase().contains("</");
        assert!(!ends(SCRIPT) && !ends(STYLE));
        assert!(!SCRIPT.contains("<!--"));
    }
}
