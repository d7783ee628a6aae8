//! The file that a page is written to: there whole, or not at all.

use std::{
    fs::{self, File, Permissions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::{AccessFlags, access, geteuid};
use tempfile::Builder;

/// Where a page is to be.
pub(super) struct PageFile {
    path: PathBuf,
    /// It is there already, and is no file: a terminal, a pipe, /dev/null.
    is_special: bool,
}

impl PageFile {
    /// A page at `path`. `others`: files that it may not replace, and what they are.
    ///
    /// # Errors
    /// When it can't be written there, or would replace one of these.
    pub(super) fn at(path: &Path, others: &[(&Path, &str)]) -> Result<Self> {
        let shown = path.display();
        // One of them may not be there yet.
        if let Some((_, what)) = others.iter().find(|(other, _)| *other == path) {
            bail!("can't write the page to {shown}: it is {what}; name another file");
        }
        let found = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found.with_context(|| format!("can't look at {shown}"))?),
        };
        let mut replaced = path.to_owned();
        if let Some(mut found) = found {
            if found.is_symlink() {
                // One's own, or one of the system such as /dev/stdout, leads where it should.
                check_owner(&found, path)?;
                found = fs::metadata(path).with_context(|| format!("can't follow {shown}"))?;
                if !is_special(&found) {
                    replaced =
                        path.canonicalize().with_context(|| format!("can't follow {shown}"))?;
                }
            }
            if found.is_dir() {
                bail!("can't write the page to {shown}: it is a directory; name a file in it");
            }
            let of = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
            let is_it =
                |other: &Path| fs::metadata(other).is_ok_and(|other| of(&other) == of(&found));
            if let Some((_, what)) = others.iter().find(|(other, _)| is_it(other)) {
                bail!("can't write the page to {shown}: it is {what}; name another file");
            }
            // Only root makes devices; who has a terminal may have it from another user.
            if !found.file_type().is_char_device() {
                check_owner(&found, path)?;
            }
            if is_special(&found) {
                return Ok(Self { path: path.to_owned(), is_special: true });
            }
        }
        let page = Self { path: replaced, is_special: false };
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
            // As a recording: it shows the command lines of all users.
            .permissions(Permissions::from_mode(0o600))
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

/// Whether it is written to as it is, not replaced: a terminal, a pipe, /dev/null.
fn is_special(found: &fs::Metadata) -> bool {
    let kind = found.file_type();
    kind.is_char_device() || kind.is_fifo() || kind.is_block_device() || kind.is_socket()
}

/// Refuses what another user than root has put there.
fn check_owner(found: &fs::Metadata, path: &Path) -> Result<()> {
    let owner = found.uid();
    if owner != 0 && owner != geteuid().as_raw() {
        bail!(
            "can't write the page to {}: what is there belongs to the user {owner}; remove it, or \
             name another file",
            path.display()
        );
    }
    Ok(())
}
