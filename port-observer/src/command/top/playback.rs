//! A recording that can be read from any moment on.

use std::path::Path;

use anyhow::Result;

use crate::{
    config::Lines,
    pipeline::{Recorded, Stream},
    recording::Reader,
    screen::state::Activity,
};

/// How long before what is shown it is read: rates, growth and sparklines are of the minutes before.
const BEFORE_NS: i64 = 300_000_000_000;

/// What is read, and for whom.
#[derive(Clone, Copy)]
pub(super) struct Recording<'a> {
    pub(super) path: &'a Path,
    pub(super) lines: &'a Lines,
    /// From when to when it goes, nanoseconds since 1970.
    pub(super) span_ns: (i64, i64),
}

/// Where it is read.
pub(super) struct Playback<'a> {
    recording: Recording<'a>,
    source: Recorded,
    stream: Stream<Activity>,
    /// What is shown, nanoseconds since 1970.
    at_ns: i64,
    damage: Option<anyhow::Error>,
}

impl<'a> Playback<'a> {
    /// From this moment on.
    pub(super) fn begin(recording: Recording<'a>, mut reader: Reader, at_ns: i64) -> Result<Self> {
        let (began_ns, ended_ns) = recording.span_ns;
        let at_ns = at_ns.min(ended_ns).max(began_ns);
        reader.skip_to(at_ns.saturating_sub(BEFORE_NS));
        let mut stream = Stream::of_recording(recording.lines, Activity::default())?;
        stream.is_silent();
        let source = Recorded::new(reader, recording.lines.clone());
        Ok(Self { recording, source, stream, at_ns, damage: None })
    }

    /// What is shown, nanoseconds since 1970.
    pub(super) fn at_ns(&self) -> i64 {
        self.at_ns
    }

    /// The same since boot.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.at_ns.wrapping_sub(self.source.offset_ns())).unwrap_or(0)
    }

    /// What was taken in up to there, once [`Playback::is_behind`] is no longer so.
    pub(super) fn stream(&mut self) -> &mut Stream<Activity> {
        &mut self.stream
    }

    /// Whether that is the end.
    pub(super) fn is_at_end(&self) -> bool {
        self.at_ns >= self.recording.span_ns.1
    }

    /// Goes on, or back.
    pub(super) fn step(&mut self, by_ns: i64) -> Result<()> {
        self.seek(self.at_ns.saturating_add(by_ns))
    }

    /// Goes to a moment. What is before is read anew: a ledger goes on and never back.
    pub(super) fn seek(&mut self, to_ns: i64) -> Result<()> {
        if to_ns >= self.at_ns {
            self.at_ns = to_ns.min(self.recording.span_ns.1);
            return Ok(());
        }
        let damage = self.take_damage();
        *self = Self::begin(self.recording, Reader::open(self.recording.path)?, to_ns)?;
        self.damage = damage;
        Ok(())
    }

    /// Whether there is more to be read.
    pub(super) fn is_behind(&self) -> bool {
        !self.source.is_over() && self.source.next_ns().is_none_or(|next| next <= self.at_ns)
    }

    /// Reads some of it.
    pub(super) fn read(&mut self) -> Result<()> {
        self.source.drain(self.at_ns, &mut self.stream)
    }

    /// What is wrong with the file, as far as it was read.
    pub(super) fn take_damage(&mut self) -> Option<anyhow::Error> {
        let damage = self.source.reader().take_damage();
        self.damage.take().or(damage)
    }

    /// What is to be known of this moment.
    pub(super) fn notice(&mut self) -> Option<String> {
        self.damage = self.take_damage();
        if let Some(damage) = &self.damage {
            return Some(format!("{damage:#}"));
        }
        let is_between = self.source.run().is_none() && !self.is_behind();
        is_between
            .then(|| "nothing was recorded at this moment: this is how it was before".to_owned())
    }
}
