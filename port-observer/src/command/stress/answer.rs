//! What is read before a run, and written after it.

use std::{fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    command::{output, page_file::PageFile},
    config::{Format, StressConfig},
    kernel::rights::as_caller,
    stress::{
        compare::Old,
        html,
        json::{self, Told},
        text,
    },
};

/// No answer is longer.
const LONGEST: u64 = 1 << 20;

/// Where the answer goes, beside standard output, and the earlier one that it is compared with.
pub(super) struct Answer {
    page: Option<PageFile>,
    pub(super) old: Option<Old>,
}

impl Answer {
    /// Before what takes time.
    ///
    /// # Errors
    /// When the page can't be written, or the earlier answer can't be read.
    pub(super) fn prepare(config: &StressConfig) -> Result<Self> {
        let recording = config.record.as_deref().map(|path| (path, "the recording"));
        let earlier = config.compare.as_deref().map(|path| (path, "the answer of an earlier run"));
        let others: Vec<(&Path, &str)> = recording.into_iter().chain(earlier).collect();
        let page = config.html.as_deref();
        let page = page.map(|path| as_caller(|| PageFile::at(path, &others))).transpose()?;
        Ok(Self { page, old: config.compare.as_deref().map(read).transpose()? })
    }

    /// Writes it.
    ///
    /// # Errors
    /// When that fails.
    pub(super) fn write(&self, told: &Told<'_>, format: Format) -> Result<()> {
        output::answer(&match format {
            Format::Json => json::render(told).context("can't write JSON")?,
            Format::Table => text::render(told),
        })?;
        match &self.page {
            Some(page) => as_caller(|| page.write(|out| html::write(out, told))),
            None => Ok(()),
        }
    }
}

/// The answer of an earlier run.
fn read(path: &Path) -> Result<Old> {
    let cant = || format!("can't read {}", path.display());
    let file = as_caller(|| File::open(path)).with_context(cant)?;
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).with_context(cant)?;
    Old::read(&text).with_context(|| format!("{} is no answer of `stress --json`", path.display()))
}
