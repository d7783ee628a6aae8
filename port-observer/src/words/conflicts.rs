//! Who has a port that a call was refused, how, and what to change.

use super::figures::holder_name;
use crate::event::{Endpoint, Protocol, TcpState, Via};
use crate::report::{Holder, How, Way};

/// Who is in the way, and how.
pub fn holder(holder: &Holder) -> String {
    let name = holder_name(holder.process.as_deref());
    let Some(Way { how, state, local, remote }) = holder.way else {
        let is_time_wait = holder.total() > 0 && holder.counts.time_wait == holder.total();
        let how = if is_time_wait { "kept by TIME_WAIT of" } else { "held by" };
        return format!("{how} {name}");
    };
    let state = state.filter(|state| *state != TcpState::ESTABLISHED);
    let state = state.map_or_else(String::new, |state| format!(", in {}", state.name()));
    let to = remote.map_or_else(String::new, |remote| format!(" {remote}"));
    let open_in = holder.open_in.as_deref().map_or_else(String::new, |process| {
        format!(", and open now in {}", holder_name(Some(process)))
    });
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
        How::TimeWaitClient => {
            format!("kept by TIME_WAIT of an outgoing connection of {name} to{to}")
        }
        How::TimeWaitServer => {
            format!("kept by TIME_WAIT of a connection with{to} on the server's side, of {name}")
        }
        How::Kernel => "held by a socket of the kernel itself".to_owned(),
    };
    who + &open_in
}

/// The one that a person looks for first: a listener, else the largest.
pub fn first(holders: &[Holder]) -> Option<&Holder> {
    let is_listener = |holder: &&Holder| holder.way.is_some_and(|way| way.how == How::Listener);
    holders.iter().find(is_listener).or_else(|| holders.first())
}

/// What to change, the most useful first; each is a sentence, with the line to type where there is one.
pub fn remedies(holders: &[Holder], via: Via, local: Endpoint, protocol: Protocol) -> Vec<String> {
    let Some((holder, way)) = first(holders).and_then(|one| Some((one, one.way?))) else {
        return Vec::new();
    };
    let who = holder.open_in.as_deref().or(holder.process.as_deref());
    let name = holder_name(who);
    let end = |what: &str| format!("end or restart {name}, which has {what}");
    if via == Via::Connect {
        return vec![
            "let connect() choose the port, or bind() another: this one is connected to that destination \
             already"
                .to_owned(),
        ];
    }
    let reuse = "set SO_REUSEADDR before bind(); connections take it over from the listener that accepted \
                 them, so that it helps from the server's next start on";
    let reserve = format!(
        "keep the port from connect(): sysctl -w net.ipv4.ip_local_reserved_ports={} (append it to what \
         is there)",
        way.local.port
    );
    match way.how {
        How::Listener => vec![end("the listener"), "take another port".to_owned()],
        How::Accepted => vec![reuse.to_owned(), end("the connection")],
        How::Outgoing => vec![reserve, end("the connection")],
        How::TimeWaitClient => vec![
            reserve,
            "set SO_REUSEADDR before bind(), which TIME_WAIT then does not hinder if its socket had it \
             too; else it ends within 60 s"
                .to_owned(),
        ],
        How::TimeWaitServer => vec![format!("{reuse}; this TIME_WAIT ends within 60 s")],
        How::Bound if protocol == Protocol::Udp => vec![end("the socket")],
        How::Bound => vec![end("the socket"), format!("take another port than {}", local.port)],
        How::Kernel => vec![
            "look for what the kernel listens for: VXLAN, WireGuard, GENEVE, NFS, RDS, SMB (ip -d link, \
             ss -lnp without a process)"
                .to_owned(),
        ],
    }
}

fn is_self(local: Endpoint, remote: Option<Endpoint>) -> bool {
    remote == Some(local)
}
