//! From the ring buffer to events in order, each after the settings of its namespace.

use std::ops::ControlFlow;

use super::{super::settings::Settings, Ring};
use crate::{
    event::{Event, Existing, TcpState},
    kernel::clock,
    probe::Observed,
};

/// By how much an event may be older than one that was told before it: its program was interrupted between
/// its look at the clock and its place in the buffer.
const OUT_OF_ORDER_NS: u64 = 10_000_000;

/// Takes in what the programs tell, with the settings of each namespace before its first event.
pub(super) struct Intake {
    pub(super) ring: Ring,
    pub(super) settings: Settings,
    pub(super) observed: Observed,
    /// Events name TIME_WAIT entries by their identity, not by their 4-tuple.
    names_time_waits: bool,
    /// When all programs were attached. Of what happened before that, some may have seen one half
    /// only: the first scan tells what came of it.
    attached_ns: u64,
    /// Something has happened. Cleared by who looks at losses.
    pub(super) is_busy: bool,
    /// Ports are observed that were not: who holds them is to be found. Cleared by who looks.
    pub(super) has_new_ports: bool,
}

impl Intake {
    /// All programs are attached.
    pub(super) fn new(
        ring: Ring,
        settings: Settings,
        observed: Observed,
        names_time_waits: bool,
    ) -> Self {
        Self {
            ring,
            settings,
            observed,
            names_time_waits,
            // Without a clock nothing is too early.
            attached_ns: clock::now_boot_ns().unwrap_or(0),
            is_busy: false,
            has_new_ports: false,
        }
    }

    /// Hands over at most `limit` events; returns how many there were.
    pub(super) fn pass(&mut self, limit: usize, out: &mut Vec<Event>) -> usize {
        self.pass_until(u64::MAX, limit, out)
    }

    /// Hands over what the programs told before now, and no more than that: who calls faster than this
    /// goes on would else hold up everything for as long as that lasts.
    pub(super) fn catch_up(&mut self, out: &mut Vec<Event>) {
        // Without a clock no event is later than now, and the buffer's size is the limit.
        let now_ns = clock::now_boot_ns().unwrap_or(u64::MAX);
        self.pass_until(now_ns.saturating_add(OUT_OF_ORDER_NS), self.ring.most(), out);
    }

    fn pass_until(&mut self, until_ns: u64, limit: usize, out: &mut Vec<Event>) -> usize {
        let Self { ring, settings, observed, attached_ns, has_new_ports, .. } = self;
        let (mut last, mut is_anothers) = (0, false);
        let count = ring.drain(limit, |event| {
            let Event::Socket(socket) = &event else {
                out.push(event);
                return ControlFlow::Continue(());
            };
            let is_last = socket.time_ns > until_ns;
            let goes_on = if is_last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            if socket.time_ns < *attached_ns {
                return goes_on;
            }
            if socket.flow.netns != last {
                last = socket.flow.netns;
                let told = settings.meet(last, socket.kind.task().map(|task| task.tid));
                is_anothers = settings.has_ended(last);
                *has_new_ports |= observe(&told, observed);
                out.extend(told);
            }
            if !is_anothers {
                out.push(event);
            }
            goes_on
        });
        self.is_busy |= count > 0;
        count
    }

    /// What is new of the settings, if it is time to look.
    pub(super) fn look_at_settings(&mut self, out: &mut Vec<Event>) {
        let told = self.settings.poll();
        self.has_new_ports |= observe(&told, &mut self.observed);
        out.extend(told);
    }

    /// What was read from the kernel's lists is handed over after all that the programs told before.
    pub(super) fn hand_over(&mut self, existing: Vec<Existing>, out: &mut Vec<Event>) {
        self.catch_up(out);
        for mut one in existing {
            if one.state == TcpState::TIME_WAIT && !self.names_time_waits {
                one.socket = None;
            }
            out.push(Event::Existing(Box::new(one)));
        }
    }
}

/// The ports of ranges are observed from now on; whether any of them was not.
fn observe(events: &[Event], observed: &mut Observed) -> bool {
    let mut has_new = false;
    for event in events {
        if let Event::Namespace(settings) = event {
            let range = settings.ports.ephemeral;
            has_new |= observed.add(range.min..=range.max);
        }
    }
    has_new
}
