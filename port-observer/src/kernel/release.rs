//! The version of the running kernel, for what no try tells.

use std::ffi::OsStr;

use anyhow::Context as _;
use nix::sys::utsname::uname;

/// The host's name, and the release of its kernel (`uname -r`).
///
/// # Errors
/// When the kernel does not tell.
pub fn host() -> anyhow::Result<(String, String)> {
    let name = uname().context("can't read the host's name")?;
    let text = |text: &OsStr| text.to_string_lossy().into_owned();
    Ok((text(name.nodename()), text(name.release())))
}

/// Whether the kernel is older than this version; `None`: its release is of another form.
pub fn is_before(major: u32, minor: u32) -> Option<bool> {
    let name = uname().ok()?;
    Some(version(name.release().to_str()?)? < (major, minor))
}

/// `6.1.0-13-amd64`: (6, 1).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|other: char| !other.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_its_version() {
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("5.10.0-40-cloud-amd64"), Some((5, 10)));
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("7.2-rc1"), Some((7, 2)));
        assert_eq!((version("six"), version(""), version("x.y")), (None, None, None));
    }
}
