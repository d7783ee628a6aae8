//! From the ring buffer to the stream.

use anyhow::Result;

use super::super::stream::Stream;
use crate::{
    event::{Event, Existing},
    kernel::clock,
    ledger::Holding,
    probe::Observed,
    source::{
        completion::{Completion, UdpHolder},
        ring::Ring,
        settings::Settings,
    },
};

/// Takes in what the programs tell, with what completes it: the settings of each namespace before
/// its first event, and what diagnostics know.
pub(super) struct Intake {
    pub(super) ring: Ring,
    pub(super) settings: Settings,
    pub(super) completion: Option<Completion>,
    pub(super) observed: Observed,
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
        completion: Option<Completion>,
        observed: Observed,
    ) -> Self {
        Self {
            ring,
            settings,
            completion,
            observed,
            // Without a clock nothing is too early.
            attached_ns: clock::now_boot_ns().unwrap_or(0),
            is_busy: false,
            has_new_ports: false,
        }
    }

    /// Hands over at most `limit` events; returns how many there were.
    pub(super) fn pass(&mut self, limit: usize, stream: &mut Stream) -> Result<usize> {
        let Self { ring, settings, completion, observed, attached_ns, has_new_ports, .. } = self;
        let mut result = Ok(());
        let (mut last, mut is_anothers) = (0, false);
        let count = ring.drain(limit, |mut event| {
            let is_early = matches!(&event, Event::Socket(one) if one.time_ns < *attached_ns);
            if is_early || result.is_err() {
                return;
            }
            if let Event::Socket(socket) = &event
                && socket.flow.netns != last
            {
                last = socket.flow.netns;
                let told = settings.meet(last, socket.kind.task().map(|task| task.tid));
                is_anothers = settings.has_ended(last);
                result = tell_settings(told, observed, has_new_ports, stream);
            }
            if is_anothers && matches!(event, Event::Socket(_)) {
                return;
            }
            if let Some(completion) = completion {
                completion.pass(&mut event);
            }
            result = std::mem::replace(&mut result, Ok(())).and_then(|()| stream.event(event));
        });
        self.is_busy |= count > 0;
        result.map(|()| count)
    }

    /// What is new of the settings, if it is time to look.
    pub(super) fn look_at_settings(&mut self, stream: &mut Stream) -> Result<()> {
        let told = self.settings.poll();
        tell_settings(told, &mut self.observed, &mut self.has_new_ports, stream)
    }

    /// What was read from the kernel's lists is handed over after all that the programs told before.
    pub(super) fn hand_over(&mut self, existing: Vec<Existing>, stream: &mut Stream) -> Result<()> {
        self.pass(usize::MAX, stream)?;
        for mut one in existing {
            if let Some(completion) = &mut self.completion {
                let flow = one.flow;
                let holders = stream.ledger().holdings().on_port(&flow);
                let holders = holders.map(|(_, holding)| udp_holder(holding));
                if !completion.pass_existing(&mut one, holders) {
                    continue;
                }
            }
            stream.event(Event::Existing(Box::new(one)))?;
        }
        Ok(())
    }
}

/// What the ledger has of UDP, for comparison with the kernel's list.
pub(super) fn udp_holder(holding: &Holding) -> UdpHolder {
    UdpHolder {
        socket: holding.socket,
        flow: holding.flow(),
        takes_ipv4: !holding.sharing.ipv6_only,
        since_ns: holding.since_ns(),
    }
}

/// Settings go to the stream, and the ports of their ranges to the programs.
fn tell_settings(
    events: Vec<Event>,
    observed: &mut Observed,
    has_new_ports: &mut bool,
    stream: &mut Stream,
) -> Result<()> {
    for event in events {
        if let Event::Namespace(settings) = &event {
            let range = settings.ports.ephemeral;
            *has_new_ports |= observed.add(range.min..=range.max);
        }
        stream.event(event)?;
    }
    Ok(())
}
