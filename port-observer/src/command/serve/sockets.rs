//! What a service is told and given from outside: signals, sockets.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    cli::ServeArgs,
    config::ServeConfig,
    serve::{
        guard::Tokens,
        listen::{self, Bound},
    },
};

/// Where it is asked for, or on what systemd passed, or at the usual place.
///
/// # Errors
/// As for [`listen::bind`].
pub(super) fn bind(config: &ServeConfig, tokens: Option<&Arc<Tokens>>) -> Result<Vec<Bound>> {
    let fds =
        sd_notify::listen_fds().context("can't take the sockets that were passed (LISTEN_FDS)")?;
    let mut bound = listen::passed(fds, &config.hosts, tokens)?;
    let mut places = config.places.clone();
    if places.is_empty() && bound.is_empty() {
        places.push(ServeArgs::default_place());
    }
    bound.extend(listen::bind(&places, &config.hosts, tokens)?);
    Ok(bound)
}

/// SIGINT and SIGTERM end a service, SIGHUP has it read its files again.
pub(super) struct Told {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Told {
    /// From now on they do that.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn catch() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("can't wait for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("can't wait for SIGTERM")?,
            hang_up: signal(SignalKind::hangup()).context("can't wait for SIGHUP")?,
        })
    }

    /// Whether the next is to end it.
    pub(super) async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => true,
            _ = self.terminate.recv() => true,
            _ = self.hang_up.recv() => false,
        }
    }
}
