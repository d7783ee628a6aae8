//! `record`: as `live`, into a file.

use anyhow::Result;

use super::live;
use crate::{config::RecordConfig, sandbox::Sandbox};

/// Runs until told to stop.
///
/// # Errors
/// When no backend can be used, or the recording can't be written.
pub fn run(config: RecordConfig, sandbox: Sandbox) -> Result<()> {
    live::observe(config.live, Some(config.recording), sandbox)
}
