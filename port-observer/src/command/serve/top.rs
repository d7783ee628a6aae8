//! What the page shows, asked of the ledger and put into words.

use std::collections::HashMap;

use super::Failed;
use crate::{
    event::{Endpoint, Via},
    forensics,
    ledger::{Census, Ledger},
    report::{Holder, NamespaceUse},
    screen::state::FailedCall,
    serve::{Failure, Fullest, Held, Top},
    sink::UtcClock,
    words::{
        causes::{Call, advice, because, counts},
        conflicts::{self, Refused},
        errno::error,
        escape::escape,
        figures::{container_name, ends, holder_name, holder_names},
        refusals::{self, Place},
    },
};

/// How many spaces are shown.
const SPACES: usize = 12;
/// How many names of each.
const NAMES: usize = 12;
/// How many calls that failed.
const FAILURES: usize = 50;
/// How many holders of a failure.
const HOLDERS: usize = 5;

/// Looks at the fullest spaces and the latest failures.
pub(super) fn look(ledger: &mut Ledger, failed: &Failed, now_ns: u64, offset_ns: i64) -> Top {
    let spaces = ledger.census(now_ns, SPACES, &[]).into_iter().map(fullest).collect();
    let namespaces = ledger.holdings().namespace_ports();
    let rows = failed.0.rows().take(FAILURES);
    let mut clock = UtcClock::default();
    clock.set_offset(offset_ns);
    let failures = rows.map(|call| failure(call, &namespaces, &mut clock)).collect();
    Top {
        time: clock.format(now_ns).to_owned(),
        spaces,
        most_spaces: SPACES,
        failures,
        failed: failed.0.total(),
    }
}

fn fullest(Census { space, holders }: Census) -> Fullest {
    Fullest { name: ends(&space), space, holders: by_name(&holders) }
}

/// By name and container, so that a picture has room for a pool of workers, and a program that is
/// restarted goes on as it was.
fn by_name(holders: &[Holder]) -> Vec<Held> {
    let mut by_name: HashMap<(Option<String>, Option<String>), Held> = HashMap::new();
    for holder in holders {
        let process = holder.process.as_deref();
        let name = process.map(|process| escape(&process.name).into_owned());
        let container = process.and_then(|process| process.container.as_deref());
        let container = container.map(|container| escape(container_name(container)).into_owned());
        let pid = process.map(|process| process.pid);
        let held = by_name.entry((name.clone(), container.clone())).or_insert_with(|| Held {
            name,
            pid,
            container,
            ..Held::default()
        });
        if held.pid != pid {
            held.pid = None;
        }
        held.time_wait += holder.counts.time_wait;
        held.in_use += holder.total() - holder.counts.time_wait;
    }
    let mut names: Vec<Held> = by_name.into_values().collect();
    names.sort_unstable_by(|a, b| {
        let ports = |held: &Held| held.in_use + held.time_wait;
        ports(b).cmp(&ports(a)).then_with(|| (&a.name, &a.container).cmp(&(&b.name, &b.container)))
    });
    names.truncate(NAMES);
    names
}

fn failure(call: &FailedCall, namespaces: &[NamespaceUse], clock: &mut UtcClock) -> Failure {
    let port = &call.port;
    let caller = port.caller.as_ref().map(|caller| &*caller.process);
    Failure {
        number: call.number,
        began: clock.format(call.began_ns).to_owned(),
        time: clock.format(call.time_ns).to_owned(),
        count: call.count,
        who: holder_name(caller),
        call: asked(call),
        error: error(call.errno),
        netns: port.netns,
        protocol: port.protocol.name(),
        remote: port.remote,
        why: why(call),
        held: held(call),
        remedies: remedies(call, namespaces),
    }
}

/// What was called, and for which ports.
fn asked(call: &FailedCall) -> String {
    let function = match call.via {
        Via::Connect => "connect()",
        Via::Bind => "bind()",
        Via::Autobind => "automatic bind",
        Via::Listen => "listen()",
    };
    if let Some(story) = &call.story {
        return format!("{function} {}", ends(&story.space));
    }
    let end = |end: Endpoint| match end.port {
        0 => end.address.to_canonical().to_string(),
        _ => end.to_string(),
    };
    let from = call.port.local.map_or_else(String::new, |local| format!(" {}", end(local)));
    let to = call.port.remote.map_or_else(String::new, |remote| format!(" → {remote}"));
    format!("{function}{from}{to}")
}

fn why(call: &FailedCall) -> String {
    match (&call.story, call.refusal) {
        (_, Some(refusal)) => {
            refusals::why(refusal, call.port.local, call.port.remote, Place::Namespace)
        }
        (Some(story), None) => {
            let space = &story.space;
            let left = format!("{} of {} ports were left", space.headroom, space.capacity);
            story.cause.as_ref().map_or(left.clone(), |cause| format!("{left}: {}", because(cause)))
        }
        (None, None) if call.in_the_way.is_empty() => String::new(),
        (None, None) => "somebody has the port".to_owned(),
    }
}

fn held(call: &FailedCall) -> Vec<String> {
    let (all, line): (&[Holder], fn(&Holder) -> String) = match &call.story {
        Some(story) => {
            (&story.holders, |holder| format!("{}: {}", holder_names(holder), counts(holder)))
        }
        None => (&call.in_the_way, conflicts::holder),
    };
    all.iter().take(HOLDERS).map(line).collect()
}

fn remedies(call: &FailedCall, namespaces: &[NamespaceUse]) -> Vec<String> {
    let port = &call.port;
    if let Some(refusal) = call.refusal {
        return refusals::remedies(refusal, port.local, port.remote);
    }
    let Some(story) = &call.story else {
        let caller = port.caller.as_ref().map(|caller| &*caller.process);
        let refused = Refused { via: call.via, protocol: port.protocol, caller };
        return conflicts::remedies(&call.in_the_way, refused);
    };
    let namespace = namespaces.iter().find(|one| one.netns == port.netns);
    let range = namespace.and_then(|one| one.ports.as_ref()).map(|ports| ports.ephemeral);
    let refused = (call.errno, call.worst.calls, call.worst.threads);
    let incident = forensics::of_call(port, call.via, refused, story, range);
    let mut remedies: Vec<String> =
        incident.remedies.into_iter().map(|remedy| remedy.text).collect();
    if remedies.is_empty()
        && let Some(cause) = &story.cause
    {
        remedies.push(advice(cause, Call::of(&story.space)).to_owned());
    }
    remedies
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{process::Process, report::Counts};

    fn holder(name: &str, pid: u32, established: u32, time_wait: u32) -> Holder {
        let process = Process { pid, name: name.to_owned(), ..Process::default() };
        Holder {
            process: Some(Arc::new(process)),
            open_in: None,
            counts: Counts { established, time_wait, ..Counts::default() },
            way: None,
        }
    }

    #[test]
    fn processes_of_a_name_are_one_and_a_single_one_has_its_number() {
        let unknown = Holder { process: None, ..holder("", 0, 1, 0) };
        let holders = [holder("b", 7, 1, 2), unknown, holder("a", 1, 3, 0), holder("a", 2, 1, 1)];
        let names: Vec<_> = by_name(&holders)
            .into_iter()
            .map(|held| (held.name, held.pid, held.in_use, held.time_wait))
            .collect();
        let name = |name: &str| Some(name.to_owned());
        let expected = [(name("a"), None, 4, 1), (name("b"), Some(7), 1, 2), (None, None, 1, 0)];
        assert_eq!(names, expected);
    }

    #[test]
    fn names_are_escaped_and_bounded() {
        let many: Vec<Holder> = (0..40).map(|n| holder(&format!("{n}\x1b"), n, n, 0)).collect();
        let names = by_name(&many);
        assert_eq!(names.len(), NAMES);
        assert_eq!(names[0].name.as_deref(), Some("39\\x1b"));
    }
}
