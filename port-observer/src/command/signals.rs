//! Signals that a long-running command must not be ended by in the middle of a write.

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigHandler, Signal, signal};
use tokio::signal::unix::{self, SignalKind};

/// Makes a write beyond `RLIMIT_FSIZE` fail with `EFBIG`, as on a full disk, instead of ending the
/// process with `SIGXFSZ` (setrlimit(2)).
pub fn ignore_file_size() {
    // SAFETY: SIG_IGN runs no code of this process.
    let ignored = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    if let Err(error) = ignored {
        log::warn!("can't ignore SIGXFSZ: {error}; a limit of the file size would end the program");
    }
}

/// `SIGHUP`, unless whoever started this process had it ignored (nohup(1)): then it stays so.
pub(super) struct HangUp(Option<unix::Signal>);

impl HangUp {
    /// Catches it from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn catch() -> Result<Self> {
        if is_ignored(libc::SIGHUP)? {
            return Ok(Self(None));
        }
        let caught = unix::signal(SignalKind::hangup()).context("can't wait for SIGHUP")?;
        Ok(Self(Some(caught)))
    }

    /// Waits for it, for ever if it is ignored.
    pub(super) async fn recv(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}

fn is_ignored(number: i32) -> Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only fills in `action`.
    let result = unsafe { libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) };
    nix::errno::Errno::result(result).context("can't ask how SIGHUP is handled")?;
    // SAFETY: the call succeeded, so it has filled it in.
    Ok(unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN)
}
