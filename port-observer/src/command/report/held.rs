//! Who held what at a moment, as `snapshot` shows it.

use anyhow::{Context as _, Result, bail};
use jiff::tz::TimeZone;

use super::reading::{Progress, Reading, lines};
use crate::{
    cli::ReportArgs,
    config::Output,
    ledger::Held,
    pipeline::Stream,
    recording::{Reader, Run},
    report::{Holding, Nowhere, Snapshot, Sources},
    sink,
    words::times,
};

/// Tells it.
///
/// # Errors
/// When nothing was recorded then, or as for all reports.
pub(super) fn tell(
    args: &ReportArgs,
    mut reader: Reader,
    at_ns: i64,
    output: Output,
) -> Result<()> {
    let (began_ns, ended_ns) = reader.span_ns()?.unwrap_or((i64::MAX, i64::MIN));
    if at_ns < began_ns || at_ns > ended_ns {
        let zone = TimeZone::system();
        let text = |time_ns: i64| times::local(time_ns.into(), &zone, "%Y-%m-%dT%H:%M:%S%:z");
        bail!(
            "nothing is known of {}: the recording goes from {} to {}",
            text(at_ns),
            text(began_ns),
            text(ended_ns)
        );
    }
    reader.skip_to(at_ns);
    let mut reading = Reading::begin(reader, lines(output), Nowhere, Progress::OnTerminal)?;
    reading.read_to(at_ns)?;
    let Some(run) = reading.run().cloned() else {
        bail!("nothing was recorded at that moment: one run had ended, the next had not begun");
    };
    let offset_ns = reading.offset_ns();
    let time_ns = u64::try_from(at_ns.wrapping_sub(offset_ns)).unwrap_or(0);
    let snapshot = snapshot(reading.stream(), run, time_ns, args);
    sink::write_snapshot(output, None, offset_ns, &snapshot)
        .context("can't write to standard output")?;
    reading.take_damage().map_or(Ok(()), Err)
}

fn snapshot(stream: &mut Stream<Nowhere>, run: Run, time_ns: u64, args: &ReportArgs) -> Snapshot {
    let ledger = stream.ledger();
    let summary = ledger.summary(time_ns, args.top.get(), &|_| true, &|_| true);
    let holdings = args.holdings.then(|| {
        let held = ledger.holdings().checkpoint().held;
        let mut holdings: Vec<Holding> = held.into_iter().map(Held::report).collect();
        holdings.sort_by_key(Holding::order);
        holdings
    });
    Snapshot {
        time_ns,
        host: run.start.host,
        kernel: run.start.kernel,
        missing: run.start.missing,
        sources: Sources { sockets: "recording", processes: Some("recording") },
        summary,
        holdings,
        asked: None,
    }
}
