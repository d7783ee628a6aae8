//! The host as a source of events: which backend, and what completes it.

use std::time::Duration;

use anyhow::Result;

use super::{Source, kernel::Kernel, poll::Scope, polling::Polling, start};
use crate::{
    event::{Ask, Event, Listing, Protocol},
    kernel::{btf::KernelTypes, release},
    probe::Backend,
    report::EphemeralRange,
};

/// How often sockets are listed and compared.
pub(super) const ROUND: Duration = Duration::from_secs(1);
/// With very many sockets less often: a round may take one part in so many of the time.
pub(super) const ROUND_COST: u32 = 20;

/// A backend at work.
pub struct Observer {
    source: Backends,
    missing: Vec<String>,
    ranges: Vec<EphemeralRange>,
    named: Vec<(u32, Vec<String>)>,
}

pub(super) enum Backends {
    Kernel(Box<Kernel>),
    Poll(Box<Polling>),
}

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Looks {
    /// Only these network namespaces; empty: all.
    pub netns: Vec<u32>,
    /// Only these protocols; empty: all.
    pub protocols: Vec<Protocol>,
}

/// How it is observed.
#[derive(Clone, Debug)]
pub struct Options {
    /// By which backend; `None`: the best that loads.
    pub backend: Option<Backend>,
    /// What is looked at.
    pub looks: Looks,
    /// Bytes of the kernel's buffer.
    pub buffer_size: u32,
    /// TCP state changes are told.
    pub states: bool,
}

impl Looks {
    pub(super) fn scope(&self) -> Scope {
        if self.netns.is_empty() { Scope::default() } else { Scope::Only(self.netns.clone()) }
    }
}

impl Observer {
    /// Starts the backend that is asked for, or the best that loads. Must be called inside the
    /// runtime.
    ///
    /// # Errors
    /// When it, or any, can't be used: what is missing and how to get it.
    pub fn start(options: Options) -> Result<Self> {
        let (ranges, named) = start::ephemeral_ranges(&options.looks.netns)?;
        let programs = start::options(&options, &ranges);
        let Options { backend, looks, .. } = options;
        let (source, missing) = match backend {
            None => match start::best(&programs, &looks) {
                Ok(found) => found,
                Err(error) => {
                    log::warn!(
                        "{error:#}; socket diagnostics are compared once a second instead \
                         (`port-observer doctor` says more)"
                    );
                    start::poll(&looks)?
                }
            },
            Some(Backend::Poll) => start::poll(&looks)?,
            Some(backend) => start::kernel(backend, &programs, looks)?,
        };
        Ok(Self { source, missing, ranges, named })
    }

    /// Which backend it is.
    pub fn backend(&self) -> Backend {
        match &self.source {
            Backends::Kernel(kernel) => kernel.attached().backend,
            Backends::Poll(_) => Backend::Poll,
        }
    }

    /// What it can't see, a sentence each.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// The ephemeral ranges when observing began.
    pub fn ranges(&self) -> &[EphemeralRange] {
        &self.ranges
    }

    /// The namespaces that had names then, by inode number.
    pub fn named(&self) -> &[(u32, Vec<String>)] {
        &self.named
    }

    /// Whether a port that bind() took stays closed to connect() for as long as anybody holds it
    /// (before Linux 6.18), see [`KernelTypes::has_connect_bind`].
    pub fn is_blocking_sticky(&self) -> bool {
        match &self.source {
            Backends::Kernel(kernel) => !kernel.attached().has_connect_bind,
            Backends::Poll(_) => is_blocking_sticky(),
        }
    }

    /// Whether it is known of what was held before whether bind() took it: the kernel programs list it.
    pub fn knows_binds(&mut self) -> bool {
        match &mut self.source {
            Backends::Kernel(kernel) => kernel.lists_by_programs(),
            Backends::Poll(_) => false,
        }
    }

    /// Whether the ledger is to follow listings, see [`Event::Listing`].
    pub fn lists(&self) -> bool {
        match &self.source {
            Backends::Kernel(kernel) => kernel.lists(),
            Backends::Poll(_) => false,
        }
    }
}

impl Source for Observer {
    async fn ready(&mut self) -> Result<()> {
        match &mut self.source {
            Backends::Kernel(kernel) => kernel.ready().await,
            Backends::Poll(polling) => polling.ready().await,
        }
    }

    fn next(&mut self, most: usize, out: &mut Vec<Event>) -> Result<()> {
        match &mut self.source {
            Backends::Kernel(kernel) => kernel.next(most, out),
            Backends::Poll(polling) => polling.next(most, out),
        }
    }

    fn ask(&mut self, ask: Ask) -> Option<Listing> {
        match &mut self.source {
            Backends::Kernel(kernel) => kernel.ask(ask),
            Backends::Poll(polling) => polling.ask(ask),
        }
    }

    fn finish(self, out: &mut Vec<Event>) -> Result<()> {
        match self.source {
            Backends::Kernel(kernel) => kernel.finish(out),
            Backends::Poll(polling) => polling.finish(out),
        }
    }
}

/// The same where no kernel program tells.
pub fn is_blocking_sticky() -> bool {
    match KernelTypes::read() {
        Ok(types) => !types.has_connect_bind(),
        // There is no type information.
        Err(_) => release::is_before(6, 18) != Some(false),
    }
}
