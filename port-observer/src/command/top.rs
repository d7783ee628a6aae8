//! `top`: the full screen.

mod failures;
mod live;
mod playback;
mod replay;
mod signals;

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, raise};
use tokio::time::Instant;

use self::signals::Told;
use super::{event_loop, netns_inode};
use crate::{
    cli::{Color, TopArgs},
    config::TopConfig,
    pipeline::Stream,
    recording::Reader,
    sandbox::{Sandbox, Task},
    screen::{
        self, Screen,
        state::{Action, Activity, State, View},
    },
};

/// Shows it until told to stop.
///
/// # Errors
/// When there is no terminal, no backend can be used, the recording can't be read, or the screen
/// can't be drawn.
pub fn run(args: TopArgs, color: Color, sandbox: Sandbox) -> Result<()> {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        let instead = match &args.replay {
            None => {
                "`port-observer snapshot` shows once who holds which ports, `port-observer live` prints \
                 what happens, and `port-observer live --summary 10s --events summary` how full \
                 everything is"
            }
            Some(_) => {
                "`port-observer report FILE` tells what happened, and `port-observer replay FILE` \
                 prints it"
            }
        };
        bail!(
            "top needs a terminal for its screen and its keys, on standard input and output; without \
             one, {instead}"
        );
    }
    let runtime = event_loop()?;
    match &args.replay {
        None => {
            let config = TopConfig::resolve(args, color, &netns_inode)?;
            runtime.block_on(live::show(&config, sandbox))
        }
        Some(path) => {
            sandbox.enter(&Task::Replay { recording: path, page: None });
            let reader = Reader::open(path)?;
            let config = TopConfig::resolve(args, color, &|name| reader.netns(name))?;
            runtime.block_on(replay::show(reader, &config))
        }
    }
}

/// The screen, what is on it, and where that comes from.
struct Top {
    screen: Screen,
    state: State,
    /// When the ledger was last asked.
    asked: Instant,
    /// How many calls had failed then.
    failed: u64,
}

impl Top {
    fn open(config: &TopConfig) -> Result<Self> {
        let netns = match config.live.lines.filter.netns[..] {
            [only] => Some(only),
            _ => None,
        };
        let mut state = State::new(config.view, netns);
        if config.live.pools.is_some() {
            state.show_pools();
        }
        let screen = Screen::open(config.look.clone()).context("can't take the terminal")?;
        Ok(Self { screen, state, asked: Instant::now(), failed: 0 })
    }

    /// When the next picture is due, of one every so often: after a failure soon.
    fn due(&self, activity: &Activity, every: Duration, urgent: Duration) -> Instant {
        let has_failed = activity.failures.total() != self.failed;
        self.asked + if has_failed { every.min(urgent) } else { every }
    }

    /// Asks the ledger for what is shown now, or for all views.
    fn ask(&mut self, stream: &mut Stream<Activity>, now_ns: u64, all: bool) {
        let (ledger, activity) = stream.both();
        let question = self.state.question(all);
        let last = std::mem::take(&mut self.state.picture);
        self.state.picture = screen::picture(ledger, activity, now_ns, &question, last);
        self.failed = activity.failures.total();
        if question.views.contains(&View::Pools) {
            self.state.picture.pools = stream.pool_looks(now_ns);
        }
        self.asked = Instant::now();
    }

    /// The same only for what is looked at closely: the rest is held still.
    fn ask_closely(&mut self, stream: &mut Stream<Activity>, now_ns: u64) {
        let (ledger, activity) = stream.both();
        let question = self.state.question(false);
        let picture = &self.state.picture;
        let detail = screen::detail(ledger, activity, now_ns, &question, picture);
        self.state.picture.detail = detail;
        self.failed = activity.failures.total();
        self.asked = Instant::now();
    }

    fn draw(&mut self) -> Result<()> {
        self.screen.draw(&mut self.state).context("can't write to the terminal")
    }

    /// What a key, or the want of one, asks for.
    fn pressed(&mut self, key: io::Result<Option<screen::state::Key>>) -> Action {
        match key {
            Ok(key) => key.map_or(Action::Draw, |key| self.state.key(key)),
            // The terminal is gone.
            Err(_) => Action::Quit,
        }
    }

    fn told(&mut self, told: Told) -> Result<Action> {
        Ok(match told {
            Told::End => Action::Quit,
            Told::Stop => Action::Suspend,
            Told::Continue => {
                self.screen.take_again().context("can't take the terminal again")?;
                Action::Draw
            }
        })
    }

    /// Returns when it goes on; what happens meanwhile is taken in then.
    fn suspend(&mut self) -> Result<()> {
        self.screen.hand_back();
        raise(Signal::SIGSTOP).context("can't stop")?;
        self.screen.take_again().context("can't take the terminal again")
    }
}
