//! What the kernel programs counted instead of submitting it record by record: calls that fail again
//! and again, and records that a process was refused room for.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData, Queue},
};
use memmap2::{MmapMut, MmapOptions};
use port_observer_ebpf::{COUNTED_SLOTS, CallRecord, Counted as Slot, Counting, Kind as WireKind};

use crate::{
    decode::{decode, loss_kind, task},
    event::{Endpoint, Event, Kind, LossKind, LossPlace, Repeated},
};

const SECOND_NS: u64 = 1_000_000_000;
/// A slot that was not used for so many seconds is given back.
const IDLE_SECONDS: u64 = 3;
/// How long after its key is gone a slot is still looked at: a program that had found it before is done
/// with it long before that.
const GRACE_NS: u64 = SECOND_NS;

/// The slots, in memory that is shared with the programs.
pub struct Counted {
    memory: MmapMut,
    by_key: HashMap<MapData, u64, u32>,
    free: Queue<MapData, u32>,
    slots: Vec<State>,
    /// The kernel's side needs it open.
    _map: MapData,
}

/// What is known of a slot.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Of each of its counts, what was handed over.
    reported: [u64; 2],
    /// When its key was removed.
    closed_ns: Option<u64>,
}

impl Counted {
    /// Takes the maps out of the loaded object. All slots are free.
    ///
    /// # Errors
    /// When a map is not there, or the kernel does not share its memory.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let mut take = |name| {
            ebpf.take_map(name).with_context(|| format!("the eBPF object has no map {name}"))
        };
        let Map::Array(map) = take("COUNTED")? else {
            bail!("the map COUNTED of the eBPF object is no array")
        };
        let bytes = COUNTED_SLOTS as usize * size_of::<Slot>();
        // SAFETY: what others write there meanwhile is read field by field, the counts atomically.
        let memory = unsafe { MmapOptions::new().len(bytes).map_mut(map.fd().as_fd().as_raw_fd()) }
            .context("can't share the table of counted records with the kernel")?;
        let by_key = HashMap::try_from(take("COUNTED_BY_KEY")?)?;
        let free = Queue::try_from(take("COUNTED_FREE")?)?;
        let slots = vec![State::default(); COUNTED_SLOTS as usize];
        Ok(Self { memory, by_key, free, slots, _map: map })
    }

    /// What was counted in seconds that are over, or in all; `now_ns` of `CLOCK_BOOTTIME`. To be called
    /// about four times a second while something happens.
    ///
    /// # Errors
    /// When the kernel's tables can't be changed.
    pub fn take(&mut self, now_ns: u64, all: bool) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        for index in 0..self.slots.len() {
            let slot = Place::of(&self.memory, index);
            let key = slot.key().load(Ordering::Acquire);
            if key == 0 {
                continue;
            }
            let second = now_ns / SECOND_NS;
            let closed_ns = self.slots[index].closed_ns;
            for parity in 0..2 {
                if all || closed_ns.is_some() || parity as u64 != second % 2 {
                    events.extend(slot.report(parity, &mut self.slots[index].reported[parity]));
                }
            }
            match closed_ns {
                None if slot.used_second() + IDLE_SECONDS < second => {
                    // Not there, if a program was slower to add it than anything should be.
                    let _ = self.by_key.remove(&key);
                    self.slots[index].closed_ns = Some(now_ns);
                }
                Some(closed_ns) if now_ns > closed_ns + GRACE_NS => {
                    slot.clear();
                    self.slots[index] = State::default();
                    let index = u32::try_from(index).unwrap_or_default();
                    self.free.push(index, 0).context("can't hand the kernel a slot to count in")?;
                }
                _ => {}
            }
        }
        Ok(events)
    }

    /// Whether something is counted, or was of late: then it is to be looked at again soon.
    pub fn is_used(&self) -> bool {
        (0..self.slots.len())
            .any(|index| Place::of(&self.memory, index).key().load(Ordering::Relaxed) != 0)
    }
}

/// One slot in shared memory.
struct Place(*mut Slot);

impl Place {
    fn of(memory: &MmapMut, index: usize) -> Self {
        Self(memory.as_ptr().cast::<Slot>().cast_mut().wrapping_add(index))
    }

    fn word(&self, field: *mut u64) -> &AtomicU64 {
        // SAFETY: a field of a slot, aligned to 8, in memory that lives as long as this is used.
        unsafe { AtomicU64::from_ptr(field) }
    }

    fn key(&self) -> &AtomicU64 {
        // SAFETY: within the shared memory.
        self.word(unsafe { &raw mut (*self.0).key })
    }

    fn used_second(&self) -> u64 {
        // SAFETY: within the shared memory.
        self.word(unsafe { &raw mut (*self.0).submitted }).load(Ordering::Relaxed) >> 32
    }

    /// What came since it was last reported.
    fn report(&self, parity: usize, reported: &mut u64) -> Option<Event> {
        // SAFETY: within the shared memory; the record was written before the key.
        let (count, last_ns, record, counting) = unsafe {
            (
                self.word(&raw mut (*self.0).count[parity]).load(Ordering::Relaxed),
                self.word(&raw mut (*self.0).last_ns[parity]).load(Ordering::Relaxed),
                (&raw const (*self.0).record)
                    .cast::<[u8; size_of::<CallRecord>()]>()
                    .read_volatile(),
                (&raw const (*self.0).counting).read_volatile(),
            )
        };
        let new = count.saturating_sub(*reported);
        if new == 0 {
            return None;
        }
        *reported = count;
        Some(event(&record, counting, last_ns, new))
    }

    fn clear(&self) {
        // SAFETY: nobody else uses a slot that has no key and is not among the free ones.
        unsafe { self.0.write_volatile(Slot::default()) }
    }
}

/// What `count` records like this one mean, the last of which came at `last_ns`.
fn event(record: &[u8], counting: u64, last_ns: u64, count: u64) -> Event {
    let lost = |kind, task| Event::Lost { count, place: LossPlace::KernelBuffer, kind, task };
    if counting == Counting::Lost as u64 {
        let kind = WireKind::ALL.into_iter().find(|kind| record.first() == Some(&(*kind as u8)));
        let task = task(&record[std::mem::offset_of!(CallRecord, task)..]);
        return lost(kind.map_or(LossKind::Unknown, loss_kind), task);
    }
    let differing = counting == Counting::Differing as u64;
    match decode(record) {
        Ok(Event::Socket(mut event)) => {
            event.time_ns = last_ns;
            let stands_for = Repeated { calls: count - 1, differing, late: true };
            match &mut event.kind {
                Kind::Exhausted { repeated, .. }
                | Kind::Conflict { repeated, .. }
                | Kind::Refused { repeated, .. } => {
                    *repeated = stands_for;
                }
                _ => return lost(LossKind::Unknown, None),
            }
            if differing {
                event.flow.local = Endpoint::new(event.flow.local.address, 0);
                event.flow.remote = None;
            }
            Event::Socket(event)
        }
        _ => lost(LossKind::Unknown, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(record: CallRecord) -> [u8; size_of::<CallRecord>()] {
        // SAFETY: a structure of integers without padding.
        unsafe { std::mem::transmute(record) }
    }

    fn failed() -> CallRecord {
        let mut record = CallRecord::default();
        record.socket.kind = WireKind::Conflict as u8;
        record.socket.family = 2;
        record.socket.protocol = 6;
        record.socket.via = 2;
        record.socket.errno = 98;
        record.socket.local_port = 7000;
        record.socket.remote_port = 1;
        record.task.pid = 42;
        record
    }

    #[test]
    fn calls_that_were_counted_are_one_event_that_stands_for_all_of_them() {
        let Event::Socket(event) = event(&bytes(failed()), Counting::Equal as u64, 77, 1_000)
        else {
            panic!("no event of a socket")
        };
        assert_eq!((event.time_ns, event.flow.local.port), (77, 7000));
        let Kind::Conflict { repeated, task, .. } = event.kind else { panic!("no conflict") };
        assert_eq!(repeated, Repeated { calls: 999, differing: false, late: true });
        assert_eq!(task.map(|task| task.pid), Some(42));
    }

    #[test]
    fn calls_that_were_refused_an_address_are_counted_like_the_others() {
        let mut record = failed();
        record.socket.kind = WireKind::Refused as u8;
        let Event::Socket(event) = event(&bytes(record), Counting::Equal as u64, 77, 1_000) else {
            panic!("no event of a socket")
        };
        let Kind::Refused { repeated, .. } = event.kind else { panic!("not refused") };
        assert_eq!(repeated, Repeated { calls: 999, differing: false, late: true });
    }

    #[test]
    fn calls_that_differ_have_no_ports() {
        let Event::Socket(event) = event(&bytes(failed()), Counting::Differing as u64, 77, 2)
        else {
            panic!("no event of a socket")
        };
        assert_eq!((event.flow.local.port, event.flow.remote), (0, None));
        let Kind::Conflict { repeated, .. } = event.kind else { panic!("no conflict") };
        assert_eq!(repeated, Repeated { calls: 1, differing: true, late: true });
    }

    #[test]
    fn what_found_no_room_is_lost_by_whom_it_was() {
        let lost = event(&bytes(failed()), Counting::Lost as u64, 77, 5);
        let Event::Lost {
            count: 5,
            place: LossPlace::KernelBuffer,
            kind: LossKind::Conflict,
            task,
        } = lost
        else {
            panic!("no loss: {lost:?}")
        };
        assert_eq!(task.map(|task| task.pid), Some(42));
    }

    #[test]
    fn a_record_that_makes_no_sense_is_counted_as_lost() {
        let mut record = failed();
        record.socket.family = 0;
        let lost = event(&bytes(record), Counting::Equal as u64, 77, 5);
        assert!(matches!(lost, Event::Lost { count: 5, kind: LossKind::Unknown, .. }), "{lost:?}");
    }
}
