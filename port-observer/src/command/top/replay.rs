//! The screen over a recording.

use std::time::Duration;

use anyhow::Result;
use tokio::{
    task::yield_now,
    time::{Instant, sleep_until},
};

use super::{
    super::replay::window,
    Top,
    failures::Moments,
    playback::{Playback, Recording},
    signals::Signals,
};
use crate::{
    config::TopConfig,
    recording::Reader,
    sink::top::{
        Feed,
        state::{Action, Replay},
    },
};

/// How often it is shown how far it is read.
const PROGRESS: Duration = Duration::from_millis(200);

/// Shows it until told to stop.
pub(super) async fn show(reader: Reader, config: &TopConfig) -> Result<()> {
    let Some((path, from)) = &config.replay else { return Ok(()) };
    let mut signals = Signals::catch()?;
    let span_ns = reader.span_ns()?.unwrap_or((0, 0));
    let step_ns = i64::try_from(config.every.as_nanos()).unwrap_or(i64::MAX);
    let (from_ns, _) = window(&reader, *from, None)?;
    let feed = Feed::default();
    let recording = Recording { path, lines: &config.live.lines, feed: &feed, span_ns };
    // What was held before is in the first second.
    let mut playback = Playback::begin(recording, reader, from_ns.max(span_ns.0 + step_ns))?;
    let failures = Moments::look_for(path.clone(), config.every);

    let mut top = Top::open(config, feed.clone())?;
    // A moment is what is looked for, so it stands still until it is told to go on.
    top.state.set_paused(true);
    let mut action = Action::Ask;
    while action != Action::Quit {
        top.state.notice = None;
        match action {
            Action::Step(by) => {
                top.state.set_paused(true);
                playback.step(step_ns.saturating_mul(i64::try_from(by).unwrap_or(0)))?;
            }
            Action::Jump(by) => {
                top.state.set_paused(true);
                match failures.beside(playback.at_ns(), by > 0) {
                    Some(at_ns) => playback.seek(at_ns)?,
                    None => top.state.notice = Some(no_failure(by > 0, failures.is_done())),
                }
            }
            Action::Redraw => top.screen.forget()?,
            Action::Suspend => top.suspend()?,
            Action::Ask | Action::Pause | Action::Draw | Action::Quit => {}
        }
        let is_behind = playback.is_behind();
        if !is_behind {
            let now_ns = playback.now_ns();
            top.ask(playback.stream(), now_ns, false);
        }
        top.state.replay = Some(Replay { span_ns, at_ns: playback.at_ns(), is_read: is_behind });
        if let Some(told) = playback.notice() {
            top.state.notice.get_or_insert(told);
        }
        top.draw()?;
        let shown = Instant::now();
        action = loop {
            tokio::select! {
                biased;
                told = signals.next() => break top.told(told)?,
                key = top.screen.key() => break top.pressed(key),
                () = yield_now(), if playback.is_behind() => {
                    playback.read()?;
                    if !playback.is_behind() || shown.elapsed() > PROGRESS {
                        break Action::Draw;
                    }
                }
                () = sleep_until(shown + config.every), if !top.state.is_paused() => {
                    playback.step(step_ns)?;
                    top.state.set_paused(playback.is_at_end());
                    break Action::Draw;
                }
            }
        };
    }
    drop(top);
    playback.take_damage().map_or(Ok(()), Err)
}

fn no_failure(is_forward: bool, is_done: bool) -> String {
    let which = if is_forward { "after" } else { "before" };
    let so_far = if is_done { "" } else { " so far: the recording is still searched" };
    format!("no call failed {which} this moment{so_far}")
}
