//! What namespaces are called: as they were named (`ip netns`), or as whose they are: the container or
//! the systemd unit (PrivateNetwork=) of the processes in it.

use crate::{
    kernel::netns::{self, Namespace},
    process::{Container, OwnerSearch},
};

/// The beginning of a container's id that is enough.
const SHORT: usize = 12;

/// The container or unit of the processes in a namespace that was given no name. That of process 1 and
/// that of this process are nobody's own.
pub(super) fn owner(namespace: &Namespace, search: &mut OwnerSearch) -> Option<Container> {
    let is_named = namespace.names.iter().any(|name| !is_path(name));
    if is_named || namespace.is_of_the_host() || namespace.is_own() {
        return None;
    }
    search.owner(namespace.pids())
}

/// The namespace of a container or unit, if it has one of its own.
pub(super) fn owned_by(name: &str) -> Option<Namespace> {
    let mut namespaces = netns::list().ok()?.namespaces.into_iter();
    let mut search = OwnerSearch::default();
    namespaces.find(|namespace| {
        // As runtimes print it, and the table shows it.
        let is_short = |owner: &str| name.len() >= SHORT && owner.starts_with(name);
        owner(namespace, &mut search).is_some_and(|owner| {
            owner.full_name() == name || owner.id == name || is_short(&owner.id)
        })
    })
}

/// All names of a namespace, the most telling first: paths of bind mounts, which container runtimes keep,
/// are last.
pub(super) fn all(namespace: &Namespace, owner: Option<&Container>) -> Vec<String> {
    let owner = owner.map(|owner| owner.full_name());
    let (paths, mut names): (Vec<String>, Vec<String>) =
        namespace.names.iter().cloned().partition(|name| is_path(name));
    let owner = owner.filter(|owner| !names.iter().any(|name| name == owner));
    names.extend(owner.map(str::to_owned));
    names.extend(paths);
    names
}

/// A name of `ip netns` is a file's.
fn is_path(name: &str) -> bool {
    name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_name_comes_first_and_paths_last() {
        let mut namespace = Namespace::own().unwrap();
        namespace.names = ["/run/docker/netns/a", "blue"].map(str::to_owned).into();
        let of = |name: Option<&str>, id: &str| Container {
            id: id.to_owned(),
            name: name.map(str::to_owned),
            runtime: "docker",
        };
        let web = of(Some("web"), "0123");
        assert_eq!(all(&namespace, Some(&web)), ["blue", "web", "/run/docker/netns/a"]);
        let blue = of(None, "blue");
        assert_eq!(all(&namespace, Some(&blue)), ["blue", "/run/docker/netns/a"]);
        namespace.names.clear();
        assert_eq!(all(&namespace, Some(&web)), ["web"]);
    }

    #[test]
    fn the_own_namespace_is_nobodys() {
        assert_eq!(owner(&Namespace::own().unwrap(), &mut OwnerSearch::default()), None);
    }
}
