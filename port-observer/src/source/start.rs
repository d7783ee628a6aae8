//! Which source it is to be.

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;

use super::{
    kernel::{Kernel, Ring},
    observer::{Backends, Looks, Options},
    poll::{OTHERS_ARE_HIDDEN, Poll, Scope},
    polling::Polling,
    settings,
};
use crate::{
    event::Protocol,
    kernel::{netns, sysctl},
    probe::{self, Backend},
    process::OwnerSearch,
    report::EphemeralRange,
};

/// A namespace, by its inode number, and its names.
pub(super) type Named = (u32, Vec<String>);

/// The ranges of namespaces, and what those with a name are called.
pub(super) fn ephemeral_ranges(only: &[u32]) -> Result<(Vec<EphemeralRange>, Vec<Named>)> {
    let (mut ranges, mut named) = (Vec::new(), Vec::new());
    let mut namespaces = netns::list()?.namespaces;
    namespaces.retain(|namespace| only.is_empty() || only.contains(&namespace.inode));
    let mut owners = OwnerSearch::default();
    for namespace in namespaces {
        let names = settings::names(&namespace, &mut owners);
        if !names.is_empty() {
            named.push((namespace.inode, names));
        }
        match sysctl::ports(&namespace) {
            Ok(ports) => ranges.push(EphemeralRange {
                netns: namespace.inode,
                min: ports.ephemeral.min,
                max: ports.ephemeral.max,
            }),
            Err(error) => {
                log::debug!("the range of namespace {} is not known: {error:#}", namespace.inode);
            }
        }
    }
    Ok((ranges, named))
}

pub(super) fn options(options: &Options, ranges: &[EphemeralRange]) -> probe::Options {
    let protocol = match options.looks.protocols[..] {
        [Protocol::Tcp] => Some(libc::IPPROTO_TCP as u32),
        [Protocol::Udp] => Some(libc::IPPROTO_UDP as u32),
        _ => None,
    };
    probe::Options {
        buffer_size: options.buffer_size,
        netns: options.looks.netns.clone(),
        protocol,
        states: options.states,
        ranges: ranges.iter().map(|range| (range.min, range.max)).collect(),
        log_level: log::max_level() as u8,
    }
}

/// The best backend that loads.
pub(super) fn best(options: &probe::Options, looks: &Looks) -> Result<(Backends, Vec<String>)> {
    let mut last = None;
    for backend in [Backend::Fexit, Backend::Kprobe, Backend::Tracepoint] {
        match kernel(backend, options, looks.clone()) {
            Ok(found) => return Ok(found),
            Err(error) => {
                log::info!("{error:#}");
                last = Some(error);
            }
        }
    }
    // One reason is enough: they are mostly the same, and `doctor` tells them all.
    Err(last.context("there is no other backend")?)
}

/// The kernel programs of a backend.
pub(super) fn kernel(
    backend: Backend,
    options: &probe::Options,
    looks: Looks,
) -> Result<(Backends, Vec<String>)> {
    let (mut attached, observed) = probe::attach(backend, options)
        .with_context(|| format!("the {} backend can't be used", backend.name()))?;
    let ring = Ring::new(&mut attached.ebpf)?;
    // At lower levels the programs have no log statements left.
    let logger = (log::max_level() >= log::LevelFilter::Debug)
        .then(|| EbpfLogger::init(&mut attached.ebpf).context("can't read the programs' own log"))
        .transpose()?;
    let missing = std::mem::take(&mut attached.missing);
    let kernel = Kernel::new(ring, observed, logger, looks, attached);
    Ok((Backends::Kernel(Box::new(kernel)), missing))
}

/// Socket diagnostics compared, of the namespaces asked for or all that may be looked into.
pub(super) fn poll(looks: &Looks) -> Result<(Backends, Vec<String>)> {
    let scope = looks.scope();
    let mut missing: Vec<String> = Backend::Poll.missing().iter().map(|&m| m.to_owned()).collect();
    if scope == Scope::Own {
        missing.push(OTHERS_ARE_HIDDEN.to_owned());
    }
    let mut poll = Poll::new(scope, &looks.protocols);
    // What the next round is compared with.
    let existing = poll.baseline().context("the sockets that are there can't be listed")?;
    let limits = poll.limits();
    missing.extend(limits.unreadable.iter().cloned());
    missing.extend(limits.fallback.iter().cloned());
    Ok((Backends::Poll(Box::new(Polling::new(poll, existing, looks))), missing))
}
