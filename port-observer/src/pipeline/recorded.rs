//! A recording as a source: hands over what was taken in, at the time at which it was.

use std::time::Duration;

use anyhow::Result;

use super::{Stream, Time};
use crate::{
    config::Lines,
    event::{Event, Kind},
    recording::{Input, Item, Reader, Run},
    report::Sink,
};

/// A recording at work.
pub struct Recorded {
    reader: Reader,
    config: Lines,
    items: Vec<Item>,
    offset_ns: i64,
    /// The run under way: when it began, and what the time is in it (`CLOCK_BOOTTIME`).
    run: Option<(u64, u64)>,
    current: Option<Run>,
    is_over: bool,
}

impl Recorded {
    /// From where the reader is.
    pub fn new(reader: Reader, config: Lines) -> Self {
        Self {
            reader,
            config,
            items: Vec::new(),
            offset_ns: 0,
            run: None,
            current: None,
            is_over: false,
        }
    }

    /// The recording.
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// The run under way.
    pub fn run(&self) -> Option<&Run> {
        self.current.as_ref()
    }

    /// Realtime less boottime, where it is.
    pub fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    /// Whether all was handed over.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// When, in nanoseconds since 1970, the next item that [`Recorded::drain`] would hand over was
    /// taken in; `None`: that is not known yet.
    pub fn next_ns(&self) -> Option<i64> {
        let time_ns = match self.items.last()? {
            Item::Begins { time_ns, offset_ns, .. } => {
                return Some(offset_ns.wrapping_add_unsigned(*time_ns));
            }
            Item::Holds { time_ns, .. } | Item::Ends { time_ns, .. } => *time_ns,
            Item::Entry(entry) => entry.time_ns,
        };
        Some(self.offset_ns.wrapping_add_unsigned(time_ns))
    }

    /// Hands over what was taken in up to a moment (nanoseconds since 1970), and no more than was
    /// read at once, nor than the stream has room for.
    ///
    /// # Errors
    /// The stream's, or when nothing more can be read.
    pub fn drain(&mut self, until_ns: i64, stream: &mut Stream<impl Sink>) -> Result<()> {
        if self.items.is_empty() {
            self.reader.next(&mut self.items)?;
            // Taken from the end.
            self.items.reverse();
            self.is_over = self.items.is_empty();
        }
        while stream.has_room()
            && self.next_ns().is_some_and(|next_ns| next_ns <= until_ns)
            && let Some(item) = self.items.pop()
        {
            self.hand_over(item, stream)?;
            if stream.is_done() {
                break;
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, item: Item, stream: &mut Stream<impl Sink>) -> Result<()> {
        match item {
            Item::Begins { run, time_ns, offset_ns } => {
                self.offset_ns = offset_ns;
                self.run = Some((time_ns, time_ns));
                self.current = Some((*run).clone());
                self.set_time(time_ns, stream);
                stream.begin_again(&self.config, run.is_sticky, run.offset_ns)?;
                stream.begin_pools(&run.start);
                stream.start(run.start)
            }
            Item::Holds { time_ns, checkpoint } => {
                self.set_time(time_ns, stream);
                stream.restore(*checkpoint)
            }
            Item::Ends { time_ns, observed } => {
                self.set_time(time_ns, stream);
                self.run = None;
                self.current = None;
                stream.stop(observed)
            }
            Item::Entry(entry) => {
                self.set_time(entry.time_ns, stream);
                stream.summarize()?;
                match &entry.input {
                    Input::Tick => return stream.tick(),
                    Input::Clock(offset_ns) => {
                        self.offset_ns = *offset_ns;
                        return Ok(());
                    }
                    _ => {}
                }
                match entry.event() {
                    Some(event) if self.is_wanted(&event) => {
                        stream.event_of(event, entry.caller().cloned())
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// TCP state changes are told to those who ask for them.
    fn is_wanted(&self, event: &Event) -> bool {
        let is_state = |kind: &Kind| matches!(kind, Kind::State { .. });
        self.config.states || !matches!(event, Event::Socket(event) if is_state(&event.kind))
    }

    /// Ends the run under way, if it has not ended by itself.
    ///
    /// # Errors
    /// The stream's.
    pub fn finish(&mut self, stream: &mut Stream<impl Sink>) -> Result<()> {
        let Some((began_ns, now_ns)) = self.run.take() else { return stream.flush() };
        stream.stop(Duration::from_nanos(now_ns.saturating_sub(began_ns)))
    }

    fn set_time(&mut self, now_ns: u64, stream: &mut Stream<impl Sink>) {
        if let Some((_, latest_ns)) = &mut self.run {
            *latest_ns = now_ns.max(*latest_ns);
        }
        stream.set_time(Time::Recorded { now_ns, offset_ns: self.offset_ns });
    }
}
