//! From a cgroup's id to its path, and to the container that it shows. The id that programs get
//! (`bpf_get_current_cgroup_id`) is the inode number of its directory in the cgroup2 mount
//! (`kernfs_get_inode`); it is never given twice.

mod walk;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use self::walk::Walk;
use super::Container;
use super::bounds::{Counted, PATH_BYTES, Total};
use super::{container::container, runtimes::Runtimes};
use crate::{
    cache::Cache,
    kernel::{
        cgroup::{Lookup, host_mount, mounted_by},
        mounts,
    },
};

/// How many bytes of cgroups are remembered, by id and by path each. What is forgotten is found
/// again, but for cgroups that are gone.
const REMEMBERED_BYTES: usize = 2 << 20;
/// Finding cgroups may take one part in so many of the time,
const COST: u32 = 50;
/// and so much at once.
const BURST: Duration = Duration::from_millis(20);
/// The cgroups of the unified hierarchy.
#[derive(Debug)]
pub(super) struct Cgroups {
    way: Way,
    /// cgroup v1 hierarchies are mounted: the unified one may be empty, with processes at its root.
    pub(super) has_v1: bool,
    by_id: Cache<u64, Arc<Place>>,
    by_path: Cache<Arc<str>, Arc<Place>>,
    effort: Effort,
    runtimes: Runtimes,
    total: Total,
}

/// How a cgroup is found by its id.
#[derive(Debug)]
enum Way {
    /// Asking the kernel.
    Lookup(Lookup, PathBuf),
    /// Listing all.
    Walk(Box<Walk>),
    /// cgroup2 is not mounted.
    None,
}

/// Where a process is.
#[derive(Debug)]
pub(super) struct Place {
    /// From the root of the hierarchy; without a leading slash the last component alone; empty if there
    /// is no room to keep it.
    pub(super) path: Arc<str>,
    pub(super) container: Option<Arc<Container>>,
    pub(super) is_cut: bool,
    pub(super) weight: Arc<Counted>,
}

impl Place {
    /// Whether it is not just the root.
    pub(super) fn says_something(&self) -> bool {
        self.container.is_some() || !matches!(&*self.path, "" | "/")
    }
}

impl Cgroups {
    /// Finds the mounts in a mountinfo, else among those of process 1. Texts count in `total`.
    pub(super) fn new(mountinfo: &Path, total: Total) -> Self {
        let lines = mounts::lines(mountinfo).into_iter().flatten();
        let (mount, has_v1) = mounted(lines);
        let way = match mount.or_else(host_mount) {
            None => Way::None,
            Some(mount) => match Lookup::open(&mount) {
                Some(lookup) => Way::Lookup(lookup, mount),
                None => Way::Walk(Box::new(Walk::new(mount))),
            },
        };
        let (by_id, by_path) = (Cache::new(REMEMBERED_BYTES), Cache::new(REMEMBERED_BYTES));
        let (effort, runtimes) = (Effort::new(), Runtimes::default());
        Self { way, has_v1, by_id, by_path, effort, runtimes, total }
    }

    /// The cgroup of an id.
    pub(super) fn by_id(&mut self, id: u64) -> Option<Arc<Place>> {
        self.find(id, true)
    }

    /// The same, unless that takes long.
    pub(super) fn by_id_at_once(&mut self, id: u64) -> Option<Arc<Place>> {
        self.find(id, false)
    }

    fn find(&mut self, id: u64, may_walk: bool) -> Option<Arc<Place>> {
        if id == 0 {
            return None;
        }
        if let Some(place) = self.by_id.get(&id) {
            return Some(Arc::clone(place));
        }
        let path = self.search(id, may_walk)?;
        let place = self.at(&path, false);
        let bytes = place.bytes();
        self.by_id.insert(id, Arc::clone(&place), bytes);
        Some(place)
    }

    fn search(&mut self, id: u64, may_walk: bool) -> Option<String> {
        match &mut self.way {
            Way::Lookup(lookup, mount) => {
                let began = self.effort.begin()?;
                let found = lookup.path(id);
                self.effort.end(began);
                match found {
                    Ok(path) => path,
                    Err(error) => {
                        log::debug!("cgroups are listed, since they can't be looked up: {error}");
                        self.way = Way::Walk(Box::new(Walk::new(mount.clone())));
                        None
                    }
                }
            }
            Way::Walk(walk) => {
                if walk.path(id).is_none()
                    && may_walk
                    && let Some(began) = self.effort.begin()
                {
                    walk.go_on();
                    self.effort.end(began);
                }
                walk.path(id).map(str::to_owned)
            }
            Way::None => None,
        }
    }

    /// The cgroup of a path. `is_cut`: the path is not whole.
    pub(super) fn at(&mut self, path: &str, is_cut: bool) -> Arc<Place> {
        if let Some(place) = self.by_path.get(path)
            && place.is_cut == is_cut
        {
            return Arc::clone(place);
        }
        let place = Arc::new(self.place(path, is_cut));
        if !place.is_cut {
            let bytes = place.bytes();
            self.by_path.insert(Arc::clone(&place.path), Arc::clone(&place), bytes);
        }
        place
    }

    /// The whole path if there is room for it, else its last component if there is for that.
    fn place(&mut self, path: &str, is_cut: bool) -> Place {
        let room = self.total.allowance();
        let last = path.rsplit('/').next().unwrap_or_default();
        for text in [path, last] {
            let container = container(text).map(|found| self.runtimes.named(found));
            let bytes = text.len() + container.as_ref().map_or(0, Container::bytes);
            if text.len() <= PATH_BYTES && bytes <= room {
                let is_cut = is_cut || text.len() < path.len();
                let weight = self.total.count(bytes);
                return Place {
                    path: text.into(),
                    container: container.map(Arc::new),
                    is_cut,
                    weight,
                };
            }
        }
        let weight = self.total.count(0);
        Place { path: "".into(), container: None, is_cut: true, weight }
    }
}

impl Place {
    fn bytes(&self) -> usize {
        let container = self.container.as_ref().map_or(0, |container| container.bytes());
        size_of::<Self>() + self.path.len() + container
    }
}

/// How much time may be spent.
#[derive(Debug)]
struct Effort {
    /// How much of it is left.
    left: Duration,
    since: Instant,
}

impl Effort {
    fn new() -> Self {
        Self { left: BURST, since: Instant::now() }
    }

    /// When something begins; `None`: too much was spent.
    fn begin(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let earned = now.saturating_duration_since(self.since) / COST;
        // A time too short to earn anything goes on counting.
        if !earned.is_zero() {
            self.left = (self.left + earned).min(BURST);
            self.since = now;
        }
        (!self.left.is_zero()).then_some(now)
    }

    /// What began then is over. What it took beyond what was left is taken off the time to come.
    fn end(&mut self, began: Instant) {
        let spent = began.elapsed();
        if let Some(beyond) = spent.checked_sub(self.left) {
            self.since += beyond * COST;
        }
        self.left = self.left.saturating_sub(spent);
    }
}

/// The cgroup2 mount, and whether there are cgroup v1 mounts with controllers.
fn mounted(lines: impl Iterator<Item = String>) -> (Option<PathBuf>, bool) {
    let mut unified = None;
    let mut has_v1 = false;
    for line in lines {
        unified = unified.or_else(|| mounted_by(&line));
        has_v1 |= line.split_once(" - ").is_some_and(|(_, rest)| rest.starts_with("cgroup "));
    }
    (unified, has_v1)
}

/// The path that tells most in the text of `/proc/PID/cgroup`, whose lines are
/// `hierarchy:controllers:path`: one that shows a container, else a unit, else the deepest.
pub(super) fn most_telling(text: &str) -> Option<&str> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let unified = fields.next()? == "0";
            let path = fields.nth(1)?;
            let shows = match container(path) {
                Some(found) if found.runtime != "systemd" => 2,
                Some(_) => 1,
                None => 0,
            };
            // The process's cgroup may be gone (cgroups(7)).
            Some((path.strip_suffix(" (deleted)").unwrap_or(path), shows, unified))
        })
        .max_by_key(|(path, shows, unified)| (*shows, *path != "/", *unified, path.len()))
        .map(|(path, ..)| path)
}

#[cfg(test)]
mod tests;
