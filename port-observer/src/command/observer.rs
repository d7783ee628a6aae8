//! From a configuration to a source of events: which backend, and what completes it.

mod intake;
mod kernel;
mod polling;
mod start;
mod unseen;

use std::time::Duration;

use anyhow::Result;

use self::{kernel::Kernel, polling::Polling};
use super::stream::Stream;
use crate::{
    config::LiveConfig, event::Protocol, kernel::btf::KernelTypes, probe::Backend,
    report::EphemeralRange, source::poll::Scope,
};

/// How often sockets are listed and compared.
const ROUND: Duration = Duration::from_secs(1);
/// With very many sockets less often: a round may take one part in so many of the time.
const ROUND_COST: u32 = 20;

/// A backend at work.
pub struct Observer {
    source: Source,
    missing: Vec<String>,
    ranges: Vec<EphemeralRange>,
}

enum Source {
    Kernel(Box<Kernel>),
    Poll(Box<Polling>),
}

/// What is looked at.
#[derive(Clone)]
struct Looks {
    /// Only these network namespaces; empty: all.
    netns: Vec<u32>,
    /// Only these protocols; empty: all.
    protocols: Vec<Protocol>,
}

impl Looks {
    fn scope(&self) -> Scope {
        if self.netns.is_empty() { Scope::default() } else { Scope::Only(self.netns.clone()) }
    }
}

impl Observer {
    /// Starts the backend that is asked for, or the best that loads. Must be called inside the
    /// runtime.
    ///
    /// # Errors
    /// When it, or any, can't be used: what is missing and how to get it.
    pub fn start(config: &LiveConfig) -> Result<Self> {
        let looks = Looks {
            netns: config.lines.filter.netns.clone(),
            protocols: config.lines.filter.protocols.clone(),
        };
        let ranges = start::ephemeral_ranges(&looks.netns)?;
        let options = start::options(config, &ranges);
        let (source, missing) = match config.backend {
            None => match start::best(&options, &looks) {
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
            Some(backend) => start::kernel(backend, &options, looks)?,
        };
        Ok(Self { source, missing, ranges })
    }

    /// Which backend it is.
    pub fn backend(&self) -> Backend {
        match &self.source {
            Source::Kernel(kernel) => kernel.attached().backend,
            Source::Poll(_) => Backend::Poll,
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

    /// Whether a port that bind() took stays closed to connect() for as long as anybody holds it
    /// (before Linux 6.18), see [`KernelTypes::has_connect_bind`].
    pub fn is_blocking_sticky(&self) -> bool {
        match &self.source {
            Source::Kernel(kernel) => !kernel.attached().has_connect_bind,
            Source::Poll(_) => is_blocking_sticky(),
        }
    }

    /// Hands over the settings of the network namespaces, and begins with what is held already: it
    /// comes with the events of [`Observer::drain`]. To be called once, before any other event.
    ///
    /// # Errors
    /// The stream's, or when /proc can't be read.
    pub fn begin(&mut self, stream: &mut Stream) -> Result<()> {
        match &mut self.source {
            Source::Kernel(kernel) => kernel.begin(stream),
            Source::Poll(polling) => polling.begin(stream),
        }
    }

    /// Hands over about `limit` events, and what else is due; returns how many events there were.
    ///
    /// # Errors
    /// The stream's, or when the kernel's counters or /proc can't be read.
    pub fn drain(&mut self, limit: usize, stream: &mut Stream) -> Result<usize> {
        match &mut self.source {
            Source::Kernel(kernel) => kernel.drain(limit, stream),
            Source::Poll(polling) => polling.drain(stream),
        }
    }

    /// Returns when it is time to drain again.
    ///
    /// # Errors
    /// When the kernel refuses the wait.
    pub async fn wait(&mut self) -> Result<()> {
        match &mut self.source {
            Source::Kernel(kernel) => kernel.wait().await,
            Source::Poll(polling) => {
                polling.wait().await;
                Ok(())
            }
        }
    }

    /// What is due once a second: what diagnostics complete.
    ///
    /// # Errors
    /// When the kernel's lists can't be read, or the stream's.
    pub fn tick(&mut self, stream: &mut Stream) -> Result<()> {
        if let Source::Kernel(kernel) = &mut self.source {
            kernel.tick(stream)?;
        }
        stream.flush()
    }

    /// Detaches, and hands over what is left.
    ///
    /// # Errors
    /// The stream's.
    pub fn finish(self, stream: &mut Stream) -> Result<()> {
        match self.source {
            Source::Kernel(kernel) => kernel.finish(stream),
            Source::Poll(mut polling) => polling.compare(stream).map(|_| ()),
        }
    }
}

/// The same where no kernel program tells.
pub(super) fn is_blocking_sticky() -> bool {
    match KernelTypes::read() {
        Ok(types) => !types.has_connect_bind(),
        Err(_) => is_before_6_18(),
    }
}

/// By the release, where there is no type information.
fn is_before_6_18() -> bool {
    let Ok(name) = nix::sys::utsname::uname() else { return true };
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().ok());
    let version = (numbers.next().flatten(), numbers.next().flatten());
    version < (Some(6), Some(18))
}
