//! What a file must be before a program that may run as root trusts or writes it: the same user's
//! own, and out of everybody else's hands.

use anyhow::{Result, bail};
use nix::{
    sys::stat::{FileStat, SFlag},
    unistd::geteuid,
};

/// The type of a file: `S_IFREG`, `S_IFDIR` …
pub fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

/// The permission bits of a file, `0o7777` at most.
pub fn mode(status: &FileStat) -> u32 {
    status.st_mode & 0o7777
}

/// Device and inode number: the same for two names or descriptors of one file.
pub fn identity(status: &FileStat) -> (u64, u64) {
    (status.st_dev, status.st_ino)
}

/// Checks that nobody else can have put something into a file or directory.
///
/// # Errors
/// When it belongs to another user, or its group or others may write to it.
pub fn check_own(status: &FileStat) -> Result<()> {
    let own = geteuid();
    if status.st_uid != own.as_raw() {
        bail!("belongs to the user {}, not to {own}", status.st_uid);
    }
    if status.st_mode & 0o022 != 0 {
        bail!("can be written to by others");
    }
    Ok(())
}

/// Checks that a file may be written to: as [`check_own`], a regular file, and without a second name
/// under which somebody else may know it.
///
/// # Errors
/// When it is anything else.
pub fn check_own_file(status: &FileStat) -> Result<()> {
    if kind(status) != SFlag::S_IFREG {
        bail!("is not a regular file");
    }
    check_own(status)?;
    if status.st_nlink > 1 {
        bail!("has {} names (hard links), some of which others may use", status.st_nlink);
    }
    Ok(())
}
