//! A recording's file on disk: opened so that nobody else can have put something in its place, read
//! it or write to it, and looked at again while it is written.
//!
//! The directory may be anybody's, but neither it nor one above it may let everybody replace what is
//! in it (others may write, no sticky bit). Whoever owns the directory, or is in the group that may
//! write to it, can still remove the file or move it: that is noticed.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, OFlag, open},
    sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, fstat, lstat, stat},
    unistd::{Gid, fchownat, unlink},
};

use super::{recorder::Options, say::say};
use crate::own_file::{check_own_file, identity, kind, mode};

/// What SQLite keeps beside a database: its log, the log's index, and the journal of a database that
/// is not in WAL mode.
pub(super) const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];
/// How often it is tried to open a file that others replace meanwhile.
const ATTEMPTS: u32 = 5;
/// Only the user.
const PRIVATE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// A file that this process alone writes to.
pub(super) struct Claim {
    /// As it was named, absolute.
    path: PathBuf,
    /// The same, its directory without symbolic links: SQLite is to follow none.
    real: PathBuf,
    /// It was made, and holds nothing yet.
    is_new: bool,
    /// Nobody else writes while this is held. The lock is not one of those that SQLite takes, and the
    /// file is to be closed after SQLite's: closing it lets go of those
    /// (<https://sqlite.org/howtocorrupt.html>).
    file: Flock<File>,
}

/// Where a file is that was opened by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// Where it was.
    Here,
    /// It has another name now, if that is known.
    Moved(Option<PathBuf>),
    /// It has no name anymore.
    Removed,
}

impl Claim {
    /// Opens or makes the file. Readable for others, it is made readable for this user only.
    ///
    /// # Errors
    /// When it can't be written to, another program records into it, or others could have put it
    /// there.
    pub(super) fn take(options: &Options) -> Result<Self> {
        let shown = options.path.display();
        if options.path.is_dir() {
            bail!("can't record into {shown}: it is a directory; name a file in it");
        }
        Self::open(options).with_context(|| format!("can't record into {shown}"))
    }

    fn open(options: &Options) -> Result<Self> {
        let path = std::path::absolute(&options.path)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            bail!("it names no file");
        };
        let directory = parent
            .canonicalize()
            .with_context(|| format!("can't open its directory {}", parent.display()))?;
        check_directories(&directory)?;
        let real = directory.join(name);
        for _ in 0..ATTEMPTS {
            let Some((file, is_new)) = open_or_make(&real)? else { continue };
            let status = fstat(&file)?;
            check_own_file(&status).with_context(refused)?;
            let file =
                Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
                    anyhow!(errno).context(
                        "another port-observer does; record into another file, or end that one",
                    )
                })?;
            // Moved away between opening and locking it.
            if lstat(&real).is_ok_and(|found| identity(&found) == identity(&status)) {
                let claim = Self { path, real, is_new, file };
                let checked = claim.check_beside(&status);
                if let Err(error) = checked.and_then(|()| claim.tighten(&status, options.group)) {
                    claim.abandon(&[""]);
                    return Err(error);
                }
                return Ok(claim);
            }
        }
        bail!("somebody replaces it again and again")
    }

    /// The path without symbolic links.
    pub(super) fn real(&self) -> &Path {
        &self.real
    }

    /// What SQLite keeps beside the file must be this user's own as well: it would be read as part of
    /// the recording. And it must be this file's.
    fn check_beside(&self, status: &FileStat) -> Result<()> {
        for suffix in BESIDE {
            let path = beside(&self.real, suffix);
            let found = match lstat(&path) {
                Err(Errno::ENOENT) => continue,
                found => found.with_context(|| format!("can't look at {}", path.display()))?,
            };
            check_own_file(&found).with_context(|| format!("{}", path.display()))?;
            if suffix == "-shm" {
                continue;
            }
            // SQLite keeps no locks on these: opening and closing them lets go of none.
            drop(lock_log(&path)?);
            if status.st_size == 0 && found.st_size > 0 {
                bail!(
                    "{} is the log of a recording that was moved or removed; move it to the recording \
                     it belongs to, with the name of that and {suffix} at its end, or remove it",
                    path.display()
                );
            }
        }
        Ok(())
    }

    /// Makes the file and what is beside it readable for this user only, until [`Claim::share`].
    fn tighten(&self, status: &FileStat, group: Option<Gid>) -> Result<()> {
        let may_read = if group.is_some() { 0o640 } else { 0o600 };
        if mode(status) & !may_read != 0 {
            say(
                &self.path,
                &format!("was open to other users (mode {:04o}); now it is not", mode(status)),
            );
        }
        fchmod(&*self.file, PRIVATE).context("can't make it readable for this user only")?;
        for suffix in BESIDE {
            let path = beside(&self.real, suffix);
            if lstat(&path).is_ok_and(|found| mode(&found) != PRIVATE.bits()) {
                set_mode(&path, PRIVATE)?;
            }
        }
        Ok(())
    }

    /// Lets a group read the file and what SQLite has beside it now.
    ///
    /// # Errors
    /// When the kernel refuses: only root may give a file to a group that it is not a member of.
    pub(super) fn share(&self, group: Gid) -> Result<()> {
        for suffix in [""].into_iter().chain(BESIDE) {
            let path = beside(&self.real, suffix);
            if lstat(&path) == Err(Errno::ENOENT) {
                continue;
            }
            fchownat(AT_FDCWD, &path, None, Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)
                .with_context(|| {
                    format!(
                        "can't give {} to the group {group}; only a member of it or root can",
                        path.display()
                    )
                })?;
            set_mode(&path, PRIVATE | Mode::S_IRGRP)?;
        }
        Ok(())
    }

    /// Checks that SQLite has opened this file and no other one that was there for a moment.
    ///
    /// # Errors
    /// When it has not, or what it has made beside it is not this user's own.
    pub(super) fn check_opened(&self) -> Result<()> {
        let own = fstat(&*self.file)?;
        // This one and SQLite's.
        if count_open(identity(&own)).is_some_and(|count| count < 2) {
            bail!("somebody replaced it while it was opened");
        }
        for suffix in BESIDE {
            let path = beside(&self.real, suffix);
            match lstat(&path) {
                Err(Errno::ENOENT) => {}
                found => check_own_file(&found?).with_context(|| format!("{}", path.display()))?,
            }
        }
        Ok(())
    }

    /// Looks whether the file is still where it was.
    pub(super) fn whereabouts(&self) -> Result<Whereabouts> {
        let own = fstat(&*self.file)?;
        match lstat(&self.path) {
            Ok(found) if identity(&found) == identity(&own) => return Ok(Whereabouts::Here),
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            // Not known: a network file system that does not answer, a directory out of reach.
            Err(error) => return Err(error.into()),
        }
        if own.st_nlink == 0 {
            return Ok(Whereabouts::Removed);
        }
        let link = std::os::fd::AsRawFd::as_raw_fd(&*self.file);
        let moved = std::fs::read_link(format!("/proc/self/fd/{link}")).ok();
        Ok(Whereabouts::Moved(moved.filter(|moved| *moved != self.real)))
    }

    /// Removes what was made, if nothing came of it: the file with these suffixes.
    pub(super) fn abandon(&self, suffixes: &[&str]) {
        let own = fstat(&*self.file).map(|status| identity(&status));
        if self.is_new && lstat(&self.real).map(|found| identity(&found)) == own {
            for suffix in suffixes {
                let _ = unlink(&beside(&self.real, suffix));
            }
        }
    }
}

/// Why a file that is there is not written to.
fn refused() -> &'static str {
    "it is not safe to write to; remove it, or record into another file"
}

/// `path` with `suffix` at its end.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(OsStr::new(suffix));
    name.into()
}

/// Opens the log beside a recording, and locks it: a recorder whose file was moved away still writes
/// to it.
///
/// # Errors
/// When that is so, or it can't be opened.
pub(super) fn lock_log(path: &Path) -> Result<Flock<File>> {
    let file = open_log(path).with_context(|| format!("can't open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        anyhow!(errno).context(format!(
            "another port-observer still writes {}; try again in a second, or record into another file",
            path.display()
        ))
    })
}

/// Opens a log that is not a symbolic link.
pub(super) fn open_log(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    Ok(open(path, flags, Mode::empty())?.into())
}

/// Opens a file, or makes it. `None`: it came or went in between.
fn open_or_make(path: &Path) -> Result<Option<(File, bool)>> {
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let (flags, is_new) = match lstat(path) {
        Err(Errno::ENOENT) => (flags | OFlag::O_CREAT | OFlag::O_EXCL, true),
        found => {
            let found = found.context("can't look at it")?;
            // Before it is opened: opening a device may do something.
            if kind(&found) == SFlag::S_IFLNK {
                bail!("it is a symbolic link; name the file that it leads to");
            }
            check_own_file(&found).with_context(refused)?;
            (flags, false)
        }
    };
    match open(path, flags, PRIVATE) {
        Ok(file) => Ok(Some((file.into(), is_new))),
        Err(Errno::EEXIST) if is_new => Ok(None),
        Err(Errno::ENOENT) if !is_new => Ok(None),
        Err(error) => Err(error).context("can't open it for writing"),
    }
}

/// Nobody but their owners and groups may replace what is in these.
fn check_directories(directory: &Path) -> Result<()> {
    for directory in directory.ancestors() {
        let shown = directory.display();
        let found = stat(directory).with_context(|| format!("can't look at {shown}"))?;
        if mode(&found) & 0o1002 == 0o002 {
            bail!(
                "everybody can replace files in {shown}; record into another directory, or \
                 `chmod +t {shown}`"
            );
        }
    }
    Ok(())
}

fn set_mode(path: &Path, mode: Mode) -> Result<()> {
    fchmodat(AT_FDCWD, path, mode, FchmodatFlags::NoFollowSymlink)
        .with_context(|| format!("can't set who may read {}", path.display()))
}

/// How many open descriptors of this process are of this file; `None`: that is not known.
fn count_open(file: (u64, u64)) -> Option<usize> {
    let descriptors = std::fs::read_dir("/proc/self/fd").ok()?;
    let found = descriptors.flatten().filter_map(|descriptor| stat(&descriptor.path()).ok());
    Some(found.filter(|status| identity(status) == file).count())
}
