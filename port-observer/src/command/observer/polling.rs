//! The backend without kernel programs at work.

use anyhow::Result;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{super::stream::Stream, Looks, ROUND};
use crate::{
    event::{Event, Existing},
    source::{
        poll::{Poll, Scope},
        settings::Settings,
    },
};

pub(super) struct Polling {
    poll: Poll,
    /// What was there at the start, until it is handed over.
    existing: Vec<Existing>,
    settings: Settings,
    round: Interval,
    is_due: bool,
}

impl Polling {
    pub(super) fn new(poll: Poll, existing: Vec<Existing>, looks: &Looks) -> Self {
        let mut round = interval(ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let settings = Settings::new(looks.netns.clone(), looks.scope() == Scope::Own);
        Self { poll, existing, settings, round, is_due: false }
    }

    /// Settings, and what was there at the start.
    pub(super) fn begin(&mut self, stream: &mut Stream) -> Result<()> {
        self.look_at_settings(stream)?;
        stream.event(Event::ScanBegins)?;
        for one in std::mem::take(&mut self.existing) {
            stream.event(Event::Existing(Box::new(one)))?;
        }
        let looked = self.poll.looked();
        let skipped = self.settings.unseen(&looked);
        stream.event(Event::ScanEnded { skipped })
    }

    pub(super) fn drain(&mut self, stream: &mut Stream) -> Result<usize> {
        self.look_at_settings(stream)?;
        if !std::mem::take(&mut self.is_due) {
            return Ok(0);
        }
        self.compare(stream)
    }

    /// One round.
    pub(super) fn compare(&mut self, stream: &mut Stream) -> Result<usize> {
        let events = self.poll.round()?;
        let count = events.len();
        for event in events {
            if let Event::Socket(socket) = &event {
                let told = self.settings.meet(socket.flow.netns, None);
                told.into_iter().try_for_each(|event| stream.event(event))?;
                if self.settings.has_ended(socket.flow.netns) {
                    continue;
                }
            }
            stream.event(event)?;
        }
        Ok(count)
    }

    pub(super) async fn wait(&mut self) {
        self.round.tick().await;
        self.is_due = true;
    }

    fn look_at_settings(&mut self, stream: &mut Stream) -> Result<()> {
        self.settings.poll().into_iter().try_for_each(|event| stream.event(event))
    }
}
