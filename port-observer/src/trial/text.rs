//! Trials as text.

use std::{net::SocketAddr, time::Duration};

use super::{
    calls::PortError,
    echo::Served,
    json::percent,
    nanoseconds,
    outcome::Outcome,
    run::{Progress, Ran},
    tally::Percentiles,
};
use crate::{
    pools::{text::table, who_is},
    words::{errno, escape::escape, figures},
};

/// Ports that could not be taken of which is told which.
const MOST_ERRORS: usize = 20;

/// What a trial came to, without the last line's end.
pub fn render(outcome: &Outcome) -> String {
    let mut lines = vec![title(outcome)];
    lines.extend(outcome.errors.iter().take(MOST_ERRORS).map(port_error));
    if let more @ 1.. = outcome.failed.saturating_sub(MOST_ERRORS as u64) {
        lines.push(format!("and {more} ports more can't be taken"));
    }
    if outcome.leased > 0 {
        lines.push(format!("ports that are left out, as they are leased: {}", outcome.leased));
    }
    if let Some(ran) = &outcome.ran {
        lines.extend(counts(ran));
        lines.extend(remarks(ran));
        lines.push(verdict(outcome, ran));
    }
    lines.join("\n")
}

/// How far a trial is, of so long.
pub fn progress(now: &Progress, all: Duration) -> String {
    let p99 = now.rtt_p99.map_or_else(|| "-".to_owned(), figures::duration);
    let Progress { elapsed, sent, received, lost, .. } = now;
    let (elapsed, all) = (elapsed.min(&all).as_secs(), all.as_secs());
    format!("{elapsed} of {all} s: sent {sent}, received {received}, lost {lost}, RTT p99 {p99}")
}

/// What a peer did.
pub fn render_served(at: SocketAddr, served: &Served) -> String {
    let counts = &served.counts;
    let mut text = format!(
        "{at}: {} streams; RTP: {} packets, {} sent back; RTCP: {} reports, {} answered",
        counts.streams, counts.rtp, counts.rtp_answered, counts.reports, counts.reports_answered
    );
    for (count, what) in [
        (counts.repeated, "had come before or came too late"),
        (counts.ignored, "were neither RTP nor a sender report, and ignored"),
        (counts.turned_away, "were of more streams than there is room for"),
        (counts.unsent, "could not be answered"),
        (served.dropped.unwrap_or(0), "were dropped by the receive buffers here"),
    ] {
        if count > 0 {
            text.push_str(&format!("; {count} {what}"));
        }
    }
    text
}

fn title(outcome: &Outcome) -> String {
    let Outcome { set_up, wanted, legs, ports_per_leg, peer, .. } = outcome;
    let calls = if set_up == wanted { set_up.to_string() } else { format!("{set_up} of {wanted}") };
    let each = match (legs, ports_per_leg) {
        (1, 1) => "1 leg each, RTP and RTCP on 1 port".to_owned(),
        (_, 1) => format!("{legs} legs each, RTP and RTCP of a leg on 1 port"),
        (1, _) => "1 leg each, RTP and RTCP on 2 ports".to_owned(),
        _ => format!("{legs} legs each, RTP and RTCP of a leg on 2 ports"),
    };
    let ran = outcome.ran.as_ref();
    let time = ran.map(|ran| format!(", {}", figures::duration(nanoseconds(ran.sending))));
    let (pool, time) = (escape(&outcome.pool), time.unwrap_or_default());
    format!("{pool} ({}): {calls} calls, {each}, to {peer}{time}", outcome.range)
}

fn port_error(error: &PortError) -> String {
    let reason = errno::error(error.errno);
    match (&error.holder, error.errno) {
        (None, errno) if errno != libc::EADDRINUSE => format!("udp port {}: {reason}", error.port),
        (holder, _) => {
            let who = who_is(holder.as_ref());
            format!("udp port {}: {reason}: {}", error.port, escape(&who))
        }
    }
}

fn counts(ran: &Ran) -> Vec<String> {
    let tally = &ran.tally;
    let row = |name: &str, sent: u64, received: u64, times: Option<Percentiles>| {
        let times = times.map(|all| [all.p50, all.p90, all.p99, all.p99_9, all.max]);
        let missing = sent.saturating_sub(received);
        let mut row = vec![name.to_owned(), sent.to_string(), received.to_string()];
        row.push(format!("{missing} ({}%)", percent(missing, sent)));
        row.extend((0..5).map(|at| times.map_or("-".into(), |all| figures::duration(all[at]))));
        row
    };
    let rows = [
        row("RTP", tally.sent, tally.received, tally.rtt.percentiles()),
        row("RTCP", tally.reports, tally.answers, tally.report_rtt.percentiles()),
    ];
    let head = ["", "SENT", "RECEIVED", "LOST", "RTT P50", "P90", "P99", "P99.9", "MAX"];
    let mut lines = table(&head, &rows);
    if let Some(jitter) = tally.jitter.percentiles() {
        let [p50, p99, max] = [jitter.p50, jitter.p99, jitter.max].map(figures::duration);
        lines.push(format!("jitter: p50 {p50}, p99 {p99}, at most {max}"));
    }
    lines
}

/// What is not as it should be.
fn remarks(ran: &Ran) -> Vec<String> {
    let tally = &ran.tally;
    let refused = tally.errno.map_or_else(String::new, errno::error);
    let all = [
        (tally.late, "came back after more than a second, and count as lost".to_owned()),
        (tally.duplicate, "came back again".to_owned()),
        (tally.reordered, "came back out of order".to_owned()),
        (tally.foreign, "came that were not sent from here, or were changed".to_owned()),
        (tally.late_sends, "left more than 20 ms late: this host was busy".to_owned()),
        (tally.skipped, "were not sent: this host stood still for longer".to_owned()),
        (tally.refused, format!("were not sent: {refused}")),
        (tally.unreachable, "were answered by ICMP: nobody has the peer's port".to_owned()),
    ];
    let told = all.into_iter().filter(|(count, _)| *count > 0);
    told.map(|(count, what)| format!("packets: {count} {what}")).collect()
}

fn verdict(outcome: &Outcome, ran: &Ran) -> String {
    let lost = ran.tally.lost();
    let end = if ran.is_complete { "" } else { "; not all were sent" };
    if outcome.is_good() {
        return format!("no packet was lost{end}");
    }
    let mut whose = Vec::new();
    if lost > 0 {
        whose.extend(ran.lost_there.map(|there| format!("{there} on the way there")));
        let dropped = outcome.dropped();
        whose.extend(dropped.map(|here| format!("{here} dropped by the receive buffers here")));
    }
    let whose = if whose.is_empty() { String::new() } else { format!(": {}", whose.join(", ")) };
    let (percent, refused) = (percent(lost, ran.tally.sent), ran.tally.refused);
    let more = [(refused, "not sent"), (ran.tally.unanswered(), "reports not answered")];
    let more = more.into_iter().filter(|(count, _)| *count > 0);
    let more: String = more.map(|(count, what)| format!("; {what}: {count}")).collect();
    format!("lost: {lost} of {} packets ({percent}%){whose}{more}{end}", ran.tally.sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{echo::Counts, outcome::tests::sample};

    #[test]
    fn a_trial_is_told_with_its_port_errors_figures_and_whose_a_loss_is() {
        let expected = "\
media (21000-21100): 5 calls, 2 legs each, RTP and RTCP of a leg on 2 ports, to 127.0.0.1:65534, 1.9 s
udp port 21002: EADDRINUSE Address already in use: python3 (pid 7)
udp port 21005: EADDRINUSE Address already in use: nobody that is known
      SENT  RECEIVED  LOST     RTT P50  P90     P99     P99.9   MAX
RTP   1000  990       10 (1%)  495 µs   891 µs  981 µs  990 µs  990 µs
RTCP  8     8         0 (0%)   400 µs   400 µs  400 µs  400 µs  400 µs
jitter: p50 20 µs, p99 20 µs, at most 20 µs
packets: 2 came back after more than a second, and count as lost
packets: 1 came back again
packets: 3 left more than 20 ms late: this host was busy
lost: 10 of 1000 packets (1%): 4 on the way there, 3 dropped by the receive buffers here";
        assert_eq!(render(&sample()), expected);
    }

    #[test]
    fn a_good_trial_says_so_and_what_was_not_begun_only_what_was_in_its_way() {
        let mut outcome = sample();
        let ran = outcome.ran.as_mut().unwrap();
        (ran.tally.received, ran.is_complete) = (1_000, false);
        let text = render(&outcome);
        assert!(text.ends_with("no packet was lost; not all were sent"), "{text}");
        let text = render(&Outcome { ran: None, set_up: 1, ..outcome });
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.starts_with("media (21000-21100): 1 of 5 calls, 2 legs each"), "{text}");
    }

    #[test]
    fn progress_and_what_a_peer_did_are_one_line() {
        let now = Progress { sent: 10, received: 9, rtt_p99: Some(400_000), ..Progress::default() };
        let expected = "0 of 60 s: sent 10, received 9, lost 0, RTT p99 400 µs";
        assert_eq!(progress(&now, Duration::from_secs(60)), expected);
        let counts = Counts { rtp: 5, rtp_answered: 5, ignored: 2, ..Counts::default() };
        let text =
            render_served("127.0.0.1:7680".parse().unwrap(), &Served { counts, dropped: Some(0) });
        assert!(text.ends_with("; 2 were neither RTP nor a sender report, and ignored"), "{text}");
    }
}
