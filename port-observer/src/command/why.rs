//! `why`: once, whether one call can succeed now.

mod listed;
mod observed;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use caps::{CapSet, Capability};

use super::output;
use crate::{
    config::{Asked, Format, WhyConfig},
    event::{Endpoint, Protocol, TcpState},
    kernel::{
        diag::{self, Request, States},
        netns::{self, Namespace},
        rights, route,
    },
    ledger::Holdings,
    process::Process,
    sandbox::{Sandbox, Task},
    why::{self, Answer, Call, Facts, Question, TimeWait, Verdict},
};

/// The exit code when nothing can be known.
pub const UNKNOWN: u8 = 3;

/// Answers; the exit code says what.
///
/// # Errors
/// When the namespace can't be looked into, or the answer can't be written.
pub fn run(config: &WhyConfig, sandbox: Sandbox) -> Result<ExitCode> {
    let answer = answer(config, sandbox)?;
    let text = match config.output.format {
        Format::Json => {
            let time = jiff::Timestamp::now();
            why::json::render(&answer, &format!("{time:.9}")).context("can't write JSON")?
        }
        Format::Table => why::text::render(&answer),
    };
    output::answer(&text)?;
    Ok(ExitCode::from(answer.verdict.exit_code()))
}

fn answer(config: &WhyConfig, sandbox: Sandbox) -> Result<Answer> {
    let namespace = &config.namespace;
    // The sandbox allows no socket of the internet.
    let lists_bound = diag::lists_bound_sockets() != Some(false);
    let (asked, unprivileged_from) = namespace
        .run(|| Ok((resolve(&config.call), route::unprivileged_from())))
        .context("the network namespace can't be looked into")?;
    let asked = asked?;
    let question = question(config, asked.call)?;
    match asked.obstacle {
        Some(Obstacle::NotLocal(address)) => return Ok(Answer::not_local(question, address)),
        Some(Obstacle::NoRoute(reason)) => {
            return Ok(Answer::without_ports(question, Verdict::Unknown, reason));
        }
        None => {}
    }
    let bind_service = Capability::CAP_NET_BIND_SERVICE;
    let known = Known {
        namespace,
        lists_bound,
        unprivileged_from,
        may_bind_low: caps::has_cap(None, CapSet::Effective, bind_service).unwrap_or(false),
    };
    let is_tcp = question.protocol == Protocol::Tcp;
    let is_connect = matches!(question.call, Call::Connect { .. });
    // Only kernel programs see which ports of connections bind() took, and on older kernels what is
    // only bound.
    let needs_programs = is_tcp && (is_connect || !lists_bound);
    if !needs_programs {
        let own = netns::own_inode()?;
        sandbox.enter(&Task::List { namespaces: namespace.inode != own, keeps: false });
        return listed::answer(question, &known, None);
    }
    match observed::answer(&question, &known, config.output, sandbox) {
        Ok(answer) => Ok(answer),
        Err(error) => {
            log::info!("kernel programs are not used: {error:#}");
            // Without root the reason is long, and always the same.
            let reason = match rights::is_root() {
                true => format!("the kernel programs can't be used: {}", error.root_cause()),
                false => "that takes root".to_owned(),
            };
            let why = format!("{reason} (`port-observer doctor` says more)");
            listed::answer(question, &known, Some(&why))
        }
    }
}

/// What is known before any list is read.
struct Known<'a> {
    namespace: &'a Namespace,
    lists_bound: bool,
    unprivileged_from: u16,
    may_bind_low: bool,
}

impl Known<'_> {
    /// What is in a ledger, as the answer is made of it.
    fn facts<'a>(
        &self,
        holdings: &'a Holdings,
        question: &Question,
        callers: Vec<Arc<Process>>,
        knows_binds: bool,
    ) -> Facts<'a> {
        let mut missing = Vec::new();
        let time_waits = time_waits(self.namespace, question).unwrap_or_else(|error| {
            log::debug!("TIME_WAIT entries are not listed: {error:#}");
            missing.push("how old TIME_WAIT entries are".to_owned());
            HashMap::new()
        });
        Facts {
            holdings,
            time_waits,
            callers,
            knows_binds,
            lists_bound: self.lists_bound || knows_binds,
            unprivileged_from: self.unprivileged_from,
            may_bind_low: self.may_bind_low,
            missing,
        }
    }
}

/// The TIME_WAIT entries that matter to the call, by local port.
fn time_waits(namespace: &Namespace, question: &Question) -> Result<HashMap<u16, TimeWait>> {
    let mut found: HashMap<u16, TimeWait> = HashMap::new();
    if question.protocol == Protocol::Udp {
        return Ok(found);
    }
    let ports = match question.call {
        Call::Bind { local } if local.port == 0 => return Ok(found),
        Call::Bind { local } => Some(local.port..=local.port),
        Call::Connect { .. } => None,
    };
    let request = Request {
        protocols: vec![Protocol::Tcp],
        states: States::of(&[TcpState::TIME_WAIT, TcpState::FIN_WAIT2]),
        ports,
    };
    namespace.run(|| {
        diag::for_each(&request, |socket| {
            let is_asked = match question.call {
                Call::Connect { source, destination, .. } => {
                    socket.flow.local.address == source && socket.flow.remote == Some(destination)
                }
                Call::Bind { .. } => true,
            };
            if socket.time_wait && is_asked {
                let fin_wait2 = socket.state == TcpState::FIN_WAIT2;
                let entry = TimeWait { expires_ms: socket.expires_ms, fin_wait2 };
                let kept = found.entry(socket.flow.local.port).or_insert(entry);
                if kept.expires_ms < entry.expires_ms {
                    *kept = entry;
                }
            }
        })
    })?;
    Ok(found)
}

/// The call as the kernel takes it.
struct Resolved {
    call: Call,
    obstacle: Option<Obstacle>,
}

enum Obstacle {
    NotLocal(IpAddr),
    NoRoute(String),
}

/// Asks the kernel, within the namespace.
fn resolve(asked: &Asked) -> Result<Resolved> {
    match asked {
        Asked::Bind(local) => {
            let address = local.address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
            let at = at(address, local.scope.as_deref(), local.port)?;
            let is_local = route::is_local(at)
                .with_context(|| format!("bind() to {address} is refused whatever the port"))?;
            let call = Call::Bind { local: Endpoint::new(address, local.port) };
            let obstacle = (!is_local).then_some(Obstacle::NotLocal(address));
            Ok(Resolved { call, obstacle })
        }
        Asked::Connect { destination, source } => {
            let address = destination.address.context("a destination has an address")?;
            let to = at(address, destination.scope.as_deref(), destination.port)?;
            let from = match source {
                None => None,
                // The interface is that of the destination, unless the source has one.
                Some((address, scope)) => {
                    let scope = scope.as_deref().or(destination.scope.as_deref());
                    Some(at(*address, scope, 0)?)
                }
            };
            let call = |source, destination: IpAddr| Call::Connect {
                source,
                destination: Endpoint::new(destination, to.port()),
                is_bound: from.is_some(),
            };
            if let Some(from) = from
                && !route::is_local(from).with_context(|| format!("bind() to {from}"))?
            {
                let obstacle = Some(Obstacle::NotLocal(from.ip()));
                return Ok(Resolved { call: call(from.ip(), address), obstacle });
            }
            match route::ends(to, from) {
                Ok((source, destination)) => {
                    Ok(Resolved { call: call(source, destination), obstacle: None })
                }
                Err(error) => {
                    let none = match address {
                        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
                    };
                    let source = from.map_or(none, |from| from.ip());
                    let reason = format!(
                        "from where it would go is not known, for there is no way there ({error}); see \
                         `ip route get {address}`. This is not about ports"
                    );
                    let obstacle = Some(Obstacle::NoRoute(reason));
                    Ok(Resolved { call: call(source, address), obstacle })
                }
            }
        }
    }
}

fn at(address: IpAddr, scope: Option<&str>, port: u16) -> Result<SocketAddr> {
    route::scoped(address, scope, port).with_context(|| {
        format!("{address}%{}: there is no such interface", scope.unwrap_or_default())
    })
}

fn question(config: &WhyConfig, call: Call) -> Result<Question> {
    let WhyConfig { namespace, netns, protocol, .. } = config;
    let is_own = netns::own_inode()? == namespace.inode;
    let netns_name = netns.clone().filter(|_| !is_own);
    let named = namespace.names.iter().find(|name| !name.contains('/'));
    let enter = match (&netns_name, named) {
        (None, _) => String::new(),
        (Some(_), Some(name)) => format!("ip netns exec {} ", quoted(name)),
        (Some(path), None) if path.contains('/') => format!("nsenter --net={} ", quoted(path)),
        (Some(_), None) => String::new(),
    };
    Ok(Question { netns: namespace.inode, netns_name, enter, protocol: *protocol, call })
}

/// As a shell takes it.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted_where_a_shell_would_take_it_apart() {
        assert_eq!(quoted("blue"), "blue");
        assert_eq!(quoted("/proc/7/ns/net"), "/proc/7/ns/net");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
