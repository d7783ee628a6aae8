//! The observer about itself: what it is, and the usual `process_*` metrics.

use std::{fs, time::Duration};

use nix::{
    sys::resource::{Resource, UsageWho, getrlimit, getrusage},
    sys::time::TimeValLike as _,
};

use super::family::{Family, Kind, Sample, as_f64};
use crate::{kernel::memory, report::Start};

/// What does not change while the observer runs.
#[derive(Clone, Debug)]
pub struct Own {
    version: String,
    backend: &'static str,
    kernel: String,
    is_exact: bool,
    /// Since 1970.
    started: Duration,
}

impl Own {
    /// Of the observer whose first line is this; `started`: since 1970.
    pub fn new(start: &Start, started: Duration) -> Self {
        Self {
            version: start.version.to_string(),
            backend: start.backend,
            kernel: start.kernel.clone(),
            is_exact: start.exact,
            started,
        }
    }

    /// The families; of what can't be read there is none.
    pub(super) fn families(&self) -> Vec<Family> {
        let Self { version, backend, kernel, is_exact, started } = self;
        let labels = vec![
            ("version", version.clone()),
            ("backend", (*backend).to_owned()),
            ("kernel", kernel.clone()),
        ];
        let gauge = |name, help, value| Family::single(Kind::Gauge, name, help, value);
        let mut families = vec![
            Family::new(Kind::Gauge, "port_observer_build_info", "1; what runs is in the labels.")
                .of([Sample::new(labels, 1.0)]),
            gauge(
                "port_observer_exact",
                "1 if every port taken and given back is seen; `port-observer doctor` says what is not.",
                f64::from(u8::from(*is_exact)),
            ),
            gauge(
                "process_start_time_seconds",
                "When this process started, in seconds since 1970.",
                started.as_secs_f64(),
            ),
        ];
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let ns = usage.user_time().num_nanoseconds() + usage.system_time().num_nanoseconds();
            families.push(Family::single(
                Kind::Counter,
                "process_cpu_seconds_total",
                "CPU time of this process, user and system.",
                as_f64(ns.unsigned_abs()) / 1e9,
            ));
        }
        if let Some((virtual_bytes, resident_bytes)) = memory::sizes() {
            families.push(gauge(
                "process_resident_memory_bytes",
                "Resident memory of this process.",
                as_f64(resident_bytes),
            ));
            families.push(gauge(
                "process_virtual_memory_bytes",
                "Virtual memory of this process.",
                as_f64(virtual_bytes),
            ));
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            families.push(gauge(
                "process_open_fds",
                "Open file descriptors of this process.",
                as_f64(open.count() as u64),
            ));
        }
        if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
            families.push(gauge(
                "process_max_fds",
                "The soft limit of this process's open file descriptors.",
                as_f64(soft),
            ));
        }
        families
    }
}
