//! The same run with one thing changed: to see what that brings. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Bind, Close, Limit, Outcome, Plan};

/// How long a variation may take.
const LONGEST: Duration = Duration::from_secs(10);
/// And how long it may take to see how many connections a configuration is good for.
const MEASURED: Duration = Duration::from_secs(60);
/// How many times as many addresses, or ports, are tried.
const TIMES: u16 = 10;
/// Ports that may be made ephemeral.
const ALL: (u16, u16) = (1024, 65_535);
/// Attempts a second where connections are closed at once, and nothing else is said.
const RATE: u32 = 500;

/// What came of a variation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was changed.
    pub name: String,
    /// How many connections there were.
    pub connections: u64,
    /// Which limit was met.
    pub limit: Limit,
    /// Attempts that succeeded.
    pub worked: u64,
    /// Attempts that did not.
    pub refused: u64,
}

/// What came of a change that could help.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mitigation {
    /// The change.
    pub change: String,
    /// The line that makes it, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Connections without it.
    pub before: u64,
    /// And with it.
    pub after: u64,
    /// The limit that is met then.
    pub limit: Limit,
    /// It brought a twentieth or more.
    pub proved: bool,
}

/// A change to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: &'static str,
    /// The line that makes it.
    pub command: Option<String>,
    /// The run with it.
    pub plan: Plan,
}

impl Row {
    /// Of what came of it.
    pub fn of(name: &str, outcome: &Outcome) -> Self {
        Self {
            name: name.to_owned(),
            connections: outcome.connections,
            limit: outcome.verdict.limit,
            worked: outcome.connections,
            refused: outcome.refused.values().sum(),
        }
    }
}

impl Change {
    /// What it brought, against the run without it.
    pub fn brought(&self, before: &Outcome, after: &Outcome) -> Mitigation {
        let (was, is) = (before.connections, after.connections);
        Mitigation {
            change: self.name.to_owned(),
            command: self.command.clone(),
            before: was,
            after: is,
            limit: after.verdict.limit,
            proved: is * 20 >= was * 21 && is > was,
        }
    }
}

/// How many connections a configuration is good for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HardLimit {
    /// What it is.
    pub configuration: String,
    /// How many connections were made, of those that are kept.
    pub connections: u64,
    /// What ended them.
    pub limit: Limit,
}

impl HardLimit {
    /// Of what came of it.
    pub fn of(configuration: &str, outcome: &Outcome) -> Self {
        let configuration = configuration.to_owned();
        Self { configuration, connections: outcome.connections, limit: outcome.verdict.limit }
    }
}

/// Configurations that are good for more than a run of connections that are kept was, to be measured.
pub fn configurations(plan: &Plan, range: (u16, u16)) -> Vec<(String, Plan)> {
    if plan.is_churn() {
        return Vec::new();
    }
    let plan = Plan { duration: plan.duration.min(MEASURED), ..plan.clone() };
    let mut all = Vec::new();
    let mut best = plan.clone();
    if plan.nofile.is_some() {
        best.nofile = None;
        all.push(("as many descriptors as it takes".to_owned(), best.clone()));
    }
    if range != ALL {
        best.range = Some(ALL);
        let (min, max) = ALL;
        let more = if all.is_empty() { "" } else { ", and as many descriptors as it takes" };
        all.push((format!("ip_local_port_range {min} {max}{more}"), best));
    }
    all
}

/// A run that is compared with others: no longer than these.
pub fn bounded(plan: &Plan) -> Plan {
    let rate = if plan.is_churn() { plan.rate.or(Some(RATE)) } else { plan.rate };
    Plan { duration: plan.duration.min(LONGEST), rate, ..plan.clone() }
}

/// A setting of the kernel there.
fn with(plan: &Plan, name: &str, value: &str) -> Plan {
    let mut plan = plan.clone();
    plan.settings.retain(|(one, _)| one != name);
    plan.settings.push((name.to_owned(), value.to_owned()));
    plan
}

/// Ten times as many ports, as far as there are.
fn wider((min, max): (u16, u16)) -> (u16, u16) {
    let wanted = (u32::from(max) - u32::from(min) + 1) * u32::from(TIMES);
    match u32::from(min) + wanted - 1 {
        end if end <= u32::from(ALL.1) && min >= ALL.0 => (min, u16::try_from(end).unwrap_or(max)),
        _ => ALL,
    }
}

fn range_line((min, max): (u16, u16)) -> String {
    format!("sysctl -w net.ipv4.ip_local_port_range=\"{min} {max}\"")
}

/// All variations of a run. `range`: the ephemeral range that it had.
pub fn variations(plan: &Plan, range: (u16, u16)) -> Vec<(&'static str, Plan)> {
    let plan = bounded(plan);
    let keep = Plan { close: Close::Keep, rate: None, ..plan.clone() };
    let churn = bounded(&Plan { close: Close::Client, ..plan.clone() });
    let bound = |bind| Plan { bind, ..keep.clone() };
    let reuse = |tw_reuse| Plan { tw_reuse: Some(tw_reuse), ..churn.clone() };
    let closed = |close| Plan { close, ..churn.clone() };
    let mut all = vec![
        ("as it is", plan.clone()),
        ("bind before connect", bound(Bind::Before)),
        ("SO_REUSEADDR", bound(Bind::Reuseaddr)),
        ("IP_BIND_ADDRESS_NO_PORT", bound(Bind::NoPort)),
        (
            "ten source addresses",
            Plan { sources: plan.sources.saturating_mul(TIMES), ..keep.clone() },
        ),
        (
            "ten destinations",
            Plan { destinations: plan.destinations.saturating_mul(TIMES), ..keep.clone() },
        ),
        ("wider range", Plan { range: Some(wider(range)), ..keep.clone() }),
        ("IPv6", Plan { ipv6: true, ..keep.clone() }),
        ("UDP", Plan { udp: true, bind: Bind::None, ..keep.clone() }),
        ("client closes, tcp_tw_reuse 0", reuse(0)),
        ("client closes, tcp_tw_reuse 1", reuse(1)),
        ("client closes, tcp_tw_reuse 2", reuse(2)),
        ("server closes", closed(Close::Server)),
        ("client resets", closed(Close::Rst)),
    ];
    if let Some(nofile) = plan.nofile {
        let raised = Some(nofile.saturating_mul(u64::from(TIMES)));
        all.push(("raised RLIMIT_NOFILE", Plan { nofile: raised, ..keep }));
    }
    // Of UDP there is no TIME_WAIT, no reset, and nothing to bind without a port.
    if plan.udp {
        all.retain(|(_, one)| !one.udp || (one.close == Close::Keep && one.bind == Bind::None));
    }
    // A server of the user's listens where it does, and closes when it does.
    if plan.server.is_some() {
        all.retain(|(_, one)| {
            one.close != Close::Server
                && !one.ipv6
                && one.udp == plan.udp
                && one.destinations == plan.destinations
        });
    }
    all
}

/// What could help against a limit, to be tried.
pub fn changes(plan: &Plan, range: (u16, u16), limit: Limit) -> Vec<Change> {
    let plan = bounded(plan);
    let change = |name, command: Option<String>, plan| Change { name, command, plan };
    let mut all = Vec::new();
    match limit {
        Limit::EphemeralPorts => {
            let wide = wider(range);
            all.push(change(
                "widen_range",
                Some(range_line(wide)),
                Plan { range: Some(wide), ..plan.clone() },
            ));
            let sources = plan.sources.saturating_mul(TIMES);
            all.push(change("source_addresses", None, Plan { sources, ..plan.clone() }));
            if plan.bind.chooses_port() {
                let bind = Bind::NoPort;
                all.push(change("ip_bind_address_no_port", None, Plan { bind, ..plan.clone() }));
            }
            if plan.bind == Bind::Before {
                let bind = Bind::Reuseaddr;
                all.push(change("so_reuseaddr", None, Plan { bind, ..plan.clone() }));
            }
            if plan.close == Close::Client && !plan.udp {
                let line = |text: &str| Some(format!("sysctl -w net.ipv4.{text}"));
                all.push(change(
                    "tcp_tw_reuse",
                    line("tcp_tw_reuse=1"),
                    Plan { tw_reuse: Some(1), ..plan.clone() },
                ));
                all.push(change(
                    "tcp_fin_timeout",
                    line("tcp_fin_timeout=10"),
                    with(&plan, "net/ipv4/tcp_fin_timeout", "10"),
                ));
                if plan.server.is_none() {
                    let close = Close::Server;
                    all.push(change("server_closes_first", None, Plan { close, ..plan.clone() }));
                }
            }
        }
        Limit::FileDescriptors if plan.server.is_none() => {
            let raised = plan.nofile.map(|nofile| nofile.saturating_mul(u64::from(TIMES)));
            let command = raised.map(|raised| format!("ulimit -n {raised}"));
            all.push(change("raise_nofile", command, Plan { nofile: raised, ..plan.clone() }));
        }
        Limit::TimeWaitBuckets => {
            let command = Some("sysctl -w net.ipv4.tcp_max_tw_buckets=262144".to_owned());
            let plan = with(&plan, "net/ipv4/tcp_max_tw_buckets", "262144");
            all.push(change("tcp_max_tw_buckets", command, plan));
        }
        _ => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_good_for_more_is_measured_where_there_is_more() {
        let plan: Plan = serde_json::from_value(serde_json::json!({
            "connections": null, "range": null, "sources": 1, "destinations": 1, "nofile": 300,
            "close": "keep", "tw_reuse": null, "bind": "none", "rate": null,
            "duration": {"secs": 300, "nanos": 0}, "ipv6": false, "udp": false, "server": null,
            "server_port": null, "tcp_memory_max": 0, "settings": []
        }))
        .unwrap();
        let of = |plan: &Plan, range| {
            let all = configurations(plan, range);
            all.into_iter().map(|(name, plan)| (name, plan.nofile, plan.range)).collect::<Vec<_>>()
        };
        let both = of(&plan, (32_768, 60_999));
        assert_eq!((both[0].1, both[0].2), (None, None));
        assert_eq!((both[1].1, both[1].2), (None, Some(ALL)));
        assert_eq!(of(&plan, ALL).len(), 1);
        assert_eq!(of(&Plan { close: Close::Rst, ..plan }, ALL), []);
    }

    #[test]
    fn a_range_gets_ten_times_as_wide_as_far_as_there_are_ports() {
        assert_eq!(wider((40_000, 40_199)), (40_000, 41_999));
        assert_eq!(wider((32_768, 60_999)), ALL);
        assert_eq!(wider((65_000, 65_535)), ALL);
        assert_eq!(wider(ALL), ALL);
    }
}
