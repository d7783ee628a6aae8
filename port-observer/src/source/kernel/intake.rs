//! From the ring buffer to events in order, each after the settings of its namespace.

use super::{super::settings::Settings, Ring};
use crate::{
    event::{Event, Existing, TcpState},
    kernel::clock,
    probe::Observed,
};

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
        self.pass_until(None, limit, out)
    }

    /// Hands over what the programs told before now, and no more than that: who calls faster than this
    /// goes on would else hold up everything for as long as that lasts. Returns `false` if some of it can't
    /// be had yet: another processor stands still in a program, whose record is reserved and not submitted.
    #[must_use]
    pub(super) fn catch_up(&mut self, out: &mut Vec<Event>) -> bool {
        let now = self.ring.begun();
        self.pass_until(Some(now), usize::MAX, out);
        self.ring.has_told(now)
    }

    fn pass_until(&mut self, until: Option<u64>, limit: usize, out: &mut Vec<Event>) -> usize {
        let Self { ring, settings, observed, attached_ns, has_new_ports, .. } = self;
        let (mut last, mut is_anothers) = (0, false);
        let count = ring.drain(limit, until, |event| {
            let Event::Socket(socket) = &event else {
                out.push(event);
                return;
            };
            if socket.time_ns < *attached_ns {
                return;
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

    /// What was read from the kernel's lists is handed over after all that the programs told before, see
    /// [`Self::catch_up`].
    pub(super) fn hand_over(&mut self, existing: Vec<Existing>, out: &mut Vec<Event>) {
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
