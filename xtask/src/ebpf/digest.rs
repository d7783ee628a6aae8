//! The digest of everything in the checkout that decides what the eBPF object holds.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use toml::{Table, Value};

const PACKAGE: &str = "port-observer-ebpf";

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest of the package's sources and manifest, of the locked versions of what it depends on,
/// and of the workspace's release profile. It does not depend on where the checkout is.
///
/// # Errors
/// When a file can't be read or understood.
pub fn sources(root: &Path) -> Result<String> {
    let mut parts = Vec::new();
    for name in ["Cargo.toml", "build.rs", "src"] {
        collect(root, &Path::new(PACKAGE).join(name), &mut parts)?;
    }
    let workspace = table(&root.join("Cargo.toml"))?;
    for keys in [["profile", "release"], ["workspace", "package"]] {
        let value = workspace.get(keys[0]).and_then(|value| value.get(keys[1]));
        parts.push((keys.join("."), value.map(Value::to_string).unwrap_or_default().into()));
    }
    let lock = table(&root.join("Cargo.lock"))?;
    parts.extend(locked(&lock)?.into_iter().map(|entry| (entry, Vec::new())));
    Ok(of_parts(parts))
}

/// Each part with its name and length, so that nothing can move from one to the next.
fn of_parts(mut parts: Vec<(String, Vec<u8>)>) -> String {
    parts.sort();
    let mut digest = Sha256::new();
    for (name, bytes) in &parts {
        digest.update(format!("{} {name} {} ", name.len(), bytes.len()));
        digest.update(bytes);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files at or below a path, each with its path relative to the root.
fn collect(root: &Path, path: &Path, parts: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let full = root.join(path);
    if full.is_dir() {
        let entries = fs::read_dir(&full);
        for entry in entries.with_context(|| format!("can't read {}", full.display()))? {
            collect(root, &path.join(entry?.file_name()), parts)?;
        }
    } else if full.exists() {
        let bytes = fs::read(&full).with_context(|| format!("can't read {}", full.display()))?;
        parts.push((path.display().to_string(), bytes));
    }
    Ok(())
}

/// The lock's entries that the package leads to: `name version checksum`.
fn locked(lock: &Table) -> Result<BTreeSet<String>> {
    let packages = lock.get("package").and_then(Value::as_array).context("Cargo.lock is empty")?;
    let field = |package: &'_ Value, name: &str| {
        package.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut todo = vec![PACKAGE.to_owned()];
    let mut entries = BTreeSet::new();
    while let Some(wanted) = todo.pop() {
        // The lock names a dependency by name, with its version where the name alone is ambiguous.
        let mut words = wanted.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let package = packages.iter().find(|package| {
            field(package, "name") == name
                && version.is_none_or(|version| field(package, "version") == version)
        });
        let package = package.with_context(|| format!("Cargo.lock has no {wanted}"))?;
        let checksum = field(package, "checksum");
        if entries.insert(format!("{name} {} {checksum}", field(package, "version"))) {
            let dependencies = package.get("dependencies").and_then(Value::as_array);
            let names = dependencies.into_iter().flatten().filter_map(Value::as_str);
            todo.extend(names.map(str::to_owned));
        }
    }
    Ok(entries)
}

fn table(path: &Path) -> Result<Table> {
    let text =
        fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    text.parse().with_context(|| format!("can't read {} as TOML", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_package_leads_to_is_in_its_part_of_the_lock() {
        let lock = r#"
            package = [
                { name = "port-observer-ebpf", version = "0.1.0", dependencies = ["a", "b 2.0.0"] },
                { name = "a", version = "1.0.0", checksum = "aa", dependencies = ["b 1.0.0"] },
                { name = "b", version = "1.0.0", checksum = "b1", dependencies = ["a"] },
                { name = "b", version = "2.0.0", checksum = "b2" },
                { name = "other", version = "1.0.0", checksum = "oo" },
            ]"#;
        let entries = locked(&lock.parse().unwrap()).unwrap();
        let expected = ["a 1.0.0 aa", "b 1.0.0 b1", "b 2.0.0 b2", "port-observer-ebpf 0.1.0 "];
        assert_eq!(entries.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_order_in_which_files_are_found_does_not_matter_and_their_borders_do() {
        let part = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
        let digest = of_parts(vec![part("a", "1"), part("b", "2")]);
        assert_eq!(digest, of_parts(vec![part("b", "2"), part("a", "1")]));
        assert_ne!(digest, of_parts(vec![part("a", "12"), part("b", "")]));
        assert_ne!(digest, of_parts(vec![part("a", "1"), part("c", "2")]));
    }

    #[test]
    fn the_sources_of_this_checkout_have_a_digest() {
        assert_eq!(sources(&crate::command::workspace()).unwrap().len(), 64);
    }
}
