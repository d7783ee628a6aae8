//! What is said of what happened, for all forms in which it is read.

use jiff::{Timestamp, tz::TimeZone};

use super::{AllTaken, Failed, Group, Incident, Loss, Run, Taken, group::who};
use crate::{
    event::{Endpoint, Via},
    report::{Cause, CauseKind, Evidence},
    sink::{
        escape::escape,
        table::{
            figures::{age, ends, holder_name, percent, rate},
            words::{self, error_name},
        },
    },
};

/// How many holders are named.
const HOLDERS: usize = 5;

/// Times of day in a zone.
pub(super) struct Words<'z> {
    /// Which.
    pub zone: &'z TimeZone,
}

/// A statement and what it is about.
pub(super) struct Fact {
    /// About what.
    pub label: String,
    /// What.
    pub text: String,
}

fn fact(label: impl Into<String>, text: String) -> Fact {
    Fact { label: label.into(), text }
}

impl Words<'_> {
    /// A day and time.
    pub fn date(&self, time_ns: i64) -> String {
        self.format(time_ns, "%Y-%m-%d %H:%M:%S")
    }

    fn time(&self, time_ns: i64) -> String {
        self.format(time_ns, "%H:%M:%S")
    }

    fn format(&self, time_ns: i64, format: &str) -> String {
        let time = Timestamp::from_nanosecond(time_ns.into()).unwrap_or(Timestamp::UNIX_EPOCH);
        time.to_zoned(self.zone.clone()).strftime(format).to_string()
    }

    /// Where it was recorded.
    pub fn host(&self, runs: &[Run]) -> String {
        let Some(first) = runs.first() else { return "Nothing was recorded.".to_owned() };
        format!(
            "Recorded on {} (Linux {}), times are UTC{}",
            escape(&first.start.host),
            escape(&first.start.kernel),
            self.format(first.began_ns, "%:z")
        )
    }

    /// A run.
    pub fn run(&self, run: &Run) -> String {
        let exact = if run.start.exact { "" } else { " (not exact)" };
        let stop = &run.stop;
        format!(
            "{} to {}, backend {}{exact}: {} acquired, {} released, {} refused",
            self.date(run.began_ns),
            self.date(run.ended_ns),
            run.start.backend,
            stop.acquired,
            stop.released,
            stop.exhausted
        )
    }

    /// When, for how long, and how many calls were refused.
    pub fn headline(&self, incident: &Incident) -> String {
        let call = match incident.via {
            Via::Connect => "connect()",
            Via::Bind => "bind()",
            Via::Autobind => "automatic bind",
        };
        let calls = if incident.failures == 1 { "call" } else { "calls" };
        #[expect(clippy::cast_precision_loss, reason = "a time, in seconds")]
        let lasted = incident.ended_ns.saturating_sub(incident.began_ns) as f64 / 1e9;
        let (began, lasted) = (self.date(incident.began_ns), age(lasted));
        format!("{began}, for {lasted}: {} {call} {calls} refused", incident.failures)
    }

    /// Where, what was full, whose calls were refused, and who held the ports.
    pub fn facts(&self, incident: &Incident) -> Vec<Fact> {
        let names = match &incident.names[..] {
            [] => String::new(),
            names => format!(" ({})", escape(&names.join(", "))),
        };
        let protocol = incident.protocol.name();
        let place = format!("{protocol}, network namespace {}{names}", incident.netns);
        let mut facts = vec![fact("where", place)];
        for full in &incident.spaces {
            let text = format!(
                "{}, {} of {} ports used ({}), {} refused",
                ends(&full.space),
                full.space.used,
                full.space.capacity,
                percent(&full.space),
                full.failures
            );
            facts.push(fact("full", text));
        }
        let mut refused: Vec<String> = incident.failed.iter().map(failed).collect();
        let told: u64 = incident.failed.iter().map(|failed| failed.count).sum();
        if let Some(more @ 1..) = incident.failures.checked_sub(told) {
            refused.push(format!("others {}", times(more)));
        }
        facts.push(fact("refused", refused.join("; ")));
        if let Some(onset) = &incident.onset {
            let when = self.time(incident.began_ns);
            facts.push(fact(format!("held at its onset, {when}"), holders(onset)));
        }
        if let Some(worst) = &incident.worst {
            let when = self.time(incident.worst_ns);
            let most = incident.worst_per_second;
            let label = format!("held at its worst, {when}, {most} refused in a second");
            facts.push(fact(label, holders(worst)));
        }
        facts
    }

    /// Who wanted what, how often, and who had it.
    pub fn taken(&self, taken: &Taken) -> String {
        let end =
            |end: Option<Endpoint>| end.map_or("several ports".to_owned(), |at| at.to_string());
        let what = match (taken.via, taken.remote) {
            (Via::Connect, Some(to)) => format!("connect() from {} to {to}", end(taken.local)),
            (Via::Connect, None) => format!("connect() from {}", end(taken.local)),
            (Via::Bind | Via::Autobind, _) => format!("bind() to {}", end(taken.local)),
        };
        let held = match &taken.holders[..] {
            [] => String::new(),
            [first, more @ ..] => {
                let others = match more.len() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!("; held by {}{others}", holder_name(first.process.as_deref()))
            }
        };
        #[expect(clippy::cast_precision_loss, reason = "a time, in seconds")]
        let lasted = taken.ended_ns.saturating_sub(taken.began_ns) as f64 / 1e9;
        format!(
            "{}, for {}: {what} ({}, network namespace {}) refused to {} {} ({}){held}",
            self.date(taken.began_ns),
            age(lasted),
            taken.protocol.name(),
            taken.netns,
            holder_name(taken.process.as_deref()),
            times(taken.count),
            error_name(taken.errno),
        )
    }

    /// How the space grew that failed the most, in a line.
    pub fn growth(&self, incident: &Incident) -> Option<Fact> {
        let full = incident.spaces.first()?;
        let is_known = incident.before.iter().any(Option::is_some);
        let line = || sparkline(&incident.before, full.space.capacity);
        is_known.then(|| fact("the ten minutes before", line()))
    }

    /// Why, and what says so.
    pub fn cause(&self, incident: &Incident) -> Option<Fact> {
        incident.cause.as_ref().map(|cause| fact("cause", because(cause)))
    }
}

/// How many calls wanted a port that somebody had; `None`: none did.
pub(super) fn taken_headline(taken: &AllTaken) -> Option<String> {
    let calls = if taken.count == 1 { "call was" } else { "calls were" };
    (taken.count > 0)
        .then(|| format!("{} {calls} refused a certain port, which somebody had", taken.count))
}

/// How many of them are not named.
pub(super) fn taken_left_out(taken: &AllTaken) -> Option<String> {
    let named = taken.most.iter().fold(0u64, |sum, one| sum.saturating_add(one.count));
    let more = taken.count.saturating_sub(named);
    (more > 0).then(|| format!("{more} more, each less often"))
}

/// What is missing, and why.
pub(super) fn lost(loss: &Loss) -> String {
    format!("lost: {}", words::lost(loss.count, loss.place, loss.kind, None))
}

/// What no room was found for.
pub(super) fn left_out(count: usize) -> Option<String> {
    (count > 0).then(|| format!("And {count} smaller incidents (see --from, --to)."))
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn failed(failed: &Failed) -> String {
    let name = who(failed.process.as_deref(), failed.processes);
    let error = error_name(failed.errno);
    format!("{name} {} ({error})", times(failed.count))
}

fn holders(groups: &[Group]) -> String {
    let each = |Group { holder, processes }: &Group| {
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
        let name = who(holder.process.as_deref(), *processes);
        format!("{name} {} ({})", holder.total(), parts.join(", "))
    };
    match groups {
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
