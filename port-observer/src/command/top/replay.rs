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
    failures::{Beside, Moments},
    playback::{Playback, Recording},
    signals::Signals,
};
use crate::{
    config::TopConfig,
    recording::Reader,
    screen::state::{Action, Replay},
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
    let recording = Recording { path, lines: &config.live.lines, span_ns };
    // What was held before is in the first second.
    let mut playback =
        Playback::begin(recording, reader, from_ns.max(span_ns.0.saturating_add(step_ns)))?;
    let failures = Moments::look_for(path.clone(), config.every);

    let mut top = Top::open(config)?;
    // A moment is what is looked for, so it stands still until it is told to go on.
    top.state.set_paused(true);
    let mut action = Action::Ask;
    // Where to jump once that is found.
    let mut awaited = None;
    while action != Action::Quit {
        top.state.notice = None;
        let by = match action {
            Action::Jump(by) => Some(by),
            Action::Draw => awaited.take(),
            _ => None,
        };
        awaited = None;
        if let Some(by) = by {
            top.state.set_paused(true);
            match failures.beside(playback.at_ns(), by > 0) {
                Beside::At(at_ns) => playback.seek(at_ns)?,
                Beside::Searching => {
                    top.state.notice = Some("searching the recording for it".to_owned());
                    awaited = Some(by);
                }
                Beside::None => {
                    let which = if by > 0 { "after" } else { "before" };
                    top.state.notice = Some(format!("no call failed {which} this moment"));
                }
            }
        }
        match action {
            Action::Step(by) => {
                top.state.set_paused(true);
                playback.step(step_ns.saturating_mul(i64::try_from(by).unwrap_or(0)))?;
            }
            Action::Redraw => top.screen.forget()?,
            Action::Suspend => top.suspend()?,
            Action::Ask | Action::Jump(_) | Action::Pause | Action::Draw | Action::Quit => {}
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
                () = failures.news(), if awaited.is_some() => break Action::Draw,
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
