//! The way over the tree of cgroups, where they can't be looked up by their ids.

use std::{
    fs::{self, ReadDir},
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::cache::Cache;

/// How long it walks at a time.
const SLICE: Duration = Duration::from_millis(2);
/// After how many directories the time is looked at.
const AT_ONCE: usize = 32;
/// How often a walk begins anew.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// How deep it goes: each level is an open file.
const DEPTH: usize = 32;
/// How many bytes of paths are remembered, of those that are gone too, for processes that are gone
/// too. 30,000 cgroups of containers take 6 MiB.
const PATHS_BYTES: usize = 8 << 20;

/// A walk that goes on where it stopped.
#[derive(Debug)]
pub(super) struct Walk {
    mount: PathBuf,
    paths: Cache<u64, Box<str>>,
    /// The directories that are being read, from the root on, each with the length of its path.
    open: Vec<(ReadDir, usize)>,
    /// The path of the innermost.
    path: String,
    pub(super) next: Instant,
}

impl Walk {
    pub(super) fn new(mount: PathBuf) -> Self {
        let (paths, open) = (Cache::new(PATHS_BYTES), Vec::new());
        Self { mount, paths, open, path: String::new(), next: Instant::now() }
    }

    /// The path of a cgroup, if it was met so far.
    pub(super) fn path(&mut self, id: u64) -> Option<&str> {
        self.paths.get(&id).map(|path| &**path)
    }

    /// Goes on for a slice of time, if there is any way left.
    pub(super) fn go_on(&mut self) {
        let began = Instant::now();
        if self.open.is_empty() {
            if self.next > began {
                return;
            }
            self.begin();
        }
        while !self.open.is_empty() {
            for _ in 0..AT_ONCE {
                self.step();
            }
            if began.elapsed() >= SLICE {
                return;
            }
        }
        self.next = Instant::now() + EVERY;
    }

    fn begin(&mut self) {
        self.path.clear();
        if let Ok(root) = fs::metadata(&self.mount) {
            self.remember(root.ino(), "/");
        }
        self.open.extend(fs::read_dir(&self.mount).ok().map(|entries| (entries, 0)));
    }

    fn step(&mut self) {
        let Some((entries, length)) = self.open.last_mut() else { return };
        self.path.truncate(*length);
        let Some(entry) = entries.next() else {
            self.open.pop();
            return;
        };
        let Ok(entry) = entry else { return };
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            return;
        }
        self.path.push('/');
        self.path.push_str(&entry.file_name().to_string_lossy());
        let path = self.path.clone();
        self.remember(entry.ino(), &path);
        if self.open.len() < DEPTH
            && let Ok(entries) = fs::read_dir(entry.path())
        {
            self.open.push((entries, self.path.len()));
        }
    }

    fn remember(&mut self, id: u64, path: &str) {
        if self.paths.get(&id).is_none() {
            self.paths.insert(id, path.into(), path.len());
        }
    }
}
