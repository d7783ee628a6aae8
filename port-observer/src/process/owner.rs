//! Whose a network namespace is: what the cgroups of the processes in it show.

use super::{Container, ProcFs, container::container, runtimes::Runtimes};

/// The unit of systemd.
const UNIT: &str = "systemd";

/// Finds whose namespaces are. What runtimes call their containers is kept for the next one.
#[derive(Debug, Default)]
pub struct OwnerSearch {
    proc_fs: ProcFs,
    runtimes: Runtimes,
}

impl OwnerSearch {
    /// The container that these processes are in, else the systemd unit, if all that are in one are in the
    /// same: a process of another may have entered.
    pub fn owner(&mut self, pids: impl Iterator<Item = u32>) -> Option<Container> {
        let places = pids.filter_map(|pid| self.proc_fs.cgroup(pid));
        let found = owner(places.filter_map(|path| container(&path)))?;
        Some(self.runtimes.named(found))
    }
}

fn owner(places: impl Iterator<Item = Container>) -> Option<Container> {
    let (mut units, containers): (Vec<_>, Vec<_>) = places.partition(|place| place.runtime == UNIT);
    // Those of a pod, or `--network container:`: the first is the one that the others joined.
    if let Some(first) = containers.into_iter().next() {
        return Some(first);
    }
    let first = units.pop()?;
    units.iter().all(|unit| unit.id == first.id).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tests::TempDir;

    const DOCKER: &str = "/system.slice/docker-3f4b8c1d2e5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0.scope";

    fn of(paths: &[&str]) -> Option<String> {
        let found = owner(paths.iter().filter_map(|path| container(path)))?;
        Some(found.full_name().to_owned())
    }

    #[test]
    fn a_namespace_is_its_containers_whoever_else_has_entered() {
        let id = "3f4b8c1d2e5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
        assert_eq!(of(&[DOCKER]).as_deref(), Some(id));
        assert_eq!(of(&["/system.slice/sshd.service", DOCKER]).as_deref(), Some(id));
        assert_eq!(of(&["/lxc.payload.web", DOCKER]).as_deref(), Some("web"));
    }

    #[test]
    fn the_processes_are_looked_up_in_proc() {
        let root = TempDir::new();
        for (pid, text) in [("7", "0::/\n"), ("9", "4:cpu:/x\n0::/system.slice/web.service\n")] {
            std::fs::create_dir(root.path().join(pid)).unwrap();
            std::fs::write(root.path().join(pid).join("cgroup"), text).unwrap();
        }
        let proc_fs = ProcFs::at(root.path());
        let mut search = OwnerSearch { proc_fs, ..OwnerSearch::default() };
        let owner = search.owner([7, 8, 9].into_iter()).unwrap();
        assert_eq!((owner.id.as_str(), owner.runtime), ("web.service", "systemd"));
        assert_eq!(search.owner([7, 8].into_iter()), None);
    }

    #[test]
    fn a_namespace_is_a_units_if_no_other_unit_is_in_it() {
        let web = "/system.slice/web.service";
        assert_eq!(of(&[web, web, "/"]).as_deref(), Some("web.service"));
        assert_eq!(of(&[web, "/system.slice/db.service"]), None);
    }

    #[test]
    fn a_namespace_of_a_login_is_nobodys() {
        assert_eq!(of(&["/user.slice/user-0.slice/session-1.scope", "/", ""]), None);
        assert_eq!(of(&[]), None);
    }
}
