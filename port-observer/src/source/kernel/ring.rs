//! Events from the kernel programs, through the ring buffer.

use std::{os::fd::AsFd as _, time::Duration};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{Array, Map, MapData, PerCpuArray, RingBuf},
};
use port_observer_ebpf::{Kind, PerKind};
use tokio::io::unix::AsyncFd;

use super::{counted::Counted, positions::Positions};
use crate::{
    decode::{decode, loss_kind},
    event::{Event, LossKind, LossPlace},
    kernel::clock,
    probe::Misses,
};

/// Under load the consumer comes by itself this often, and no event wakes it.
const TICK: Duration = Duration::from_millis(10);

/// The reading end of the ring buffer.
pub struct Ring {
    events: AsyncFd<RingBuf<MapData>>,
    positions: Positions,
    sleeping: Array<MapData, u32>,
    lost: PerCpuArray<MapData, PerKind>,
    covered: PerCpuArray<MapData, PerKind>,
    misses: Misses,
    counted: Counted,
    /// Per kind: what was told of the kernel's count so far.
    told: PerKind,
    told_misses: PerKind,
    undecoded: u64,
    busy: bool,
}

impl Ring {
    /// Takes the maps out of the loaded object. Must be called inside the runtime.
    ///
    /// # Errors
    /// When a map is not there or can't be polled.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let misses = Misses::of(ebpf);
        let counted = Counted::new(ebpf)?;
        let mut take = |name| {
            ebpf.take_map(name).with_context(|| format!("the eBPF object has no map {name}"))
        };
        let events = take("EVENTS")?;
        let Map::RingBuf(map) = &events else {
            bail!("the eBPF object's map EVENTS is no ring buffer")
        };
        Ok(Self {
            positions: Positions::of(map.fd().as_fd())?,
            // SAFETY: the ring buffer owns its descriptor and keeps it open and the same.
            events: unsafe { AsyncFd::register(RingBuf::try_from(events)?) }
                .context("can't wait for the ring buffer")?,
            sleeping: Array::try_from(take("SLEEPING")?)?,
            lost: PerCpuArray::try_from(take("LOST")?)?,
            covered: PerCpuArray::try_from(take("COVERED")?)?,
            misses,
            counted,
            told: [0; Kind::SLOTS],
            told_misses: [0; Kind::SLOTS],
            undecoded: 0,
            busy: true,
        })
    }

    /// Up to where programs have begun to tell, see [`Self::has_told`].
    pub fn begun(&self) -> u64 {
        self.positions.reserved()
    }

    /// Whether all that programs had begun to tell at this position was handed over. A record that one
    /// processor has not completed keeps back those that others have submitted since.
    pub fn has_told(&self, position: u64) -> bool {
        self.positions.is_read_to(position)
    }

    /// Hands over what is in the buffer, at most `limit` events, and of those only what was begun before the
    /// position `until`, if one is given; returns how many there were.
    pub fn drain(
        &mut self,
        limit: usize,
        until: Option<u64>,
        mut each: impl FnMut(Event),
    ) -> usize {
        let ring = self.events.get_mut();
        let mut count = 0;
        while count < limit
            && !until.is_some_and(|position| self.positions.is_read_to(position))
            && let Some(item) = ring.next()
        {
            match decode(&item) {
                Ok(event) => each(event),
                Err(error) => {
                    self.undecoded += 1;
                    log::debug!("not decoded: {error}");
                }
            }
            count += 1;
        }
        self.busy = count > 0;
        count
    }

    /// Returns when it is time to drain again: after a tick under load, at the next event when it
    /// is quiet.
    ///
    /// # Errors
    /// When the kernel refuses the wait.
    pub async fn wait(&mut self) -> Result<()> {
        if self.busy {
            tokio::time::sleep(TICK).await;
            return Ok(());
        }
        // From here on the next event wakes us; one that came just before does not, so look once
        // more before sleeping for good.
        self.sleeping.set(0, 1, 0).context("can't ask the kernel to be woken")?;
        if !self.is_empty() {
            return Ok(());
        }
        let mut guard = self.events.readable_mut().await?;
        guard.clear_ready();
        Ok(())
    }

    fn is_empty(&mut self) -> bool {
        // Positions can't be compared through aya; a look costs a round of `drain` at most.
        use std::os::fd::AsRawFd as _;
        let mut poll =
            [libc::pollfd { fd: self.events.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        // SAFETY: one valid pollfd, no waiting.
        unsafe { libc::poll(poll.as_mut_ptr(), 1, 0) <= 0 }
    }

    /// What was counted instead of submitted: of seconds that are over, or all.
    ///
    /// # Errors
    /// When the kernel's tables can't be changed.
    pub fn counted(&mut self, all: bool) -> Result<Vec<Event>> {
        self.counted.take(clock::now_boot_ns()?, all)
    }

    /// Whether something is counted instead of submitted, or was of late.
    pub fn is_counting(&self) -> bool {
        self.counted.is_used()
    }

    /// What was lost since the last call, per kind; and what made no sense.
    ///
    /// # Errors
    /// When the kernel's counters can't be read.
    pub fn losses(&mut self) -> Result<Vec<Event>> {
        let mut losses = Vec::new();
        let misses = self.misses.read(|| sum(&self.covered).unwrap_or_default());
        let lost = sum(&self.lost)?;
        for kind in Kind::ALL {
            let slot = kind as usize;
            let buffer = lost[slot] - self.told[slot];
            self.told[slot] = lost[slot];
            let skipped = misses[slot];
            let program = skipped.saturating_sub(self.told_misses[slot]);
            self.told_misses[slot] = skipped.max(self.told_misses[slot]);
            let kind = loss_kind(kind);
            for (count, place) in
                [(buffer, LossPlace::KernelBuffer), (program, LossPlace::KernelProgram)]
            {
                if count > 0 {
                    losses.push(Event::Lost { count, place, kind, task: None });
                }
            }
        }
        let count = std::mem::take(&mut self.undecoded);
        if count > 0 {
            let place = LossPlace::Decode;
            losses.push(Event::Lost { count, place, kind: LossKind::Unknown, task: None });
        }
        Ok(losses)
    }
}

/// The counters of all processors together.
fn sum(counters: &PerCpuArray<MapData, PerKind>) -> Result<PerKind> {
    let counts = counters.get(&0, 0).context("can't read the loss counters")?;
    Ok(std::array::from_fn(|slot| counts.iter().map(|of| of[slot]).sum()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::{
        kernel::{netns::Namespace, testing::in_fresh_namespace},
        probe::{self, Backend},
    };

    #[test]
    fn what_programs_have_told_up_to_a_moment_is_handed_over_and_no_more() {
        in_fresh_namespace(|| {
            let netns = vec![Namespace::own().unwrap().inode];
            let options =
                probe::Options { buffer_size: 1 << 16, netns, ..probe::Options::default() };
            let Ok((mut attached, _observed)) = probe::attach(Backend::Tracepoint, &options) else {
                println!("skipped: the kernel's programs can't be loaded here");
                return;
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            let _guard = runtime.as_ref().unwrap().enter();
            let mut ring = Ring::new(&mut attached.ebpf).unwrap();
            let _one = TcpListener::bind("127.0.0.1:4000").unwrap();
            let moment = ring.begun();
            let _other = TcpListener::bind("127.0.0.1:4001").unwrap();
            assert!(!ring.has_told(moment));
            let mut ports = Vec::new();
            let mut add = |event| {
                if let Event::Socket(event) = event {
                    ports.push(event.flow.local.port);
                }
            };
            ring.drain(usize::MAX, Some(moment), &mut add);
            assert!(ring.has_told(moment) && !ring.has_told(ring.begun()));
            ring.drain(usize::MAX, None, &mut add);
            ports.dedup();
            assert_eq!(ports, [4000, 4001]);
            assert!(ring.has_told(ring.begun()));
        });
    }
}
