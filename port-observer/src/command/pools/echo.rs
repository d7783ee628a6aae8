//! The peer of `pools verify`, on its own.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result, anyhow};

use super::output;
use crate::{
    command::{end_signals::EndSignals, event_loop},
    config::{Format, PoolsEchoConfig},
    notice,
    sandbox::{Sandbox, Task},
    trial::{
        echo::{Served, Server},
        json, text,
    },
};

/// Listens and answers until told to end, and says what it did.
///
/// # Errors
/// When it can't listen, or the answer can't be written.
pub fn echo(config: &PoolsEchoConfig, sandbox: Sandbox) -> Result<()> {
    let server = Server::listen(config.listen)?;
    let at = server.address().context("can't tell where it listens")?;
    sandbox.enter(&Task::Trial);
    let runtime = event_loop()?;
    let mut signals = runtime.block_on(async { EndSignals::catch() })?;
    notice::say(format_args!("listening on {at} (RTP) and the next port (RTCP)"));
    let stop = AtomicBool::new(false);
    let (over, mut is_over) = tokio::sync::oneshot::channel::<()>();
    let served: Served = thread::scope(|scope| {
        let (server, stop, duration) = (&server, &stop, config.duration);
        let answering = thread::Builder::new().name("echo".to_owned());
        let answering = answering
            .spawn_scoped(scope, move || {
                let _over = over;
                server.run(stop, duration)
            })
            .context("can't start a thread")?;
        runtime.block_on(async {
            tokio::select! {
                () = signals.next() => stop.store(true, Ordering::Relaxed),
                _ = &mut is_over => {}
            }
        });
        answering.join().map_err(|_| anyhow!("the thread that answers died"))?
    })?;
    output::answer(&match config.format {
        Format::Json => json::render_served(at, &served).context("can't write JSON")?,
        Format::Table => text::render_served(at, &served),
    })
}
