//! What runtimes call their containers. A cgroup shows an id; the name is in files that the runtimes keep for
//! themselves, which root can read. They are asked for nothing: whether they run does not matter.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{BufReader, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::Deserialize;

use super::Container;

/// What is read of a file.
const MOST_BYTES: u64 = 16 << 20;
/// A name that is longer is none.
const MOST_NAME_BYTES: usize = 255;
/// How Podman's storage may keep layers: each driver has a list of its own.
const DRIVERS: [&str; 4] = ["overlay", "vfs", "btrfs", "zfs"];

/// Names of containers.
#[derive(Debug)]
pub(super) struct Runtimes {
    root: PathBuf,
    /// Where Docker keeps its containers, once that was asked for.
    docker: Option<PathBuf>,
    /// The lists of Podman's storage, as they were when they were read.
    podman: HashMap<&'static str, List>,
}

/// A list of containers.
#[derive(Debug)]
struct List {
    changed: Option<SystemTime>,
    bytes: u64,
    names: HashMap<String, String>,
}

impl Default for Runtimes {
    fn default() -> Self {
        Self::at(Path::new("/"))
    }
}

impl Runtimes {
    /// Those of the host whose files are below this directory.
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), docker: None, podman: HashMap::new() }
    }

    /// The container with its name, where its runtime keeps one that may be read.
    pub(super) fn named(&mut self, mut container: Container) -> Container {
        // It becomes a part of a path.
        let is_id = container.id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if container.name.is_none() && is_id {
            let name = match container.runtime {
                "docker" => self.of_docker(&container.id),
                "podman" => self.of_podman(&container.id),
                _ => None,
            };
            container.name = name.filter(|name| (1..=MOST_NAME_BYTES).contains(&name.len()));
        }
        container
    }

    /// `containers/ID/config.v2.json` (moby, `daemon/container/container.go`).
    fn of_docker(&mut self, id: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Config {
            #[serde(rename = "Name")]
            name: String,
        }
        let root = &self.root;
        let directory = self.docker.get_or_insert_with(|| data_root(root).join("containers"));
        let config: Config = read(&directory.join(id).join("config.v2.json"))?;
        // It begins with a slash.
        Some(config.name.trim_start_matches('/').to_owned())
    }

    /// `DRIVER-containers/containers.json` (containers/storage, `containers.go`).
    fn of_podman(&mut self, id: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Entry {
            id: String,
            #[serde(default)]
            names: Vec<String>,
        }
        let storage = self.root.join("var/lib/containers/storage");
        for driver in DRIVERS {
            let path = storage.join(format!("{driver}-containers/containers.json"));
            let Ok(status) = fs::metadata(&path) else { continue };
            let (changed, bytes) = (status.modified().ok(), status.len());
            let known = self.podman.get(driver);
            if known.is_none_or(|known| (known.changed, known.bytes) != (changed, bytes)) {
                let entries: Vec<Entry> = read(&path).unwrap_or_default();
                let named = entries
                    .into_iter()
                    .filter_map(|one| Some((one.id, one.names.into_iter().next()?)));
                self.podman.insert(driver, List { changed, bytes, names: named.collect() });
            }
            if let Some(name) = self.podman.get(driver).and_then(|list| list.names.get(id)) {
                return Some(name.clone());
            }
        }
        None
    }
}

/// Where Docker keeps everything: `data-root` of its configuration, else `/var/lib/docker`.
fn data_root(root: &Path) -> PathBuf {
    #[derive(Deserialize)]
    struct Daemon {
        #[serde(rename = "data-root")]
        data_root: Option<PathBuf>,
    }
    let daemon: Option<Daemon> = read(&root.join("etc/docker/daemon.json"));
    let set = daemon.and_then(|daemon| daemon.data_root);
    let set = set.unwrap_or_else(|| PathBuf::from("/var/lib/docker"));
    root.join(set.strip_prefix("/").unwrap_or(&set))
}

/// What a file of JSON says; `None`: it is not there, may not be read, or says something else.
fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    // Whatever else may be there, nothing is waited for.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    serde_json::from_reader(BufReader::new(file.take(MOST_BYTES))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tests::TempDir;

    const ID: &str = "3f4b8c1d2e5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

    fn container(id: &str, runtime: &'static str) -> Container {
        Container { id: id.to_owned(), name: None, runtime }
    }

    fn write(root: &TempDir, path: &str, text: &str) {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn name(root: &TempDir, id: &str, runtime: &'static str) -> Option<String> {
        Runtimes::at(root.path()).named(container(id, runtime)).name
    }

    #[test]
    fn docker_calls_a_container_by_the_name_in_its_configuration() {
        let root = TempDir::new();
        assert_eq!(name(&root, ID, "docker"), None);
        let file = format!("var/lib/docker/containers/{ID}/config.v2.json");
        write(&root, &file, r#"{"State":{"Pid":7},"ID":"x","Name":"/gluetun","Path":"/entry"}"#);
        assert_eq!(name(&root, ID, "docker").as_deref(), Some("gluetun"));
        assert_eq!(name(&root, ID, "containerd"), None);
        // Elsewhere, where its daemon was told so.
        write(&root, "etc/docker/daemon.json", r#"{"debug":true,"data-root":"/srv/docker"}"#);
        assert_eq!(name(&root, ID, "docker"), None);
        write(&root, &file.replace("var/lib", "srv"), r#"{"Name":"/web"}"#);
        assert_eq!(name(&root, ID, "docker").as_deref(), Some("web"));
    }

    #[test]
    fn podman_calls_a_container_by_the_first_name_in_its_list_as_it_is_now() {
        let root = TempDir::new();
        let mut runtimes = Runtimes::at(root.path());
        let list = "var/lib/containers/storage/overlay-containers/containers.json";
        let mut now = |text: &str| {
            write(&root, list, text);
            runtimes.named(container(ID, "podman")).name
        };
        assert_eq!(now("[]"), None);
        let web = format!(r#"[{{"id":"{ID}","names":["web","w"],"layer":"y"}},{{"id":"1"}}]"#);
        assert_eq!(now(&web).as_deref(), Some("web"));
        assert_eq!(now(&web.replace("\"web\"", "\"renamed\"")).as_deref(), Some("renamed"));
        assert_eq!(now("no JSON"), None);
    }

    #[test]
    fn what_is_no_name_is_none() {
        let root = TempDir::new();
        let file = format!("var/lib/docker/containers/{ID}/config.v2.json");
        for text in ["", "{}", "[1]", r#"{"Name":7}"#, r#"{"Name":"/"}"#, r#"{"Name":"#] {
            write(&root, &file, text);
            assert_eq!(name(&root, ID, "docker"), None, "{text}");
        }
        write(&root, &file, &format!(r#"{{"Name":"/{}"}}"#, "a".repeat(256)));
        assert_eq!(name(&root, ID, "docker"), None);
        // Nothing but an id is looked for, and no link is followed.
        write(&root, "var/lib/docker/containers/up/config.v2.json", r#"{"Name":"/up"}"#);
        assert_eq!(name(&root, "up", "docker"), None);
        assert_eq!(name(&root, "../containers/up", "docker"), None);
        fs::remove_file(root.path().join(&file)).unwrap();
        let elsewhere = root.path().join("elsewhere");
        fs::write(&elsewhere, r#"{"Name":"/elsewhere"}"#).unwrap();
        std::os::unix::fs::symlink(&elsewhere, root.path().join(&file)).unwrap();
        assert_eq!(name(&root, ID, "docker"), None);
        // Who has a name already keeps it.
        let named = Container { name: Some("lxc".to_owned()), ..container(ID, "docker") };
        assert_eq!(Runtimes::at(root.path()).named(named).name.as_deref(), Some("lxc"));
    }
}
