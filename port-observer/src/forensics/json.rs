//! What happened, as one JSON object.

use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Forensics, Group, Held, Incident, Point, Remedy, Run, SAMPLE, Series, Taken, Timeline,
};
use crate::{
    event::{Endpoint, Refusal},
    process::{Container, Process},
    report::{Cause, Holder, Space, SpaceKind},
    words::{errno::ErrorName, escape::write_json},
};

/// The version of the format.
const SCHEMA: u32 = 1;

/// Writes it with a line end.
///
/// # Errors
/// Writing failed; `BrokenPipe` says that the reader has left.
pub fn write(mut out: impl Write, told: &Forensics) -> io::Result<()> {
    write_object(&mut out, told)?;
    out.write_all(b"\n")
}

/// Writes it without a line end.
pub(super) fn write_object(out: impl Write, told: &Forensics) -> io::Result<()> {
    let object = json!({
        "schema": SCHEMA,
        "runs": told.runs.iter().map(run).collect::<Vec<_>>(),
        "losses": told.losses.iter().map(|loss| json!({
            "where": loss.place.name(), "kind": loss.kind.name(), "count": loss.count,
        })).collect::<Vec<_>>(),
        "incidents": told.incidents.iter().map(incident).collect::<Vec<_>>(),
        "incidents_left_out": told.left_out,
        "conflicts": told.taken.most.iter().map(taken).collect::<Vec<_>>(),
        "conflicts_count": told.taken.count,
        "refusals": told.refused.most.iter().map(taken).collect::<Vec<_>>(),
        "refusals_count": told.refused.count,
        "timelines": told.timelines.iter().map(timeline).collect::<Vec<_>>(),
    });
    Ok(write_json(&object, out)?)
}

pub(super) fn time(time_ns: i64) -> String {
    let time = Timestamp::from_nanosecond(time_ns.into()).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.9}")
}

/// Leaves out what is not known.
fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let known = fields.into_iter().filter(|(_, value)| !value.is_null());
    known.map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()
}

fn run(run: &Run) -> Value {
    json!({
        "host": run.start.host,
        "kernel": run.start.kernel,
        "version": run.start.version,
        "backend": run.start.backend,
        "exact": run.start.exact,
        "missing": run.start.missing,
        "began": time(run.began_ns),
        "ended": time(run.ended_ns),
        "acquired": run.stop.acquired,
        "released": run.stop.released,
        "exhausted": run.stop.exhausted,
        "lost": run.stop.lost,
    })
}

fn incident(incident: &Incident) -> Value {
    let spaces = incident
        .spaces
        .iter()
        .map(|full| object([("space", space(&full.space)), ("failures", full.failures.into())]));
    let failed = incident.failed.iter().map(|failed| {
        object([
            ("process", failed.process.as_deref().map(process).into()),
            ("processes", several(failed.processes)),
            ("errno", ErrorName(failed.errno).to_string().into()),
            ("count", failed.count.into()),
        ])
    });
    let count = incident.before.len() as u64;
    let samples = (1..).zip(&incident.before).filter_map(|(number, used)| {
        let seconds = (count - number) * SAMPLE.as_secs();
        used.map(|used| json!({ "seconds_before": seconds, "used": used }))
    });
    object([
        ("began", time(incident.began_ns).into()),
        ("ended", time(incident.ended_ns).into()),
        ("netns", incident.netns.into()),
        ("names", incident.names.clone().into()),
        ("protocol", incident.protocol.name().into()),
        ("via", incident.via.name().into()),
        ("failures", incident.failures.into()),
        ("worst", time(incident.worst_ns).into()),
        ("worst_failures_per_second", incident.worst_per_second.into()),
        ("spaces", spaces.collect()),
        ("failed", failed.collect()),
        ("holders_at_onset", incident.onset.as_deref().map(holders).into()),
        ("holders_at_worst", incident.worst.as_deref().map(holders).into()),
        ("used_before", samples.collect()),
        ("cause", incident.cause.as_ref().map(cause).into()),
        ("ephemeral_range", incident.range.map(|r| json!({ "min": r.min, "max": r.max })).into()),
        ("remedies", incident.remedies.iter().map(remedy).collect()),
    ])
}

fn end(end: Endpoint) -> Value {
    json!({ "address": end.address.to_canonical(), "port": end.port })
}

fn taken(taken: &Taken) -> Value {
    let single = |holder: &Holder| Group { holder: holder.clone(), processes: 1 };
    let held: Vec<Group> = taken.holders.iter().map(single).collect();
    object([
        ("began", time(taken.began_ns).into()),
        ("ended", time(taken.ended_ns).into()),
        ("netns", taken.netns.into()),
        ("names", Some(taken.names.clone()).filter(|names| !names.is_empty()).into()),
        ("protocol", taken.protocol.name().into()),
        ("via", taken.via.name().into()),
        ("errno", ErrorName(taken.errno).to_string().into()),
        ("reason", taken.refusal.map(Refusal::name).into()),
        ("local", taken.local.map(end).into()),
        ("remote", taken.remote.map(end).into()),
        ("process", taken.process.as_deref().map(process).into()),
        ("count", taken.count.into()),
        ("holders", (!held.is_empty()).then(|| holders(&held)).into()),
        ("remedy", Some(taken.remedies()).filter(|remedies| !remedies.is_empty()).into()),
    ])
}

/// In columns, of which each point has one value.
fn timeline(timeline: &Timeline) -> Value {
    let column = |of: fn(&Point) -> u64| timeline.points.iter().map(of).collect::<Vec<_>>();
    let held = |held: &mut dyn Iterator<Item = Held>| {
        let (in_use, time_wait): (Vec<u32>, Vec<u32>) =
            held.map(|held| (held.in_use, held.time_wait)).unzip();
        [("in_use", in_use.into()), ("time_wait", time_wait.into())]
    };
    let series = |series: &Series| {
        let process = series.process.as_deref();
        let one = process.filter(|_| !series.is_several);
        let container = process.and_then(|process| process.container.as_deref());
        let fields = [
            ("name", process.map(|process| process.name.clone()).into()),
            ("pid", one.map(|process| process.pid).into()),
            ("container", container.map(self::container).into()),
        ];
        object(fields.into_iter().chain(held(&mut series.held.iter().copied())))
    };
    #[expect(clippy::cast_precision_loss, reason = "a time, in seconds")]
    let step_seconds = timeline.step_ns as f64 / 1e9;
    json!({
        "space": space(&timeline.space),
        "fullest": time(timeline.fullest_ns),
        "began": time(timeline.began_ns),
        "step_seconds": step_seconds,
        "bucket": timeline.points.iter().map(|point| point.bucket).collect::<Vec<_>>(),
        "used": column(|point| point.used.into()),
        "capacity": column(|point| point.capacity.into()),
        "refused": column(|point| point.refused),
        "series": timeline.series.iter().map(series).collect::<Vec<_>>(),
        "others": object(held(&mut timeline.points.iter().map(|point| point.others))),
    })
}

fn remedy(remedy: &Remedy) -> Value {
    object([
        ("kind", remedy.kind.name().into()),
        ("process", remedy.process.as_deref().map(process).into()),
        ("ephemeral_range", remedy.range.map(|r| json!({ "min": r.min, "max": r.max })).into()),
        ("addresses", remedy.addresses.into()),
        ("text", remedy.text.clone().into()),
    ])
}

/// How many processes there are of the name, if there is more than that one.
fn several(processes: u32) -> Value {
    (processes > 1).then_some(processes).into()
}

fn process(process: &Process) -> Value {
    let command_line = &process.command_line;
    let cut: Vec<&str> = process.cut.fields().collect();
    object([
        ("pid", process.pid.into()),
        ("name", process.name.clone().into()),
        ("executable", process.executable.as_deref().into()),
        ("command_line", (!command_line.is_empty()).then(|| command_line.to_vec()).into()),
        ("uid", process.uid.into()),
        ("cgroup", process.cgroup.as_deref().into()),
        ("container", process.container.as_deref().map(container).into()),
        ("truncated", (!cut.is_empty()).then_some(cut).into()),
    ])
}

fn container(container: &Container) -> Value {
    object([
        ("id", container.id.clone().into()),
        ("name", container.name.clone().into()),
        ("runtime", container.runtime.into()),
    ])
}

fn space(space: &Space) -> Value {
    let (kind, source, destination, address) = match space.kind {
        SpaceKind::Connect { source, destination } => {
            let to = json!({ "address": destination.address, "port": destination.port });
            ("connect", json!(source.to_canonical()), to, Value::Null)
        }
        SpaceKind::Bind { address } => {
            ("bind", Value::Null, Value::Null, json!(address.to_canonical()))
        }
    };
    object([
        ("kind", kind.into()),
        ("netns", space.netns.into()),
        ("protocol", space.protocol.name().into()),
        ("source", source),
        ("destination", destination),
        ("address", address),
        ("capacity", space.capacity.into()),
        ("used", space.used.into()),
        ("headroom", space.headroom.into()),
        ("used_percent", rounded(Some(space.used_percent()))),
    ])
}

fn holders(groups: &[Group]) -> Vec<Value> {
    let group = |Group { holder, processes }: &Group| {
        let of_process = [
            ("process", holder.process.as_deref().map(process).into()),
            ("processes", several(*processes)),
        ];
        let counts = holder.counts.in_json().map(|(name, count)| (name, count.into()));
        let total = [("total", holder.total().into())];
        let way = [
            ("open_in", holder.open_in.as_deref().map(|one| vec![process(one)]).into()),
            ("how", holder.way.map(|way| way.how.name()).into()),
            ("local", holder.way.map(|way| end(way.local)).into()),
            ("remote", holder.way.and_then(|way| way.remote).map(end).into()),
        ];
        object(of_process.into_iter().chain(way).chain(counts).chain(total))
    };
    groups.iter().map(group).collect()
}

fn cause(cause: &Cause) -> Value {
    let evidence = &cause.evidence;
    let evidence = object([
        ("capacity", evidence.capacity.into()),
        ("time_wait", evidence.time_wait.into()),
        ("reusable", evidence.reusable.into()),
        ("established", evidence.established.into()),
        ("syn_sent", evidence.syn_sent.into()),
        ("close_wait", evidence.close_wait.into()),
        ("closing", evidence.closing.into()),
        ("other", evidence.other.into()),
        ("bound", evidence.bound.into()),
        ("closed_per_second", rounded(evidence.closed_per_second())),
        ("median_age_seconds", rounded(evidence.median_age_seconds)),
        ("growth_per_second", rounded(evidence.growth_per_second())),
    ]);
    json!({ "kind": cause.kind.name(), "evidence": evidence })
}

/// At most three decimals; what is no finite number is not known.
fn rounded(value: Option<f64>) -> Value {
    value.map(|value| (value * 1000.0).round() / 1000.0).into()
}
