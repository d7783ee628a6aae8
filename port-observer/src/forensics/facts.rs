//! What is said of what happened, for all forms in which it is read.

use jiff::tz::TimeZone;

use super::{AllTaken, Failed, Group, Incident, Loss, Run, Taken};
use crate::{
    event::{Endpoint, Via},
    words::{
        causes::{because, counts},
        conflicts,
        errno::ErrorName,
        escape::escape,
        figures::{age, ends, group_name, holder_name, percent, sparkline},
        namespaces::numbered,
        refusals::{self, Place},
        sentences, times,
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
        times::local(time_ns.into(), self.zone, format)
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
            "{} to {}, backend {}{exact}: {} acquired, {} released, {} refused \
             for want of a port",
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
            Via::Listen => "listen()",
        };
        let calls = if incident.failures == 1 { "call" } else { "calls" };
        #[expect(clippy::cast_precision_loss, reason = "a time, in seconds")]
        let lasted = incident.ended_ns.saturating_sub(incident.began_ns) as f64 / 1e9;
        let (began, lasted) = (self.date(incident.began_ns), age(lasted));
        format!("{began}, for {lasted}: {} {call} {calls} refused", incident.failures)
    }

    /// Where, what was full, whose calls were refused, and who held the ports.
    pub fn facts(&self, incident: &Incident) -> Vec<Fact> {
        let protocol = incident.protocol.name();
        let netns = numbered(incident.netns, &incident.names);
        let place = format!("{protocol}, network namespace {netns}");
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
            refused.push(format!("others {}", count_of(more)));
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
            (Via::Connect, Some(to)) if taken.refusal.is_some() => format!("connect() to {to}"),
            (Via::Connect, Some(to)) => format!("connect() from {} to {to}", end(taken.local)),
            (Via::Connect, None) => format!("connect() from {}", end(taken.local)),
            (Via::Listen, _) => format!("listen() on {}", end(taken.local)),
            (Via::Bind | Via::Autobind, _) => format!("bind() to {}", end(taken.local)),
        };
        let remedies = taken.remedies();
        let helps = match remedies.is_empty() {
            true => String::new(),
            false => format!(". What helps: {}", remedies.join("; ")),
        };
        let held = match (&taken.holders[..], taken.refusal) {
            (_, Some(refusal)) => {
                let why = refusals::why(refusal, taken.local, taken.remote, Place::Namespace);
                format!("; {why}{helps}")
            }
            ([], None) => String::new(),
            ([first, more @ ..], None) => {
                let others = match more.len() {
                    0 => String::new(),
                    more => format!(", and {more} more"),
                };
                format!("; {}{others}{helps}", conflicts::holder(first))
            }
        };
        #[expect(clippy::cast_precision_loss, reason = "a time, in seconds")]
        let lasted = taken.ended_ns.saturating_sub(taken.began_ns) as f64 / 1e9;
        format!(
            "{}, for {}: {what} ({}, network namespace {}) refused to {} {} ({}){held}",
            self.date(taken.began_ns),
            age(lasted),
            taken.protocol.name(),
            numbered(taken.netns, &taken.names),
            holder_name(taken.process.as_deref()),
            count_of(taken.count),
            ErrorName(taken.errno),
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

/// How many calls wanted an address that was not there; `None`: none did.
pub(super) fn refused_headline(refused: &AllTaken) -> Option<String> {
    let calls = if refused.count == 1 { "call" } else { "calls" };
    let count = refused.count;
    (count > 0).then(|| {
        format!("{count} {calls} failed for an address that was not there, not for a port")
    })
}

/// How many of them are not named.
pub(super) fn taken_left_out(taken: &AllTaken) -> Option<String> {
    let named = taken.most.iter().fold(0u64, |sum, one| sum.saturating_add(one.count));
    let more = taken.count.saturating_sub(named);
    (more > 0).then(|| format!("{more} more, each less often"))
}

/// What is missing, and why.
pub(super) fn lost(loss: &Loss) -> String {
    format!("lost: {}", sentences::lost(loss.count, loss.place, loss.kind, None))
}

/// What no room was found for.
pub(super) fn left_out(count: usize) -> Option<String> {
    (count > 0).then(|| format!("And {count} smaller incidents (see --from, --to)."))
}

fn count_of(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn failed(failed: &Failed) -> String {
    let name = group_name(failed.process.as_deref(), failed.processes);
    let error = ErrorName(failed.errno);
    format!("{name} {} ({error})", count_of(failed.count))
}

fn holders(groups: &[Group]) -> String {
    let each = |Group { holder, processes }: &Group| {
        let name = group_name(holder.process.as_deref(), *processes);
        let open_in = holder.open_in.as_deref().map_or_else(String::new, |open_in| {
            format!(", open in {}", holder_name(Some(open_in)))
        });
        format!("{name}{open_in} {} ({})", holder.total(), counts(holder))
    };
    match groups {
        [] => "nobody".to_owned(),
        all => all.iter().take(HOLDERS).map(each).collect::<Vec<_>>().join("; "),
    }
}
