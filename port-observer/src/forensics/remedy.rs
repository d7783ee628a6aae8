//! What would have helped, with the numbers of the incident. Nothing is named that would not have:
//! what only puts a failure off is no remedy.

use super::{Group, Incident, Remedy, RemedyKind};
use crate::{
    event::{Protocol, Via},
    ports::PortRange,
    report::{Cause, CauseKind, Evidence, Holder, SpaceKind},
    words::figures::{group_name, rate},
};

/// How long TIME_WAIT lasts (`TCP_TIMEWAIT_LEN`, include/net/tcp.h).
const TIME_WAIT_SECONDS: f64 = 60.0;
/// What an ephemeral range can have at most, without the ports that take privileges to bind.
const LARGEST: PortRange = PortRange { min: 1024, max: 65_535 };
/// How much more than was needed is advised.
const RESERVE: f64 = 1.25;

/// What would have helped in an incident, the best first.
pub(super) fn remedies(incident: &Incident) -> Vec<Remedy> {
    let Some(cause) = &incident.cause else { return Vec::new() };
    let Cause { kind, evidence } = cause;
    let advice = Advice { incident, kind: *kind, evidence, holders: holders(incident) };
    if incident.protocol == Protocol::Udp {
        return advice.close_sockets().into_iter().chain(advice.range_or_addresses()).collect();
    }
    let remedies = match kind {
        CauseKind::Churn => {
            vec![advice.reuse_connections(), advice.tw_reuse(), advice.range_or_addresses()]
        }
        CauseKind::Leak => vec![advice.close_connections()],
        CauseKind::BindHeld => vec![
            advice.bind_address_no_port(),
            advice.ports_outside_range(),
            advice.range_or_addresses(),
        ],
        CauseKind::Unanswered => vec![advice.give_up_sooner()],
        CauseKind::NotClosed => vec![advice.close_what_peers_closed()],
        CauseKind::NotRead => vec![advice.reading_peer()],
        CauseKind::Concurrency | CauseKind::SmallRange => {
            vec![advice.bind_address_no_port(), advice.range_or_addresses()]
        }
    };
    remedies.into_iter().flatten().collect()
}

fn holders(incident: &Incident) -> &[Group] {
    incident.worst.as_deref().or(incident.onset.as_deref()).unwrap_or_default()
}

fn who(group: &Group) -> String {
    group_name(group.holder.process.as_deref(), group.processes)
}

/// Ports held by sockets that are bound, and connected nowhere.
fn idle(holder: &Holder) -> u32 {
    holder.counts.bound + holder.counts.listening
}

struct Advice<'a> {
    incident: &'a Incident,
    kind: CauseKind,
    evidence: &'a Evidence,
    holders: &'a [Group],
}

impl Advice<'_> {
    /// Whose ports are most of what `of` counts.
    fn largest(&self, of: impl Fn(&Holder) -> u32) -> Option<&Group> {
        let largest = self.holders.iter().max_by_key(|group| of(&group.holder));
        largest.filter(|group| of(&group.holder) > 0)
    }

    fn remedy(&self, kind: RemedyKind, group: Option<&Group>, text: String) -> Remedy {
        let process = group.and_then(|group| group.holder.process.clone());
        Remedy { kind, process, range: None, addresses: None, text }
    }

    /// Towards where, as the end of a sentence.
    fn towards(&self) -> String {
        match self.incident.spaces.first().map(|full| full.space.kind) {
            Some(SpaceKind::Connect { destination, .. }) => format!(" towards {destination}"),
            Some(SpaceKind::Bind { .. }) | None => String::new(),
        }
    }

    /// How many connections came and went each second; TIME_WAIT entries alone show a part of it.
    fn closed_per_second(&self) -> f64 {
        let kept = f64::from(self.evidence.time_wait) / TIME_WAIT_SECONDS;
        self.evidence.closed_per_second().unwrap_or(0.0).max(kept)
    }

    fn reuse_connections(&self) -> Option<Remedy> {
        let group = self.largest(|holder| holder.counts.time_wait)?;
        let text = format!(
            "Reuse connections (keep-alive, a pool) in {}{}: {} of the {} ports were kept by TIME_WAIT. \
             Connections were closed at {}, and each keeps its port for {TIME_WAIT_SECONDS:.0} s more",
            who(group),
            self.towards(),
            self.evidence.time_wait,
            self.evidence.capacity,
            rate(self.closed_per_second()),
        );
        Some(self.remedy(RemedyKind::ReuseConnections, Some(group), text))
    }

    /// Only entries that it would have let connect() take over count.
    fn tw_reuse(&self) -> Option<Remedy> {
        let reusable = self.evidence.reusable;
        if reusable == 0 || self.incident.via != Via::Connect {
            return None;
        }
        let text = format!(
            "Set net.ipv4.tcp_tw_reuse to 1: connect() could have taken over {reusable} of the {} ports \
             in TIME_WAIT",
            self.evidence.time_wait
        );
        Some(self.remedy(RemedyKind::TwReuse, None, text))
    }

    /// Of UDP.
    fn close_sockets(&self) -> Option<Remedy> {
        let group = self.largest(Holder::total)?;
        let text = format!(
            "Close UDP sockets that are done with in {}, or use one socket for many destinations: it had {} \
             of the {} ports, and each socket needs one of its own",
            who(group),
            group.holder.total(),
            self.evidence.capacity,
        );
        Some(self.remedy(RemedyKind::CloseConnections, Some(group), text))
    }

    fn close_connections(&self) -> Option<Remedy> {
        let group = self.largest(|holder| holder.counts.connections())?;
        let grew = self.evidence.growth_per_second().filter(|growth| *growth > 0.0);
        let grew = grew.map_or_else(String::new, |growth| format!(", {} more", rate(growth)));
        let age = self.evidence.median_age_seconds.unwrap_or(0.0);
        let text = format!(
            "Close connections that are not used any more in {}: it kept {}{} open, half of them for \
             {age:.0} s or longer{grew}. A larger range would only have put it off",
            who(group),
            group.holder.counts.connections(),
            self.towards(),
        );
        Some(self.remedy(RemedyKind::CloseConnections, Some(group), text))
    }

    fn give_up_sooner(&self) -> Option<Remedy> {
        let group = self.largest(|holder| holder.counts.syn_sent)?;
        let text = format!(
            "Give up on connect() sooner in {} (a shorter timeout, or net.ipv4.tcp_syn_retries), and try \
             less at the same time: {} of the {} ports waited{} for an answer (SYN_SENT). More ports would \
             only have waited too",
            who(group),
            self.evidence.syn_sent,
            self.evidence.capacity,
            self.towards(),
        );
        Some(self.remedy(RemedyKind::GiveUpSooner, Some(group), text))
    }

    fn close_what_peers_closed(&self) -> Option<Remedy> {
        let group = self.largest(|holder| holder.counts.close_wait)?;
        let text = format!(
            "Have {} close connections that the peer has closed: {} of the {} ports were kept{} by \
             connections in CLOSE_WAIT, a leak in that program. A larger range would only have put it off",
            who(group),
            self.evidence.close_wait,
            self.evidence.capacity,
            self.towards(),
        );
        Some(self.remedy(RemedyKind::CloseConnections, Some(group), text))
    }

    fn reading_peer(&self) -> Option<Remedy> {
        let group = self.largest(|holder| holder.counts.fin_wait + holder.counts.other)?;
        let text = format!(
            "Look at the peer{}, which does not read or is gone: {} of the {} ports were kept by \
             connections that {} had closed and that wait until what was sent is taken in (FIN_WAIT1); \
             net.ipv4.tcp_orphan_retries says for how long",
            self.towards(),
            self.evidence.closing,
            self.evidence.capacity,
            who(group),
        );
        Some(self.remedy(RemedyKind::ReadingPeer, Some(group), text))
    }

    /// Helps where what was bound is connected then: such a port can be shared by destinations.
    fn bind_address_no_port(&self) -> Option<Remedy> {
        // Of a space of connect(), what another destination's connection keeps was bound before.
        let was_bound = |holder: &Holder| holder.counts.connections() + holder.counts.time_wait;
        let is_bind = self.incident.via != Via::Connect;
        let many = |ports: u32| f64::from(ports) >= f64::from(self.evidence.capacity) * 0.25;
        let Evidence { established, syn_sent, close_wait, closing, other, time_wait, .. } =
            *self.evidence;
        let connected = established + syn_sent + close_wait + closing + other + time_wait;
        let connected = connected + self.evidence.bound_connected;
        let of_others = self.evidence.bound.saturating_sub(self.idle());
        if self.incident.protocol != Protocol::Tcp
            || !many(if is_bind { connected } else { of_others })
        {
            return None;
        }
        let group = self.largest(was_bound)?;
        let ports = if is_bind { connected } else { of_others };
        let text = format!(
            "Set IP_BIND_ADDRESS_NO_PORT before bind() in {}: {ports} of the {} ports were taken by \
             bind() to port 0 and then connected; connect() itself would have chosen ports that other \
             destinations share",
            who(group),
            self.evidence.capacity,
        );
        Some(self.remedy(RemedyKind::BindAddressNoPort, Some(group), text))
    }

    /// Ports held by sockets that are bound, and connected nowhere.
    fn idle(&self) -> u32 {
        self.holders.iter().map(|group| idle(&group.holder)).sum()
    }

    fn ports_outside_range(&self) -> Option<Remedy> {
        let group = self.largest(idle)?;
        let idle = idle(&group.holder);
        if idle < self.evidence.capacity.div_ceil(10) {
            return None;
        }
        let text = format!(
            "Close what {} has bound and does not use, or bind it to ports outside of the ephemeral \
             range: {idle} of the {} ports were held by its sockets that are bound and not connected",
            who(group),
            self.evidence.capacity,
        );
        Some(self.remedy(RemedyKind::PortsOutsideRange, Some(group), text))
    }

    /// How many ports were wanted at the same time, at least, and how that comes about. What calls were
    /// refused counts by the threads that made them, however often they tried.
    fn wanted(&self) -> (f64, String) {
        let capacity = self.evidence.capacity;
        let threads = self.incident.spaces.first().map_or(0, |full| full.threads);
        #[expect(clippy::cast_precision_loss, reason = "a count of threads")]
        let at_once = f64::from(capacity) + threads as f64;
        let in_use = self.evidence.established + self.evidence.bound;
        // As fast as they were closed: what was refused would have come on top, at a rate that nobody knows.
        let steady = self.closed_per_second() * TIME_WAIT_SECONDS + f64::from(in_use);
        if self.kind == CauseKind::Churn && steady > at_once {
            let closed = rate(self.closed_per_second());
            let why = format!(
                "connections closed at {closed} keep their ports for {TIME_WAIT_SECONDS:.0} s of \
                 TIME_WAIT each, and {in_use} were in use"
            );
            return (steady, why);
        }
        let threads =
            if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
        (at_once, format!("{capacity} taken, and {threads} refused in the worst second"))
    }

    /// A range that would have been enough, or else how many addresses.
    fn range_or_addresses(&self) -> Option<Remedy> {
        let own = self.incident.spaces.first().and_then(|full| full.space.own_range);
        if let Some(PortRange { min, max }) = own {
            let text = format!(
                "Widen the range that the program gives these sockets (the option IP_LOCAL_PORT_RANGE, \
                 {min}-{max}), or leave that option out: its {} ports were all taken, whatever \
                 net.ipv4.ip_local_port_range has beside",
                self.evidence.capacity
            );
            return Some(self.remedy(RemedyKind::LargerRange, None, text));
        }
        let (wanted, why) = self.wanted();
        let needed = wanted * RESERVE;
        let capacity = self.evidence.capacity;
        let why = format!(
            "at least {wanted:.0} were wanted at the same time ({why}), and a quarter is added in reserve"
        );
        if let Some(range) = self.incident.range.and_then(|now| widened(now, capacity, needed)) {
            let text = format!(
                "Widen net.ipv4.ip_local_port_range to \"{} {}\", {} ports more: {why}",
                range.min,
                range.max,
                range.count() - self.incident.range.map_or(0, PortRange::count),
            );
            let remedy = self.remedy(RemedyKind::LargerRange, None, text);
            return Some(Remedy { range: Some(range), ..remedy });
        }
        // bind() to any address, and ports that bind() holds, are not shared by addresses.
        let is_shared = self.incident.via == Via::Connect && self.kind != CauseKind::BindHeld;
        if !is_shared || capacity == 0 {
            return None;
        }
        let addresses = (needed / f64::from(capacity)).ceil().min(f64::from(u32::MAX));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the largest"
        )]
        let addresses = (addresses as u32).max(2);
        let text = format!(
            "Spread the connections over {addresses} source or destination addresses (or ports of the \
             destination), each of which has {capacity} ports: {why}",
        );
        let remedy = self.remedy(RemedyKind::MoreAddresses, None, text);
        Some(Remedy { addresses: Some(addresses), ..remedy })
    }
}

/// The range extended to `needed` ports beside those that are reserved, downwards first; `None`: there
/// are not so many, or it is not larger.
fn widened(now: PortRange, capacity: u32, needed: f64) -> Option<PortRange> {
    let reserved = now.count().saturating_sub(capacity);
    let wanted = needed + f64::from(reserved);
    if wanted > f64::from(LARGEST.count()) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 65,536"
    )]
    let wanted = wanted.max(0.0).ceil() as u32;
    let more = wanted.checked_sub(now.count()).filter(|more| *more > 0)?;
    let below = more.min(u32::from(now.min.saturating_sub(LARGEST.min)));
    let above = more - below;
    let min = u32::from(now.min) - below;
    let max = u32::from(now.max) + above;
    Some(PortRange { min: u16::try_from(min).ok()?, max: u16::try_from(max).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_widened_downwards_first_and_never_beyond_what_there_is() {
        let now = PortRange { min: 32_768, max: 60_999 };
        assert_eq!(widened(now, 28_232, 30_232.0), Some(PortRange { min: 30_768, max: 60_999 }));
        assert_eq!(widened(now, 28_232, 64_000.0), Some(PortRange { min: 1_024, max: 65_023 }));
        assert_eq!(widened(now, 28_232, 64_513.0), None);
        assert_eq!(widened(now, 28_232, 20_000.0), None);
        assert_eq!(widened(now, 28_132, 28_232.0), Some(PortRange { min: 32_668, max: 60_999 }));
    }
}
