//! What happened, in words.

use std::io::{self, Write};

use jiff::{Timestamp, tz::TimeZone};

use super::{Failed, Forensics, Incident, Run};
use crate::{
    event::Via,
    report::{Cause, CauseKind, Evidence, Holder, Story},
    sink::{
        escape::escape,
        table::{
            figures::{age, ends, holder_name, percent, rate},
            words::{error_name, lost},
        },
    },
};

/// How many holders are named.
const HOLDERS: usize = 5;
/// How much deeper what continues a line is than the line.
const HANGING: &str = "    ";

/// Writes it, in lines of about this width; times are of this zone.
///
/// # Errors
/// Writing failed; `BrokenPipe` says that the reader has left.
pub fn write(out: impl Write, told: &Forensics, zone: &TimeZone, width: usize) -> io::Result<()> {
    let mut text = Text { out, zone, width: width.max(40) };
    text.runs(&told.runs)?;
    for loss in &told.losses {
        text.item(2, &format!("lost: {}", lost(loss.count, loss.place, loss.kind)))?;
    }
    if told.incidents.is_empty() {
        return text.item(0, "No call was refused a port.");
    }
    let count = told.incidents.len();
    for (number, incident) in (1..).zip(&told.incidents) {
        writeln!(text.out)?;
        text.incident(&format!("Incident {number} of {count}"), incident)?;
    }
    if told.left_out > 0 {
        writeln!(text.out)?;
        text.item(0, &format!("And {} smaller incidents (see --from, --to).", told.left_out))?;
    }
    Ok(())
}

struct Text<'z, W> {
    out: W,
    zone: &'z TimeZone,
    width: usize,
}

impl<W: Write> Text<'_, W> {
    fn item(&mut self, indent: usize, text: &str) -> io::Result<()> {
        let first = " ".repeat(indent);
        let rest = format!("{first}{HANGING}");
        let options =
            textwrap::Options::new(self.width).initial_indent(&first).subsequent_indent(&rest);
        for line in textwrap::wrap(text, options) {
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn date(&self, time_ns: i64) -> String {
        self.format(time_ns, "%Y-%m-%d %H:%M:%S")
    }

    fn time(&self, time_ns: i64) -> String {
        self.format(time_ns, "%H:%M:%S")
    }

    fn format(&self, time_ns: i64, format: &str) -> String {
        let time = Timestamp::from_nanosecond(time_ns.into()).unwrap_or(Timestamp::UNIX_EPOCH);
        time.to_zoned(self.zone.clone()).strftime(format).to_string()
    }

    fn runs(&mut self, runs: &[Run]) -> io::Result<()> {
        let Some(first) = runs.first() else { return self.item(0, "Nothing was recorded.") };
        let zone = self.format(first.began_ns, "%:z");
        let head = format!(
            "Recorded on {} (Linux {}), times are UTC{zone}",
            escape(&first.start.host),
            escape(&first.start.kernel)
        );
        self.item(0, &head)?;
        for run in runs {
            let exact = if run.start.exact { "" } else { " (not exact)" };
            let stop = &run.stop;
            let line = format!(
                "{} to {}, backend {}{exact}: {} acquired, {} released, {} refused",
                self.date(run.began_ns),
                self.date(run.ended_ns),
                run.start.backend,
                stop.acquired,
                stop.released,
                stop.exhausted
            );
            self.item(2, &line)?;
        }
        Ok(())
    }

    fn incident(&mut self, title: &str, incident: &Incident) -> io::Result<()> {
        let call = match incident.via {
            Via::Connect => "connect()",
            Via::Bind => "bind()",
            Via::Autobind => "automatic bind",
        };
        let calls = if incident.failures == 1 { "call" } else { "calls" };
        #[expect(clippy::cast_precision_loss, reason = "a time, in seconds")]
        let lasted = (incident.ended_ns - incident.began_ns) as f64 / 1e9;
        let head = format!(
            "{title}: {}, for {}: {} {call} {calls} refused",
            self.date(incident.began_ns),
            age(lasted),
            incident.failures
        );
        self.item(0, &head)?;
        let names = match &incident.names[..] {
            [] => String::new(),
            names => format!(" ({})", escape(&names.join(", "))),
        };
        let protocol = incident.protocol.name();
        let place = format!("where: {protocol}, network namespace {}{names}", incident.netns);
        self.item(2, &place)?;
        for full in &incident.spaces {
            let line = format!(
                "full: {}, {} of {} ports used ({}), {} refused",
                ends(&full.space),
                full.space.used,
                full.space.capacity,
                percent(&full.space),
                full.failures
            );
            self.item(2, &line)?;
        }
        let refused: Vec<String> = incident.failed.iter().map(failed).collect();
        self.item(2, &format!("refused: {}", refused.join("; ")))?;
        if let Some(onset) = &incident.onset {
            let when = self.time(incident.began_ns);
            self.item(2, &format!("held at its onset, {when}: {}", holders(onset)))?;
        }
        if let Some(worst) = &incident.worst {
            let when = self.time(incident.worst_ns);
            let line = format!(
                "held at its worst, {when}, {} refused in a second: {}",
                incident.worst_per_second,
                holders(worst)
            );
            self.item(2, &line)?;
        }
        if let Some(full) = incident.spaces.first()
            && incident.before.iter().any(Option::is_some)
        {
            let line = sparkline(&incident.before, full.space.capacity);
            self.item(2, &format!("the ten minutes before: {line}"))?;
        }
        if let Some(cause) = &incident.cause {
            self.item(2, &format!("cause: {}", because(cause)))?;
        }
        if incident.remedies.is_empty() {
            return Ok(());
        }
        self.item(2, "what would have helped:")?;
        for (number, remedy) in (1..).zip(&incident.remedies) {
            self.item(4, &format!("{number}. {}", remedy.text))?;
        }
        Ok(())
    }
}

fn failed(failed: &Failed) -> String {
    let (name, error) = (holder_name(failed.process.as_deref()), error_name(failed.errno));
    format!("{name} {} times ({error})", failed.count)
}

fn holders(story: &Story) -> String {
    let each = |holder: &Holder| {
        let parts = [
            (holder.established, "established"),
            (holder.time_wait, "TIME_WAIT"),
            (holder.bound, "bound"),
            (holder.other, "other"),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let name = holder_name(holder.process.as_deref());
        format!("{name} {} ({})", holder.total(), parts.join(", "))
    };
    match &story.holders[..] {
        [] => "nobody".to_owned(),
        all => all.iter().take(HOLDERS).map(each).collect::<Vec<_>>().join("; "),
    }
}

/// Why, and what says so.
pub(crate) fn because(cause: &Cause) -> String {
    let Cause { kind, evidence } = cause;
    let Evidence { capacity, time_wait, established, bound, .. } = evidence;
    let what = match kind {
        CauseKind::Churn => "connections come and go faster than TIME_WAIT ends",
        CauseKind::Leak => "connections are opened, kept for long, and hardly any closed",
        CauseKind::BindHeld => "ports are held by bind(), which connect() can't share",
        CauseKind::Concurrency => "that many connections are in use at the same time",
        CauseKind::SmallRange => "the range is small",
    };
    let mut text = format!(
        "{} ({what}): of {capacity} ports {time_wait} in TIME_WAIT, {established} connected, {bound} \
         taken by bind()",
        kind.name().replace('_', " ")
    );
    if let Some(closed) = evidence.closed_per_second() {
        text.push_str(&format!("; closed {}", rate(closed)));
    }
    if let Some(grew) = evidence.growth_per_second() {
        text.push_str(&format!("; used grew {}", rate(grew)));
    }
    if let Some(seconds) = evidence.median_age_seconds {
        text.push_str(&format!("; median age of the connections {}", age(seconds)));
    }
    text
}

/// A bar for each sample, a dot where nothing is known.
pub(crate) fn sparkline(samples: &[Option<u32>], capacity: u32) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let last = BARS.len() as u64 - 1;
    samples
        .iter()
        .map(|sample| {
            sample.map_or('·', |used| {
                let at = (u64::from(used) * last).div_ceil(u64::from(capacity.max(1)));
                BARS[usize::try_from(at.min(last)).unwrap_or(0)]
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_go_from_empty_to_full_and_what_is_not_known_is_a_dot() {
        let samples = [None, Some(0), Some(1), Some(50), Some(99), Some(100), Some(200)];
        assert_eq!(sparkline(&samples, 100), "·▁▂▅███");
        assert_eq!(sparkline(&[Some(1)], 0), "█");
    }
}
