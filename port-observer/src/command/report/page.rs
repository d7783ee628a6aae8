//! The file that a page is written to: there whole, or not at all.

use std::{
    fs::{self, File, Permissions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::{AccessFlags, access};
use tempfile::Builder;

/// Where a page is to be.
pub(super) struct Page {
    path: PathBuf,
    /// It is there already, and is no file: a terminal, a pipe, /dev/null.
    is_special: bool,
}

impl Page {
    /// A page at `path`, of a recording.
    ///
    /// # Errors
    /// When it can't be written there, or would replace the recording.
    pub(super) fn at(path: &Path, recording: &Path) -> Result<Self> {
        let shown = path.display();
        let found = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found.with_context(|| format!("can't look at {shown}"))?),
        };
        if let Some(found) = &found {
            if found.is_dir() {
                bail!("can't write the page to {shown}: it is a directory; name a file in it");
            }
            let of = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
            if fs::metadata(recording).is_ok_and(|recording| of(&recording) == of(found)) {
                bail!("can't write the page to {shown}: it is the recording; name another file");
            }
            if !found.is_file() {
                return Ok(Self { path: path.to_owned(), is_special: true });
            }
        }
        // What a link leads to is replaced, not the link.
        let path = if found.is_some() {
            path.canonicalize().with_context(|| format!("can't follow {shown}"))?
        } else {
            path.to_owned()
        };
        let page = Self { path, is_special: false };
        access(page.directory(), AccessFlags::W_OK | AccessFlags::X_OK)
            .with_context(|| format!("can't write the page to {shown}: its directory"))?;
        Ok(page)
    }

    fn directory(&self) -> &Path {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or_else(|| Path::new("."))
    }

    /// Writes it: under another name first, so that nobody sees a part of it.
    ///
    /// # Errors
    /// When that fails; what was there before is there then.
    pub(super) fn write(
        &self,
        page: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    ) -> Result<()> {
        let failed = || format!("can't write the page to {}", self.path.display());
        if self.is_special {
            let file = File::options().write(true).open(&self.path).with_context(failed)?;
            let mut out = BufWriter::new(file);
            return page(&mut out).and_then(|()| out.flush()).with_context(failed);
        }
        let new = Builder::new()
            .prefix(".port-observer-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(self.directory())
            .with_context(failed)?;
        let mut out = BufWriter::new(new.as_file());
        page(&mut out)
            .and_then(|()| out.flush())
            .and_then(|()| new.as_file().sync_all())
            .with_context(failed)?;
        drop(out);
        new.persist(&self.path).map_err(|error| error.error).with_context(failed)?;
        Ok(())
    }
}
