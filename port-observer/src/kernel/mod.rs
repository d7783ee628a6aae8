//! What is read from the kernel outside of the event stream: types, symbols, socket diagnostics,
//! sysctls, namespaces, clocks, memory.

pub mod bpf;
pub mod btf;
pub mod cgroup;
pub mod clock;
pub mod descriptors;
pub mod diag;
pub mod memory;
pub mod mounts;
pub mod netns;
pub mod nftables;
pub mod release;
pub mod rights;
pub mod route;
pub mod symbols;
pub mod sysctl;
pub mod tracefs;

#[cfg(test)]
pub(crate) mod testing;
