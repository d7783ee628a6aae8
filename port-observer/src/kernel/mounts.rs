//! The mounts of a mount namespace (`/proc/PID/mountinfo`, proc(5)).

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// The longest line that is read: two paths of `PATH_MAX` bytes, every byte of them escaped.
const LINE_BYTES: u64 = 64 << 10;

/// The lines of a mountinfo, one at a time: there may be very many. A longer one than is possible is
/// left out.
///
/// # Errors
/// When it can't be opened.
pub fn lines(path: &Path) -> io::Result<impl Iterator<Item = String>> {
    let mut reader = BufReader::new(File::open(path)?);
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line).ok()?;
            if length == 0 {
                return None;
            }
            if line.last() == Some(&b'\n') {
                line.pop();
                break;
            }
            if reader.skip_until(b'\n').ok()? == 0 {
                break;
            }
        }
        Some(String::from_utf8_lossy(&line).into_owned())
    }))
}

/// Mounts a filesystem of the kernel's in a mount namespace of this thread's own, so that nothing on the
/// host changes and nothing is left behind.
///
/// # Errors
/// Without `CAP_SYS_ADMIN`, or where the kernel has no such filesystem or directory.
pub fn mount_privately(filesystem: &str, place: &str) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)
        .with_context(|| format!("can't mount {filesystem} for this program alone"))?;
    let nothing: Option<&str> = None;
    // What the host mounts from now on is still seen, as for named network namespaces.
    mount(nothing, "/", nothing, MsFlags::MS_SLAVE | MsFlags::MS_REC, nothing)
        .context("can't separate this thread's mounts from the host's")?;
    mount(Some(filesystem), place, Some(filesystem), MsFlags::empty(), nothing)
        .with_context(|| format!("can't mount {filesystem} on {place}"))
}

/// Undoes mountinfo's octal escapes of space, tab, newline and backslash.
pub fn unescape(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (code, plain)| path.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_are_read_one_by_one_and_one_that_is_too_long_is_left_out() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let long = "x".repeat(3 * LINE_BYTES as usize);
        write!(file, "first\n{long}\nsecond\n\nlast").unwrap();
        let found: Vec<String> = lines(file.path()).unwrap().collect();
        assert_eq!(found, ["first", "second", "", "last"]);
        assert!(lines(Path::new("/nowhere")).is_err());
    }
}
