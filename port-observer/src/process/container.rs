//! Which container a cgroup's path shows. Pure.
//!
//! Runtimes name a cgroup after the container's id. The deepest component that shows one wins, so
//! that a container within a container is itself. Where there is none, a systemd service or scope
//! counts: it is what the host's administrator confines and names. Login sessions do not count.

use super::Container;

/// Prefixes of `PREFIX-ID.scope` (systemd cgroup driver) and `PREFIX-ID` (cgroupfs driver).
const PREFIXES: [(&str, &str); 6] = [
    ("docker-", "docker"),
    ("cri-containerd-", "containerd"),
    ("nerdctl-", "containerd"),
    ("crio-", "cri-o"),
    ("libpod-payload-", "podman"),
    ("libpod-", "podman"),
];

/// Cgroups of a container's minder, outside of the container.
const MINDERS: [&str; 3] = ["crio-conmon-", "libpod-conmon-", "lxc.monitor"];

/// The runtime that owns plain ids below a directory.
const PARENTS: [(&str, &str); 5] = [
    ("docker", "docker"),
    ("moby", "docker"),
    ("default", "containerd"),
    ("k8s.io", "containerd"),
    ("libpod_parent", "podman"),
];

/// The container that a cgroup's path shows. The last component alone will do, if it is all that is
/// known.
///
/// `runtime` is `kubernetes` for a plain id in a pod, and `oci` for a plain id of which nothing says
/// whose it is.
pub fn container(cgroup: &str) -> Option<Container> {
    let components: Vec<&str> = cgroup.split('/').filter(|part| !part.is_empty()).collect();
    for (depth, component) in components.iter().enumerate().rev() {
        if MINDERS.iter().any(|minder| component.starts_with(minder)) {
            return None;
        }
        let found = prefixed(component)
            .or_else(|| plain(component, &components[..depth]))
            .or_else(|| machine(component, components[..depth].last().copied()));
        if found.is_some() {
            return found;
        }
    }
    components.iter().rev().find_map(|component| unit(component))
}

fn prefixed(component: &str) -> Option<Container> {
    // A pod's slice and the id in one component, where the drivers of kubelet and runtime disagree:
    // `kubepods-…slice:cri-containerd:ID`.
    if let Some((rest, id)) = component.rsplit_once(':')
        && let Some((_, runtime)) = rest.rsplit_once(':')
        && is_id(id)
    {
        let runtime = match runtime {
            "cri-containerd" => "containerd",
            "crio" => "cri-o",
            "docker" => "docker",
            "libpod" => "podman",
            _ => "oci",
        };
        return Some(Container { id: id.to_owned(), name: None, runtime });
    }
    let stem = component.strip_suffix(".scope").unwrap_or(component);
    PREFIXES.iter().find_map(|(prefix, runtime)| {
        let id = stem.strip_prefix(prefix).filter(|id| is_id(id))?;
        Some(Container { id: id.to_owned(), name: None, runtime })
    })
}

/// A component that is nothing but an id.
fn plain(component: &str, above: &[&str]) -> Option<Container> {
    if component.len() != 64 || !is_id(component) {
        return None;
    }
    let runtime = if above.iter().any(|part| part.starts_with("kubepods")) {
        "kubernetes"
    } else {
        let parent = above.last().copied().unwrap_or_default();
        PARENTS.iter().find(|(name, _)| *name == parent).map_or("oci", |(_, runtime)| runtime)
    };
    Some(Container { id: component.to_owned(), name: None, runtime })
}

/// LXC, and what systemd-machined registers.
fn machine(component: &str, parent: Option<&str>) -> Option<Container> {
    let named = |name: &str, runtime| {
        let name = unescape(name);
        (!name.is_empty()).then(|| Container { id: name.clone(), name: Some(name), runtime })
    };
    if let Some(name) = component.strip_prefix("lxc.payload.") {
        return named(name, "lxc");
    }
    if matches!(parent, Some("lxc" | "lxc.payload")) {
        return named(component, "lxc");
    }
    if let Some(name) = component.strip_prefix("systemd-nspawn@") {
        return named(name.strip_suffix(".service")?, "systemd-nspawn");
    }
    let name = component.strip_prefix("machine-")?.strip_suffix(".scope")?;
    // libvirt registers its guests as machines too: `machine-qemu\x2d1\x2dNAME.scope`.
    match unescape(name).split_once('-') {
        Some(("qemu" | "lxc", rest)) => {
            named(rest.split_once('-').map_or(rest, |(_, name)| name), "libvirt")
        }
        _ => named(name, "systemd-nspawn"),
    }
}

/// A systemd service or scope, but for those that every login has.
fn unit(component: &str) -> Option<Container> {
    let stem = component.strip_suffix(".service").or_else(|| component.strip_suffix(".scope"))?;
    let login = ["session-", "user@", "user-runtime-dir@"];
    if stem.is_empty() || stem == "init" || login.iter().any(|prefix| stem.starts_with(prefix)) {
        return None;
    }
    Some(Container { id: component.to_owned(), name: Some(unescape(stem)), runtime: "systemd" })
}

/// At least the short form of an id.
fn is_id(text: &str) -> bool {
    text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Undoes systemd's `\xNN` (systemd.unit(5)).
fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = rest
            .strip_prefix(b"\\x")
            .and_then(|after| after.get(..2))
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4b8c1d2e5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

    #[test]
    fn a_path_shows_its_container() {
        let table = [
            (format!("/docker/{ID}"), ID, "docker"),
            (format!("/system.slice/docker-{ID}.scope"), ID, "docker"),
            (format!("/docker/{ID}/system.slice/nginx.service"), ID, "docker"),
            (format!("/moby/{ID}"), ID, "docker"),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope"
                ),
                ID,
                "docker",
            ),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2f_1.slice/cri-containerd-{ID}.scope"
                ),
                ID,
                "containerd",
            ),
            (
                format!(
                    "/docker/{ID}/kubelet.slice/kubelet-kubepods.slice/cri-containerd-0123456789ab.scope"
                ),
                "0123456789ab",
                "containerd",
            ),
            (
                format!(
                    "/system.slice/containerd.service/kubepods-besteffort-pod1.slice:cri-containerd:{ID}"
                ),
                ID,
                "containerd",
            ),
            (format!("/default/{ID}"), ID, "containerd"),
            (format!("/system.slice/nerdctl-{ID}.scope"), ID, "containerd"),
            (format!("/kubepods/burstable/pod2f1a-11/{ID}"), ID, "kubernetes"),
            (format!("/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope"), ID, "cri-o"),
            (format!("/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope/container"), ID, "cri-o"),
            (format!("/kubepods/besteffort/pod1/crio-{ID}"), ID, "cri-o"),
            (format!("/machine.slice/libpod-{ID}.scope/container"), ID, "podman"),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"
                ),
                ID,
                "podman",
            ),
            (format!("/libpod_parent/libpod-{ID}"), ID, "podman"),
            (format!("/system.slice/web.service/libpod-payload-{ID}"), ID, "podman"),
            (format!("/ecs/task/{ID}"), ID, "oci"),
            (
                "/machine.slice/systemd-nspawn@deb-12.service/payload/system.slice/ssh.service"
                    .into(),
                "deb-12",
                "systemd-nspawn",
            ),
            ("/machine.slice/machine-deb\\x2d12.scope".into(), "deb-12", "systemd-nspawn"),
            (
                "/machine.slice/machine-qemu\\x2d3\\x2dweb\\x2d1.scope/libvirt/emulator".into(),
                "web-1",
                "libvirt",
            ),
            ("/lxc.payload.web/system.slice/cron.service".into(), "web", "lxc"),
            ("/lxc/web".into(), "web", "lxc"),
            ("/system.slice/nginx.service".into(), "nginx.service", "systemd"),
            (
                "/system.slice/system-getty.slice/getty@tty1.service".into(),
                "getty@tty1.service",
                "systemd",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/run-r4f.scope".into(),
                "run-r4f.scope",
                "systemd",
            ),
        ];
        for (path, id, runtime) in table {
            let found = container(&path).unwrap_or_else(|| panic!("nothing in {path}"));
            assert_eq!((found.id.as_str(), found.runtime), (id, runtime), "{path}");
        }
    }

    #[test]
    fn what_is_no_container_shows_none() {
        for path in [
            "",
            "/",
            "/init.scope",
            "/user.slice/user-0.slice/session-3.scope",
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            "/docker",
            "/docker/buildkit",
            "/lxc.monitor.web",
            "/kubepods/burstable",
            ".scope",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([
            format!("/machine.slice/libpod-conmon-{ID}.scope"),
            format!("/kubepods.slice/crio-conmon-{ID}.scope"),
        ]) {
            assert_eq!(container(&path), None, "{path}");
        }
    }

    #[test]
    fn the_last_component_alone_is_enough() {
        for (leaf, id, runtime) in [
            (format!("docker-{ID}.scope"), ID, "docker"),
            (format!("cri-containerd-{ID}.scope"), ID, "containerd"),
            (format!("libpod-{ID}.scope"), ID, "podman"),
            (ID.to_owned(), ID, "oci"),
            ("lxc.payload.web".to_owned(), "web", "lxc"),
            ("nginx.service".to_owned(), "nginx.service", "systemd"),
        ] {
            let found = container(&leaf).unwrap();
            assert_eq!((found.id.as_str(), found.runtime), (id, runtime));
        }
    }

    #[test]
    fn a_unit_has_its_name_without_escapes() {
        let found = container("/system.slice/srv-a\\x2db.service").unwrap();
        assert_eq!(found.name.as_deref(), Some("srv-a-b"));
        assert_eq!(unescape("a\\x"), "a\\x");
        assert_eq!(unescape("\\xzz\\x41"), "\\xzzA");
    }
}
