//! Which limit it was: from what both ends show, and never from the error alone. Pure.

mod program;
mod target;

use nix::errno::Errno;

use super::{
    Evidence, Limit, Plan, Verdict,
    parts::End,
    parts::Progress,
    program::{Program, Use},
};
use crate::words::errno::ErrorName;

/// What a verdict is found from.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What was tried.
    pub plan: &'a Plan,
    /// Why clients ended.
    pub end: &'a End,
    /// How far they were.
    pub progress: &'a Progress,
    /// What the kernel shows.
    pub evidence: &'a Evidence,
}

/// A limit that is met, with the sentence that says so.
type Met = (Limit, String);

impl Seen<'_> {
    /// The limit that ended it, the others that were met, and why.
    pub fn conclude(&self) -> Verdict {
        let met = self.met();
        let (limit, reason) = match self.plan.program {
            Some(_) => self.of_program(&met),
            None => self.first(&met),
        };
        // That the server takes no more is what its own limits come to.
        let is_said = |one: Limit| one == Limit::Server && OF_THE_OTHER_END.contains(&limit);
        let mut also: Vec<Limit> =
            met.iter().map(|(one, _)| *one).filter(|one| *one != limit && !is_said(*one)).collect();
        also.sort_unstable();
        also.dedup();
        let others = met
            .into_iter()
            .filter(|(one, text)| *text != reason && (*one == limit || also.contains(one)));
        let others: Vec<String> = others.map(|(_, text)| text).collect();
        let mut reasons = vec![reason];
        reasons.extend(others);
        Verdict { limit, also, reasons }
    }

    /// The limit that ended it.
    fn first(&self, met: &[Met]) -> Met {
        let found = |wanted: &[Limit]| {
            let mut in_order =
                wanted.iter().flat_map(|one| met.iter().filter(move |it| it.0 == *one));
            in_order.next().cloned()
        };
        let progress = self.progress;
        match self.end {
            End::Reached => {
                (Limit::Requested, format!("all {} connections stand", progress.worked))
            }
            End::Memory => (Limit::Memory, self.memory()),
            // A filter refuses with any error.
            End::Refused { .. }
                if progress.is_filtered
                    && let Some(met) = found(&[Limit::Seccomp]) =>
            {
                met
            }
            End::Refused { call, errno } => found(&by_error(*errno)).unwrap_or_else(|| {
                let error = ErrorName(*errno);
                let text =
                    format!("{call}() fails with {error}, and no limit that is known is met");
                (unknown(*errno), text)
            }),
            End::Stalled | End::Closed => {
                // What never accepted shows no more than its queue.
                let is_queue_alone =
                    *self.end == End::Stalled && self.evidence.listening.accepted == 0;
                let last = if is_queue_alone { SERVER_LAST } else { QUEUE_LAST };
                found(&OF_THE_OTHER_END)
                    .or_else(|| found(&last))
                    .unwrap_or_else(|| (Limit::Server, self.silence()))
            }
            End::Died { how } => {
                let killed = [Limit::CgroupMemory, Limit::Memory];
                let why = format!("the process that connects died: {how}");
                // Nothing else sends it.
                if how.contains("SIGSYS") {
                    let why = format!("{why}, which a filter of system calls sends (seccomp)");
                    return (Limit::Seccomp, why);
                }
                found(&killed).unwrap_or((Limit::Unknown, why))
            }
            End::Full | End::Duration | End::Told | End::Exited { .. } => {
                let refused = progress.refused.iter().max_by_key(|(_, count)| **count);
                let most = refused.and_then(|(&errno, _)| found(&by_error(errno)));
                let hidden = || found(&[Limit::TimeWaitBuckets]);
                most.or_else(hidden).unwrap_or_else(|| {
                    (Limit::Duration, "no limit was met in the time that was given".to_owned())
                })
            }
        }
    }

    /// All limits that are met, or all but met.
    fn met(&self) -> Vec<Met> {
        let Self { evidence, .. } = *self;
        let mut met = Vec::new();
        let mut add = |limit, text: Option<String>| met.extend(text.map(|text| (limit, text)));
        add(Limit::EphemeralPorts, self.ports());
        add(Limit::FileDescriptors, self.descriptors());
        add(Limit::FileMax, self.files());
        add(Limit::TcpMemory, self.tcp_memory());
        let conntrack = evidence
            .conntrack
            .filter(|&(count, most)| nearly(count, most) || evidence.conntrack_drops > 0);
        add(
            Limit::Conntrack,
            conntrack.map(|(count, most)| {
                let drops = evidence.conntrack_drops;
                format!("{count} of {most} connections are tracked, {drops} packets dropped for that (nf_conntrack_max)")
            }),
        );
        add(Limit::Runtime, self.table());
        add(Limit::CgroupPids, self.processes_of_groups());
        add(Limit::CgroupMemory, self.memory_of_groups());
        add(Limit::Threads, self.threads());
        let of_group = [&evidence.client, &evidence.server].map(|end| end.group.memory_refused);
        // Those that a control group has killed count there too.
        let is_killed = evidence.oom_kills > 0 && of_group == [0, 0] && self.end.is_by_kill();
        let is_short = self.is_memory_short() || is_killed;
        add(Limit::Memory, is_short.then(|| self.memory()));
        add(Limit::Seccomp, self.filter());
        add(
            Limit::TimeWaitBuckets,
            (self.plan.is_churn() && evidence.time_wait_overflows > 0).then(|| {
                format!(
                    "{} connections ended without TIME_WAIT, as there were {} already \
                     (tcp_max_tw_buckets): nothing fails, and that ports run out does not show",
                    evidence.time_wait_overflows, evidence.time_wait_max
                )
            }),
        );
        for (limit, text) in self.other_end() {
            add(limit, Some(text));
        }
        met
    }

    /// A filter of system calls, which most containers have: that it is in force says nothing yet.
    fn filter(&self) -> Option<String> {
        let End::Refused { call, errno } = self.end else { return None };
        (self.progress.is_filtered && self.evidence.client.has_seccomp).then(|| {
            format!(
                "a filter of system calls is in force on who connects (Seccomp: 2), and refuses {call}() with {} \
                 whatever it is called with",
                ErrorName(*errno)
            )
        })
    }

    /// Ports of the range.
    fn ports(&self) -> Option<String> {
        let Evidence { ports, ports_used, pairs, pairs_full, time_wait, .. } = *self.evidence;
        // EAGAIN: of UDP.
        let is_refused = [libc::EADDRNOTAVAIL, libc::EADDRINUSE, libc::EAGAIN]
            .iter()
            .any(|errno| self.progress.refused.contains_key(errno));
        // Where connections come and go, it is full at one moment and not at the next.
        let is_full = nearly(ports_used.into(), ports.into())
            || (is_refused && (self.plan.is_churn() || self.plan.program.is_some()));
        if ports == 0 || !is_full {
            return None;
        }
        let each = match self.plan.has_ports_once() {
            true if self.plan.udp => "that UDP has of a source address, for all destinations,",
            true => "of a source address, which bind() chooses from",
            _ if pairs > 1 => "from a source to a destination",
            _ => "from this source to this destination",
        };
        let full = match pairs {
            ..=1 => String::new(),
            _ => format!("; {pairs_full} of {pairs} such spaces are full"),
        };
        let waiting = match time_wait {
            0 => String::new(),
            count => format!(", {count} in TIME_WAIT"),
        };
        if !nearly(ports_used.into(), ports.into()) {
            let of_ports = [libc::EADDRNOTAVAIL, libc::EADDRINUSE, libc::EAGAIN];
            let refused = |errno| self.progress.refused.get(errno).copied().unwrap_or(0);
            let refused: u64 = of_ports.iter().map(refused).sum();
            let times = if refused == 1 { "once".to_owned() } else { format!("{refused} times") };
            return Some(format!("{times} none of {ports} ports {each} was free{waiting}"));
        }
        Some(format!("{ports_used} of {ports} ports {each} are used{waiting}{full}"))
    }

    /// Descriptors of either end, unless they are spread over as many processes as it takes.
    fn descriptors(&self) -> Option<String> {
        let mut texts = Vec::new();
        let of_client = self.progress.refused.contains_key(&libc::EMFILE);
        let (open, limit) = self.evidence.client.descriptors;
        if let Some(program) = self.program() {
            if nearly(open, limit) {
                texts.push(format!("{program} has {open} of {limit} descriptors open"));
            }
        } else if (of_client || self.plan.nofile.is_some()) && nearly(open, limit) {
            texts.push(format!("who connects has {open} of {limit} descriptors open"));
        }
        let (open, limit) = self.evidence.server.descriptors;
        let is_single = self.plan.nofile.is_some() || self.plan.server.is_some();
        if is_single && nearly(open, limit) {
            let name = &self.evidence.server.name;
            texts.push(format!("the server ({name}) has {open} of {limit} descriptors open"));
        } else if self.evidence.server.processes == 0
            && self.evidence.server_wrote.contains(Errno::EMFILE.desc())
        {
            let said = Errno::EMFILE.desc();
            texts.push(format!("the server ended, and wrote {said:?} before"));
        }
        let both_ends = self.both_ends();
        (!texts.is_empty()).then(|| format!("{} (RLIMIT_NOFILE){both_ends}", texts.join(", ")))
    }

    /// The name of the program that connects, where it is the user's.
    fn program(&self) -> Option<&str> {
        self.plan.program.as_ref().map(|_| &*self.evidence.client.name)
    }

    /// The table of the program that connects, or else of the server.
    fn table(&self) -> Option<String> {
        if let (Some(program), Some((called, each)), Some(has)) =
            (self.program(), &self.evidence.client.table, self.evidence.program)
        {
            let both_ends = self.both_ends();
            let Use { sockets, .. } = has;
            return (sockets + 16 >= *each || sockets * 5 >= each * 4).then(|| {
                format!("{program} has {sockets} sockets open; {called} is {each}{both_ends}")
            });
        }
        let server = &self.evidence.server;
        let (called, each) = server.table.as_ref()?;
        // Workers have one each, the program itself takes some places.
        let listening = &self.evidence.listening;
        let is_gone = server.processes == 0 || !listening.is_there;
        // Of one that is gone, some of what stood waited in its queue.
        let (accepted, queued) =
            if is_gone { (self.progress.peak, IN_QUEUE) } else { (listening.accepted, 0) };
        let is_there = accepted + 16 >= *each || accepted * 5 >= each * 4;
        let most = each.saturating_mul(u64::from(server.processes).max(1));
        let is_ended = matches!(self.end, End::Stalled | End::Closed) || is_gone;
        (is_ended && is_there && accepted <= most + queued).then(|| {
            let heard = match &self.progress.heard {
                Some(text) if self.progress.closed > 0 => format!(", and said {text:?}"),
                _ => String::new(),
            };
            let name = &server.name;
            format!("{name} accepted {accepted} connections; {called} is {each}{heard}")
        })
    }

    /// What of the other end shows that it does not take connections.
    fn other_end(&self) -> Vec<Met> {
        let Evidence { server, listening, .. } = self.evidence;
        if self.plan.target.is_some() && !listening.is_there {
            return self.target();
        }
        let mut met = Vec::new();
        let is_full = listening.queue > listening.queue_max;
        // Others of a namespace that it is watched in have queues too.
        if matches!(self.plan.program, Some(Program::Running(_))) && !is_full {
            return met;
        }
        if listening.overflows > 0 || (is_full && listening.is_there) {
            let now = match listening.is_there {
                true => format!(
                    "the accept queue has {} connections, its backlog is {}",
                    listening.queue, listening.queue_max
                ),
                false => "the accept queue was full".to_owned(),
            };
            let rate = match listening.accepted_per_second {
                0 => String::new(),
                rate => format!(", and the server ({}) accepts some {rate} a second", server.name),
            };
            let text =
                format!("{now}; {} were dropped (ListenOverflows){rate}", listening.overflows);
            met.push((Limit::AcceptQueue, text));
        }
        let is_ended = matches!(self.end, End::Stalled | End::Closed | End::Refused { .. });
        if !is_ended || self.plan.program.is_some() {
            return met;
        }
        let stops = if self.plan.target.is_some() && self.end != &End::Closed {
            None
        } else if server.processes == 0 && self.plan.target.is_none() {
            let wrote = match self.evidence.server_wrote.lines().last() {
                None => String::new(),
                Some(line) => format!("; it wrote {line:?} last"),
            };
            Some(format!("the server's process has ended{wrote}"))
        } else if !listening.is_there {
            Some("nobody listens on the server's port any more".to_owned())
        } else if server.is_stopped {
            Some(format!("the server ({}) is stopped by a signal", server.name))
        } else if self.end == &End::Closed {
            let heard = self.progress.heard.as_ref();
            let heard = heard.map_or_else(String::new, |text| format!(", after saying {text:?}"));
            let closed = self.progress.closed;
            Some(format!("the server closed {closed} connections that it had accepted{heard}"))
        } else if is_full && listening.accepted_per_second == 0 {
            let accepted = listening.accepted;
            Some(format!("the server ({}) accepts no more: {accepted} so far", server.name))
        } else {
            None
        };
        met.extend(stops.map(|text| (Limit::Server, text)));
        met
    }

    fn silence(&self) -> String {
        format!(
            "{} connections are being made and get no answer, without anything to see at the server",
            self.progress.pending
        )
    }

    fn is_memory_short(&self) -> bool {
        let (left, all) = self.evidence.memory;
        all > 0 && left < all / 25
    }

    fn memory(&self) -> String {
        let (left, all) = self.evidence.memory;
        let killed = match self.evidence.oom_kills {
            0 => String::new(),
            count => format!("; the kernel killed {count} for want of memory (oom_kill)"),
        };
        format!("{} of {} MiB of the host's memory are left{killed}", left >> 20, all >> 20)
    }
}

/// In which order limits of the other end explain that it takes no more.
const OF_THE_OTHER_END: [Limit; 8] = [
    Limit::Conntrack,
    Limit::TcpMemory,
    Limit::FileDescriptors,
    Limit::FileMax,
    Limit::Runtime,
    Limit::CgroupPids,
    Limit::Threads,
    Limit::CgroupMemory,
];
/// And then, of a server that has accepted.
const QUEUE_LAST: [Limit; 2] = [Limit::Server, Limit::AcceptQueue];
/// Of one that has not.
const SERVER_LAST: [Limit; 2] = [Limit::AcceptQueue, Limit::Server];

/// Limits that an error may come of.
fn by_error(errno: i32) -> Vec<Limit> {
    use Limit::{
        CgroupMemory, CgroupPids, EphemeralPorts, FileDescriptors, FileMax, Memory, Seccomp,
        Server, TcpMemory, Threads,
    };
    match errno {
        libc::EADDRNOTAVAIL | libc::EADDRINUSE => vec![EphemeralPorts],
        libc::EMFILE => vec![FileDescriptors],
        // The kernel has no other error for a socket that it has no memory for (`__sock_create`).
        libc::ENFILE => vec![FileMax, CgroupMemory, Memory],
        libc::ENOBUFS | libc::ENOMEM => vec![CgroupMemory, TcpMemory, Memory],
        libc::EAGAIN => vec![EphemeralPorts, CgroupPids, Threads],
        libc::EPERM | libc::ENOSYS | libc::EACCES => vec![Seccomp],
        _ if target::answers(errno) => OF_THE_OTHER_END.into_iter().chain([Server]).collect(),
        _ => Vec::new(),
    }
}

/// What can be said where nothing but an error shows: no more than whether the other end answered so.
fn unknown(errno: i32) -> Limit {
    if target::answers(errno) { Limit::Server } else { Limit::Unknown }
}

/// Connections that may wait in a queue that can't be looked at any more.
const IN_QUEUE: u64 = 1_024;

/// Whether all but one of fifty are used.
fn nearly(used: u64, most: u64) -> bool {
    most > 0 && used >= most - most / 50
}

mod machine;
#[cfg(test)]
mod tests;
