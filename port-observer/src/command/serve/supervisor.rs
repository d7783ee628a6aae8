//! What systemd is told (sd_notify(3)); without it, nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::ledger::Totals;

/// So many times within the time that the watchdog allows.
const PINGS: u32 = 2;
/// Without a watchdog.
const NEVER: Duration = Duration::from_secs(86_400);
/// How often the status may change.
const STATUS_TICKS: u32 = 10;

/// The service manager's end.
pub(super) struct Supervisor {
    is_ready: bool,
    ticks: u32,
    told: Option<Totals>,
}

impl Supervisor {
    /// Nothing is told yet.
    pub(super) fn new() -> Self {
        Self { is_ready: false, ticks: 0, told: None }
    }

    /// How often it is to hear that this lives: the loop that observes does.
    pub(super) fn watchdog(&self) -> Interval {
        let every = sd_notify::watchdog_enabled().map_or(NEVER, |allowed| allowed / PINGS);
        let mut interval = interval(every.max(Duration::from_millis(1)));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    }

    /// What was held before is known: from now on every answer is whole.
    pub(super) fn ready(&mut self) {
        if !self.is_ready {
            self.is_ready = true;
            tell(&[NotifyState::Ready, NotifyState::Status("observing")]);
        }
    }

    pub(super) fn is_alive(&self) {
        tell(&[NotifyState::Watchdog]);
    }

    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    pub(super) fn reloaded(&self) {
        tell(&[NotifyState::Ready]);
    }

    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Called once a second.
    pub(super) fn status(&mut self, totals: &Totals) {
        self.ticks += 1;
        if !self.ticks.is_multiple_of(STATUS_TICKS) || self.told.as_ref() == Some(totals) {
            return;
        }
        let Totals { acquired, released, exhausted, lost } = totals;
        tell(&[NotifyState::Status(&format!(
            "{acquired} ports taken, {released} given back, {exhausted} calls without a port, {lost} \
             events lost"
        ))]);
        self.told = Some(*totals);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    let is_routine = matches!(state, [NotifyState::Watchdog | NotifyState::Status(_)]);
    match sd_notify::notify(state) {
        Ok(()) => {}
        Err(error) if is_routine => log::debug!("can't tell the service manager: {error}"),
        Err(error) => log::warn!("can't tell the service manager: {error}"),
    }
}
