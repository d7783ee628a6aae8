//! Chooses the eBPF object to embed: the committed one, or with `PORT_OBSERVER_OBJECT` another, which
//! is how the tests run on an object that another toolchain built. At build time, so that nobody can
//! hand a privileged program other kernel programs when it runs.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=PORT_OBSERVER_OBJECT");
    let committed = || PathBuf::from("ebpf/port-observer.bpf.o");
    let chosen = env::var_os("PORT_OBSERVER_OBJECT").map_or_else(committed, PathBuf::from);
    match std::path::absolute(&chosen) {
        Ok(path) if path.is_file() => {
            println!("cargo::rerun-if-changed={}", path.display());
            println!("cargo::rustc-env=PORT_OBSERVER_OBJECT={}", path.display());
        }
        _ => println!("cargo::error=there is no eBPF object at {}", chosen.display()),
    }
}
