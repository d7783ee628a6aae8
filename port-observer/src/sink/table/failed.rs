//! What was refused to a command, why and what to change: its last words, for people.

use super::story;
use crate::{
    report::{Body, FailedCalls, FailedKind, Port},
    words::{figures::group_name, refusals::Place, sentences},
};

/// Kinds that are shown, the most frequent first.
const KINDS_SHOWN: usize = 10;

/// How the command was observed, as far as it matters for what can be said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Calls that fail are seen at all.
    pub sees_failures: bool,
    /// How many events were lost.
    pub lost: u64,
}

/// The text, a line each. `what`: the beginning of the first sentence, such as `curl ended after 3.2 s`.
pub fn lines(what: &str, failed: &FailedCalls, seen: Seen) -> Vec<String> {
    let calls = failed.calls();
    let how = if seen.sees_failures { "taken" } else { "seen to be taken" };
    let taken = count(failed.taken, "port", how);
    let refused = match calls {
        0 if !seen.sees_failures => {
            "whether any call was refused is not known: this backend does not see calls that fail"
                .to_owned()
        }
        0 => "nothing was refused".to_owned(),
        calls => count(calls, "call", "refused"),
    };
    let mut lines = vec![format!("{what}: {taken}, {refused}")];
    let mut kinds: Vec<&FailedKind> = failed.kinds.iter().collect();
    // Stable: of equals the first that came.
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.calls));
    for kind in kinds.iter().take(KINDS_SHOWN) {
        lines.push(format!("  {}", headline(kind)));
        let why = match &kind.body {
            Body::Exhausted { story: Some(story), .. } => story::lines(story),
            body => story::change(body),
        };
        lines.extend(why.into_iter().map(|line| format!("    {line}")));
    }
    let shown = kinds.iter().take(KINDS_SHOWN).map(|kind| kind.calls).sum::<u64>();
    match calls.saturating_sub(shown) {
        0 => {}
        more => lines.push(format!("  and {more} more calls, for other ports or destinations")),
    }
    if seen.lost > 0 {
        let lost = count(seen.lost, "event", "lost");
        lines.push(format!("  {lost}: this may not be all (see --buffer-size)"));
    }
    lines
}

fn headline(kind: &FailedKind) -> String {
    let processes = u32::try_from(kind.processes).unwrap_or(u32::MAX);
    let who = group_name(kind.process.as_deref(), processes);
    let detail = sentences::detail(&kind.body, Place::Here);
    let place = kind.body.port().map_or_else(String::new, place);
    format!("{} × {who}{place}: {detail}", kind.calls)
}

/// What was asked for.
fn place(port: &Port) -> String {
    match (port.remote, port.local) {
        (Some(remote), _) => format!(" to {remote}"),
        (None, Some(local)) => format!(" on {local}"),
        (None, None) => String::new(),
    }
}

fn count(count: u64, of: &str, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    match count {
        0 => format!("no {of} {what}"),
        count => format!("{count} {of}{plural} {what}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        event::{Endpoint, Protocol, Via},
        process::{Caller, Process},
    };

    const SEEN: Seen = Seen { sees_failures: true, lost: 0 };

    fn refused(to: u16, pid: u32, repeated: u64) -> Body {
        let at = |port| Some(Endpoint::new([127, 0, 0, 1].into(), port));
        let process = Process { pid, name: "a\u{1b}b".to_owned(), ..Process::default() };
        let port = Port {
            netns: 1,
            protocol: Protocol::Tcp,
            local: at(0),
            remote: at(to),
            caller: Some(Caller { process: Arc::new(process), tid: pid }),
        };
        let errno = libc::EADDRNOTAVAIL;
        Body::Exhausted { port, via: Via::Connect, errno, search_ns: None, story: None, repeated }
    }

    #[test]
    fn nothing_refused_is_one_line() {
        let lines = lines("x ended", &FailedCalls::default(), SEEN);
        assert_eq!(lines, ["x ended: no port taken, nothing was refused"]);
    }

    #[test]
    fn what_can_not_be_known_is_not_denied() {
        let poll = Seen { sees_failures: false, lost: 0 };
        let text = lines("x ended", &FailedCalls::default(), poll).join("\n");
        assert!(text.contains("is not known") && !text.contains("nothing was refused"), "{text}");
        let lossy = Seen { lost: 3, ..SEEN };
        let text = lines("x ended", &FailedCalls::default(), lossy).join("\n");
        assert!(text.contains("3 events lost: this may not be all"), "{text}");
    }

    #[test]
    fn the_most_frequent_kinds_come_first_and_the_others_are_counted() {
        let mut failed = FailedCalls::default();
        for to in 1..=20 {
            failed.note(&refused(to, 7, 0));
        }
        failed.note(&refused(9, 8, 8));
        let lines = lines("x ended", &failed, SEEN);
        assert_eq!(lines[0], "x ended: no port taken, 29 calls refused");
        let second = "  10 × a\\x1bb (2 processes) to 127.0.0.1:9: EADDRNOTAVAIL Cannot assign";
        assert!(lines[1].starts_with(second), "{lines:#?}");
        assert_eq!(lines.last().unwrap(), "  and 10 more calls, for other ports or destinations");
        assert_eq!(lines.len(), 12);
    }
}
