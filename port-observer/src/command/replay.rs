//! `replay`: a recording as the lines that `live` would have printed.

use std::{
    path::Path,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::Result;
use jiff::tz::TimeZone;

use super::{end_signals::EndSignals, event_loop, output, pools};
use crate::{
    cli::{Color, ReplayArgs, Speed},
    config::{Lines, ReplayConfig, Target},
    kernel::netns,
    pipeline::{Recorded, Stream},
    pools::Pool,
    queued_writer::QueuedWriter,
    recording::{Moment, Reader},
    report::Sink,
    sandbox::{Sandbox, Task},
    sink,
};

/// How long after the end of what is printed it is read on: what lies further back in time than what
/// came before it.
const OUT_OF_ORDER_NS: i64 = 2_000_000_000;

/// Prints it.
///
/// # Errors
/// When it can't be read, or the output can't be written; also if only some of it could be read.
pub fn run(args: ReplayArgs, color: Color, sandbox: Sandbox) -> Result<()> {
    // They may lie where a replay can read nothing.
    let declared = pools::declared(&args.pools)?;
    sandbox.enter(&Task::Replay { recording: &args.file, page: None });
    let reader = Reader::open(&args.file)?;
    let config = ReplayConfig::resolve(args, color, &|name| reader.netns(name))?;
    event_loop()?.block_on(async {
        let home = netns::own_inode().ok();
        let (sink, queue) = sink::standard_output(config.lines.output, home)?;
        let mut end = End { signals: EndSignals::catch()?, is_due: false };
        let replayed = replay(reader, config, declared, (sink, queue.clone()), &mut end).await;
        // The file does not change, so its reader is waited for.
        if !end.is_due {
            output::wait(queue.as_ref(), &mut end.signals).await;
        }
        replayed.and(output::finish(&Target::StandardOutput, queue).await)
    })
}

async fn replay(
    mut reader: Reader,
    config: ReplayConfig,
    declared: Vec<Pool>,
    (sink, queue): (Box<dyn Sink>, Option<QueuedWriter>),
    end: &mut End,
) -> Result<()> {
    let (from_ns, to_ns) = window(&reader, config.from, config.to)?;
    reader.skip_to(from_ns);
    let mut stream = Stream::of_recording(&config.lines, sink)?;
    stream.wait_when_full(queue);
    stream.print_only(from_ns..=to_ns);
    watch_pools(&mut stream, declared, &config.lines);
    let mut source = Recorded::new(reader, config.lines);
    let until_ns = to_ns.saturating_add(OUT_OF_ORDER_NS);
    let mut pace = Pace { speed: config.speed, began: None };
    while !source.is_over() && !stream.is_done() {
        let next_ns = source.next_ns();
        if next_ns.is_some_and(|next_ns| next_ns > until_ns) {
            break;
        }
        let (now_ns, wait) = pace.now(next_ns, from_ns);
        source.drain(now_ns.min(until_ns), &mut stream)?;
        stream.flush()?;
        let mut waited = pin!(tokio::time::sleep(wait));
        tokio::select! {
            biased;
            () = end.signals.next() => {
                end.is_due = true;
                break;
            }
            () = stream.room(), if !stream.has_room() => {}
            () = &mut waited, if !wait.is_zero() => {}
            () = tokio::task::yield_now(), if wait.is_zero() && stream.has_room() => {}
        }
    }
    source.finish(&mut stream)?;
    source.reader().take_damage().map_or(Ok(()), Err)
}

fn watch_pools(stream: &mut Stream<impl Sink>, declared: Vec<Pool>, lines: &Lines) {
    if !declared.is_empty() {
        // Where the recorder was, each run says.
        stream.watch_pools(pools::watch(declared, None, lines), &[]);
    }
}

/// Hands the lines of a recording to a sink: those since a moment (nanoseconds since 1970), and some before
/// it, with those about these pools. The file may go on being written.
///
/// # Errors
/// The sink's, or when it can't be read; also if only some of it could be read.
pub(super) fn lines_since(
    file: &Path,
    from_ns: i64,
    lines: Lines,
    declared: Vec<Pool>,
    sink: Box<dyn Sink>,
) -> Result<()> {
    let mut reader = Reader::open_among_others(file)?;
    reader.skip_to(from_ns);
    let mut stream = Stream::of_recording(&lines, sink)?;
    stream.is_silent();
    watch_pools(&mut stream, declared, &lines);
    let mut source = Recorded::new(reader, lines);
    while !source.is_over() {
        source.drain(i64::MAX, &mut stream)?;
    }
    source.reader().take_damage().map_or(Ok(()), Err)
}

/// What ends it before the recording does.
struct End {
    signals: EndSignals,
    /// One has come.
    is_due: bool,
}

/// From when to when lines are printed, nanoseconds since 1970.
pub(super) fn window(
    reader: &Reader,
    from: Option<Moment>,
    to: Option<Moment>,
) -> Result<(i64, i64)> {
    let end_ns = reader.span_ns()?.map_or(i64::MAX, |(_, end_ns)| end_ns);
    let zone = TimeZone::system();
    let resolve = |moment: Moment| moment.resolve(end_ns, &zone);
    Ok((from.map_or(i64::MIN, resolve), to.map_or(i64::MAX, resolve)))
}

/// How fast time goes by.
struct Pace {
    speed: Speed,
    /// When it began, and what the time was in the recording.
    began: Option<(Instant, i64)>,
}

/// How often it is looked whether something is due.
const STEP: Duration = Duration::from_millis(20);

impl Pace {
    /// Up to what time of the recording it is to be read now, and how long to wait then. `next_ns`:
    /// when the next comes, if that is known; nobody waits for what is before `from_ns`.
    fn now(&mut self, next_ns: Option<i64>, from_ns: i64) -> (i64, Duration) {
        let Speed::Times(times) = self.speed else { return (i64::MAX, Duration::ZERO) };
        match next_ns {
            None => (i64::MIN, Duration::ZERO),
            Some(next_ns) if next_ns < from_ns => (from_ns.saturating_sub(1), Duration::ZERO),
            Some(next_ns) => {
                let (began, from_ns) = *self.began.get_or_insert((Instant::now(), next_ns));
                #[expect(clippy::cast_possible_truncation, reason = "as far as times go")]
                let passed = (began.elapsed().as_secs_f64() * 1e9 * times) as i64;
                (from_ns.saturating_add(passed), STEP)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_printed_is_not_waited_for() {
        let mut pace = Pace { speed: Speed::Times(1.0), began: None };
        assert_eq!(pace.now(None, 100), (i64::MIN, Duration::ZERO));
        assert_eq!(pace.now(Some(50), 100), (99, Duration::ZERO));
        let (until_ns, wait) = pace.now(Some(1_000), 100);
        assert!((1_000..1_000_000_000).contains(&until_ns) && !wait.is_zero());
    }

    #[test]
    fn at_full_speed_nothing_is_waited_for() {
        let mut pace = Pace { speed: Speed::Max, began: None };
        assert_eq!(pace.now(Some(1_000), 0), (i64::MAX, Duration::ZERO));
    }
}
