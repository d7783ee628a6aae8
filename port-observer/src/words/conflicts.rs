//! Who has a port that a call was refused, how, and what to change.

use super::figures::holder_name;
use crate::event::{Endpoint, Protocol, TcpState, Via};
use crate::process::Process;
use crate::report::{Holder, How, Way};

/// Who is in the way, and how.
pub fn holder(holder: &Holder) -> String {
    let name = holder_name(holder.process.as_deref());
    let Some(Way { how, state, local, remote, is_bound, is_orphan }) = holder.way else {
        let is_time_wait = holder.total() > 0 && holder.counts.time_wait == holder.total();
        let how = if is_time_wait { "kept by TIME_WAIT of" } else { "held by" };
        return format!("{how} {name}");
    };
    let state =
        state.filter(|state| !matches!(*state, TcpState::ESTABLISHED | TcpState::TIME_WAIT));
    let state = state.map_or_else(String::new, |state| {
        let waits = if is_orphan { ", closed here, where it waits for its peer" } else { "" };
        format!(", in {}{waits}", state.name())
    });
    let to = remote.map_or_else(String::new, |remote| format!(" {remote}"));
    let open_in = holder.open_in.as_deref().map(|process| holder_name(Some(process)));
    if let (Some(open_in), How::Listener | How::Bound, None) = (&open_in, how, remote) {
        let has = if how == How::Listener { "which listens on it" } else { "bound" };
        return format!("opened by {name}, and open now in {open_in}, {has}");
    }
    let who = match how {
        How::Listener => format!("{name} listens on it"),
        How::Accepted => format!("kept by a connection from{to} that {name} accepted{state}"),
        How::Outgoing if is_self(local, remote) => {
            format!("kept by a connection of {name} that connected to itself{state}")
        }
        How::Outgoing => {
            format!(
                "kept by an outgoing connection of {name} to{to}, whose port connect() chose{state}"
            )
        }
        How::Bound if remote.is_some() => format!("bound by {name} and connected to{to}{state}"),
        How::Bound => format!("held by {name}, bound"),
        How::TimeWaitClient if is_bound => {
            format!("kept by TIME_WAIT of a connection of {name} to{to}, whose port bind() gave")
        }
        How::TimeWaitClient => {
            format!("kept by TIME_WAIT of an outgoing connection of {name} to{to}")
        }
        How::TimeWaitServer => {
            format!("kept by TIME_WAIT of a connection with{to} on the server's side, of {name}")
        }
        How::Kernel => "held by a socket of the kernel itself".to_owned(),
    };
    match open_in {
        Some(open_in) => format!("{who}, and open now in {open_in}"),
        None => who,
    }
}

/// The one that a person looks for first: a listener, else the largest.
pub fn first(holders: &[Holder]) -> Option<&Holder> {
    let is_listener = |holder: &&Holder| holder.way.is_some_and(|way| way.how == How::Listener);
    holders.iter().find(is_listener).or_else(|| holders.first())
}

/// The call that was refused a certain port.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// Which call.
    pub via: Via,
    /// Of which protocol.
    pub protocol: Protocol,
    /// Who made it, if that is known.
    pub caller: Option<&'a Process>,
}

/// What to change, the most useful first; each is a sentence, with the line to type where there is one.
pub fn remedies(holders: &[Holder], call: Refused<'_>) -> Vec<String> {
    let Some((holder, way)) = first(holders).and_then(|one| Some((one, one.way?))) else {
        return Vec::new();
    };
    if call.via == Via::Connect {
        return vec![
            "let connect() choose the port, or bind() another: this one is connected to that destination \
             already"
                .to_owned(),
        ];
    }
    let reserve = format!(
        "keep the port from connect(): sysctl -w net.ipv4.ip_local_reserved_ports={} (append it to what \
         is there)",
        way.local.port
    );
    let end = |what: &str| let_go(holder, way, call, what);
    let other = match call.protocol {
        Protocol::Udp => "take another port, or bind() port 0, for which the kernel finds one",
        Protocol::Tcp => "take another port",
    };
    match way.how {
        How::Listener => vec![end("the listener"), other.to_owned()],
        How::Accepted if way.is_orphan => vec![format!("{REUSE}; {}", ends_by_itself(way.state))],
        How::Accepted => vec![REUSE.to_owned(), end("the connection")],
        How::Outgoing => vec![reserve, end("the connection")],
        How::TimeWaitClient if way.is_bound => vec![
            "set SO_REUSEADDR before bind(), on each socket that is to have this port: TIME_WAIT does not \
             hinder if its socket had it too; else it ends within 60 s"
                .to_owned(),
            "let connect() choose the port, if it need not be this one".to_owned(),
        ],
        How::TimeWaitClient => vec![
            reserve,
            "set SO_REUSEADDR before bind(), which TIME_WAIT then does not hinder if its socket had it \
             too; else it ends within 60 s"
                .to_owned(),
        ],
        How::TimeWaitServer => vec![format!("{REUSE}; this TIME_WAIT ends within 60 s")],
        How::Bound => vec![end("the socket"), other.to_owned()],
        How::Kernel => vec![
            "look for what the kernel listens for: VXLAN, WireGuard, GENEVE, NFS, RDS, SMB (ip -d link, \
             ss -lnp without a process)"
                .to_owned(),
        ],
    }
}

const REUSE: &str = "set SO_REUSEADDR before bind(); connections take it over from the listener that \
                     accepted them, so that it helps from the server's next start on";

/// How the port is to be had from who has it.
fn let_go(holder: &Holder, way: Way, call: Refused<'_>, what: &str) -> String {
    if way.is_orphan {
        return format!("wait: {}", ends_by_itself(way.state));
    }
    let who = holder.open_in.as_deref().or(holder.process.as_deref());
    let name = holder_name(who);
    if who.is_some_and(|who| call.caller.is_some_and(|caller| who.is(caller))) {
        return format!("close {what} first: {name} itself has it");
    }
    format!("end or restart {name}, which has {what}")
}

/// When a connection ends that no process has open any more.
fn ends_by_itself(state: Option<TcpState>) -> &'static str {
    match state {
        Some(TcpState::FIN_WAIT2) => {
            "the connection ends when its peer closes it, or after net.ipv4.tcp_fin_timeout (60 s)"
        }
        _ => {
            "the connection ends when its peer has acknowledged what was sent, or after \
             net.ipv4.tcp_orphan_retries"
        }
    }
}

fn is_self(local: Endpoint, remote: Option<Endpoint>) -> bool {
    remote == Some(local)
}
