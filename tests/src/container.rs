//! What a container of Docker looks like from outside: the cgroup of its processes, and what Docker keeps of
//! it. There is no Docker.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use nix::unistd::gettid;

use crate::system::cgroup2;

/// Who makes or removes directories that others may be in.
static DOCKER: Mutex<()> = Mutex::new(());

/// A container without processes. All of it is removed when this is dropped, with the directories above it
/// that were not there.
pub struct Container {
    /// 64 hexadecimal digits, other ones in each run.
    pub id: String,
    /// As Docker would show it.
    pub name: String,
    cgroup: PathBuf,
    configuration: PathBuf,
}

impl Container {
    /// Makes it.
    pub fn make() -> Self {
        let now = Timestamp::now().as_nanosecond();
        let thread = gettid().as_raw();
        let id = format!("{now:032x}{thread:032x}");
        let name = format!("web-{now:x}-{thread:x}");
        let cgroup = cgroup2().expect("the unified hierarchy").join(format!("docker-{id}.scope"));
        fs::create_dir(&cgroup).unwrap_or_else(|e| panic!("make {}: {e}", cgroup.display()));
        let configuration = Path::new("/var/lib/docker/containers").join(&id);
        let container = Self { id, name, cgroup, configuration };
        let _guard = DOCKER.lock().unwrap_or_else(PoisonError::into_inner);
        fs::create_dir_all(&container.configuration).expect("make a container's directory");
        let Self { id, name, configuration, .. } = &container;
        let text = format!("{{\"State\":{{}},\"ID\":\"{id}\",\"Name\":\"/{name}\"}}");
        fs::write(configuration.join("config.v2.json"), text).expect("write its configuration");
        container
    }

    /// The directory of its cgroup.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// The same from the hierarchy's root.
    pub fn cgroup_path(&self) -> String {
        format!("/docker-{}.scope", self.id)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.cgroup) {
            println!("remove {}: {error}", self.cgroup.display());
        }
        let _guard = DOCKER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = fs::remove_dir_all(&self.configuration) {
            println!("remove {}: {error}", self.configuration.display());
        }
        // Where others are, they stay.
        let _ = self.configuration.ancestors().skip(1).take(2).try_for_each(fs::remove_dir);
    }
}
