//! The backend without kernel programs at work.

use anyhow::Result;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{
    Source,
    observer::{Looks, ROUND},
    poll::{Poll, Scope},
    settings::Settings,
};
use crate::event::{Ask, Event, Existing, Listing};

/// Lists are compared, once a second.
pub struct Polling {
    poll: Poll,
    /// What was there at the start, until it is handed over.
    existing: Option<Vec<Existing>>,
    settings: Settings,
    round: Interval,
    is_due: bool,
}

impl Polling {
    pub(super) fn new(poll: Poll, existing: Vec<Existing>, looks: &Looks) -> Self {
        let mut round = interval(ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let settings = Settings::new(looks.netns.clone(), looks.scope() == Scope::Own);
        Self { poll, existing: Some(existing), settings, round, is_due: false }
    }

    fn begin(&self, existing: Vec<Existing>, out: &mut Vec<Event>) {
        out.push(Event::ScanBegins);
        out.extend(existing.into_iter().map(|one| Event::Existing(Box::new(one))));
        let skipped = self.settings.unseen(&self.poll.looked());
        out.push(Event::ScanEnded { skipped });
    }

    /// One round.
    fn compare(&mut self, out: &mut Vec<Event>) -> Result<()> {
        for event in self.poll.round()? {
            if let Event::Socket(socket) = &event {
                out.extend(self.settings.meet(socket.flow.netns, None));
                if self.settings.has_ended(socket.flow.netns) {
                    continue;
                }
            }
            out.push(event);
        }
        Ok(())
    }
}

impl Source for Polling {
    async fn ready(&mut self) -> Result<()> {
        self.round.tick().await;
        self.is_due = true;
        Ok(())
    }

    /// First settings and what was there at the start; then what each round shows.
    fn next(&mut self, _most: usize, out: &mut Vec<Event>) -> Result<()> {
        out.extend(self.settings.poll());
        if let Some(existing) = self.existing.take() {
            self.begin(existing, out);
        }
        if std::mem::take(&mut self.is_due) { self.compare(out) } else { Ok(()) }
    }

    /// Every round lists all that there is, and no call that fails is seen.
    fn ask(&mut self, _ask: Ask) -> Option<Listing> {
        None
    }

    fn finish(mut self, out: &mut Vec<Event>) -> Result<()> {
        self.compare(out)
    }
}
