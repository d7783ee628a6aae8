//! What is read from the kernel outside of the event stream: types, symbols, socket diagnostics,
//! sysctls, namespaces, clocks.

pub mod bpf;
pub mod btf;
pub mod cgroup;
pub mod clock;
pub mod diag;
pub mod netns;
pub mod symbols;
pub mod sysctl;
pub mod tracefs;

#[cfg(test)]
pub(crate) mod testing;
