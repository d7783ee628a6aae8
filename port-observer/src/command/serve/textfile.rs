//! Metrics in a file, for node_exporter's textfile collector.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    kernel::rights::as_caller,
    metrics::{Family, text},
};

/// How many seconds lie between two.
const EVERY: u32 = 15;

/// The file, replaced as a whole each time: who reads it never sees half of it.
pub(super) struct Textfile {
    path: PathBuf,
    ticks: u32,
    has_failed: bool,
}

impl Textfile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, ticks: 0, has_failed: false }
    }

    /// Called once a second.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.ticks.is_multiple_of(EVERY);
        self.ticks += 1;
        is_due
    }

    /// Writes it. A failure is logged once until it works again: what is observed goes on.
    pub(super) fn write(&mut self, families: &[Family]) {
        // node_exporter has `process_` metrics of its own, and fails where there are two.
        let own = families.iter().filter(|family| family.name.starts_with("port_observer_"));
        let text = text::write(own, text::Format::Plain);
        let written = as_caller(|| replace(&self.path, &text));
        match written {
            Ok(()) => self.has_failed = false,
            Err(error) if self.has_failed => log::debug!("{error:#}"),
            Err(error) => {
                self.has_failed = true;
                log::error!("{error:#}; it is tried again every {EVERY} s");
            }
        }
    }
}

fn replace(path: &Path, text: &str) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let write = || -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text.as_bytes())?;
        // node_exporter is another user.
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("can't write the metrics into {}", path.display()))
}
