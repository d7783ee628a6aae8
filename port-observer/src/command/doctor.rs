//! `doctor`: what this kernel and these privileges allow.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, bail};

use crate::{
    config::{DoctorConfig, Format},
    doctor::{
        Diagnosis, json,
        text::{self, Layout},
    },
    sandbox::{Sandbox, Task},
};

/// Wider lines are hard to read.
const WIDTH: usize = 80;

/// Tries everything and tells.
///
/// # Errors
/// When no backend works, or the output can't be written.
pub fn run(config: DoctorConfig, sandbox: Sandbox) -> Result<()> {
    sandbox.enter(&Task::Diagnose);
    let diagnosis = Diagnosis::make()?;
    let text = match config.output.format {
        Format::Json => format!("{}\n", json::render(&diagnosis).context("can't write JSON")?),
        Format::Table => {
            let screen = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
            let width = screen.map_or(WIDTH, |width| width.min(WIDTH));
            text::render(&diagnosis, Layout { width, color: config.output.color })
        }
    };
    let mut output = io::stdout().lock();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .context("can't write to standard output")?;
    if diagnosis.chosen().is_none() {
        bail!("no backend works here");
    }
    Ok(())
}
