//! Kernel programs: which there are, loading and attaching them, and why that fails.

mod assembly;
mod attach;
mod bind_held;
mod iterators;
mod misses;
mod observed;
mod open_files;
pub mod preflight;
mod privileges;
mod refused;
mod table;
mod verdict;

pub use attach::{Attached, Options, Trial, attach, try_each};
pub use bind_held::{BindHeld, OnHeldPort};
pub use iterators::{Iterators, Prepared};
pub use misses::Misses;
pub use observed::Observed;
pub use open_files::for_each_socket;
pub use privileges::{Capability, Privileges, charges_memlock};
pub use refused::{Hint, Refused, Step, hint, lacks, perf_closed};
pub use table::{Backend, Hook, Need, Probe, probes};
pub use verdict::Verdict;
