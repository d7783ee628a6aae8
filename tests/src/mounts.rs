//! File systems that only the calling thread sees, and what it starts.

use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Leaves the mounts of the machine: what the calling thread mounts from here on goes with it.
pub fn leave() {
    unshare(CloneFlags::CLONE_NEWNS).expect("make a mount namespace (needs root)");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("keep mounts here");
}

/// A file system of this size at a directory, such as `64k`.
pub fn small_disk(directory: &Path, size: &str) {
    let options = format!("size={size},mode=700");
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
        .expect("mount a tmpfs");
}

/// Shows a file in the place of another.
pub fn show(file: &Path, at: &Path) {
    let none: Option<&str> = None;
    mount(Some(file), at, none, MsFlags::MS_BIND, none)
        .unwrap_or_else(|error| panic!("show {} at {}: {error}", file.display(), at.display()));
}
