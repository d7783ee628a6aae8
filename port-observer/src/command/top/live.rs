//! The screen over the kernel.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::{
    super::{live::first_line, pools},
    Top,
    signals::Signals,
};
use crate::{
    config::TopConfig,
    pipeline::{BATCH, Stream},
    sandbox::{Sandbox, Task},
    screen::state::{Action, Activity},
    source::{Observer, Source as _},
};

/// A failure is shown this soon after the last frame.
const URGENT: Duration = Duration::from_millis(250);

/// Shows it until told to stop.
pub(super) async fn show(config: &TopConfig, sandbox: Sandbox) -> Result<()> {
    let mut signals = Signals::catch()?;
    let pools = config.live.pools.as_ref();
    let pools = pools.map(|files| pools::watched(files, &config.live.lines)).transpose()?;
    let mut observer = Observer::start(config.live.observed()).context(
        "top can't observe the kernel so; `port-observer top --backend poll` and `port-observer \
         snapshot` need no privileges",
    )?;
    let backend = observer.backend();
    sandbox.enter(&Task::Follow { backend, recording: None, command: None });
    let lines = &config.live.lines;
    let mut stream = Stream::of_host(lines, &observer, Activity::default())?;
    stream.is_silent();
    if let Some(pools) = pools {
        stream.watch_pools(pools, observer.named());
    }
    stream.start(first_line(&observer)?)?;

    let mut top = Top::open(config)?;
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut action = Action::Ask;
    loop {
        let now_ns = stream.now_ns()?;
        match action {
            Action::Quit => return Ok(()),
            Action::Ask if top.state.is_paused() => top.ask_closely(&mut stream, now_ns),
            Action::Ask => top.ask(&mut stream, now_ns, false),
            // Held still, all views are to be of the same moment.
            Action::Pause => top.ask(&mut stream, now_ns, top.state.is_paused()),
            Action::Redraw => top.screen.forget()?,
            Action::Suspend => top.suspend()?,
            Action::Draw | Action::Step(_) | Action::Jump(_) => {}
        }
        top.draw()?;
        action = loop {
            stream.take_in(&mut observer, BATCH)?;
            stream.flush()?;
            tokio::select! {
                ready = observer.ready() => ready?,
                _ = second.tick() => stream.tick()?,
                () = sleep_until(top.due(stream.sink(), config.every, URGENT)) => break Action::Ask,
                key = top.screen.key() => break top.pressed(key),
                told = signals.next() => break top.told(told)?,
            }
        };
    }
}
