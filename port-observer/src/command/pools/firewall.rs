//! The packet filters of the network namespaces that pools are in. Read before the sandbox is entered: to
//! list rules takes CAP_NET_ADMIN, and nothing after it does.

use anyhow::Result;
use nix::errno::Errno;

use super::kernel::MOST_NAMESPACES;
use crate::{
    kernel::{
        netns::Namespace,
        nftables::{self, List, Reader},
    },
    pools::{Firewall, OfNamespace, Pool, Unread},
    source::settings,
};

/// Reads the rules of each namespace that a pool names, and of the own.
pub fn look(pools: &[Pool]) -> Vec<OfNamespace> {
    let mut names: Vec<Option<&str>> = Vec::new();
    for pool in pools {
        let name = pool.netns.as_deref();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    // Of more, that they are not looked into is said elsewhere.
    let read = |name: Option<&str>| (name.map(str::to_owned), of_namespace(name));
    names.into_iter().take(MOST_NAMESPACES).map(read).collect()
}

fn of_namespace(name: Option<&str>) -> Result<Firewall, Unread> {
    // That a namespace is not there is said by what looks for its settings.
    let Ok(namespace) = name.map_or_else(Namespace::own, settings::resolve) else {
        return Ok(Firewall::default());
    };
    namespace.run(read).map_err(|error| {
        let reason = format!("{error:#}");
        let is_forbidden = error.chain().any(|cause| {
            matches!(cause.downcast_ref::<Errno>(), Some(Errno::EPERM | Errno::EACCES))
        });
        if is_forbidden { Unread::Forbidden(reason) } else { Unread::Failed(reason) }
    })
}

/// Reads those of the calling thread's namespace.
fn read() -> Result<Firewall> {
    let mut firewall = Firewall::default();
    if nftables::is_there() {
        let mut reader = Reader::open()?;
        let tables = reader.list(List::Tables)?;
        if !tables.is_empty() {
            let (chains, rules) = (reader.list(List::Chains)?, reader.list(List::Rules)?);
            firewall = Firewall::decode(&tables, &chains, &rules, &reader.list(List::Sets)?);
        }
        for key in firewall.wanted() {
            let elements = reader.elements(key.0, &key.1, &key.2)?;
            firewall.set_elements(&key, &elements);
        }
    }
    // Translation alone drops nothing.
    let legacy = nftables::legacy_tables().unwrap_or_default();
    firewall.legacy = legacy.into_iter().filter(|table| table != "nat").collect();
    Ok(firewall)
}
