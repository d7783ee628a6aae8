//! The directory of tracepoints.

use std::{io::ErrorKind, path::Path};

use anyhow::{Context as _, Result, bail};

use super::mounts;

const PLACE: &str = "/sys/kernel/tracing";

const PLACES: [&str; 2] = [PLACE, "/sys/kernel/debug/tracing"];

/// Whether tracefs is mounted where tracing programs look for it, and can be read.
pub fn is_mounted() -> bool {
    PLACES.iter().any(|place| Path::new(place).join("events").is_dir())
}

/// Whether it is there, but may not be looked into.
fn is_denied() -> bool {
    PLACES.iter().any(|place| {
        std::fs::metadata(Path::new(place).join("events"))
            .is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    })
}

/// Makes tracefs visible to this thread. Where it is not mounted, it is mounted in a mount
/// namespace of this thread's own, so that nothing on the host changes and nothing is left behind.
///
/// # Errors
/// Without `CAP_SYS_ADMIN`, without `CAP_DAC_READ_SEARCH` for users other than root, or on a kernel
/// without tracefs.
pub fn ensure() -> Result<()> {
    if is_mounted() {
        return Ok(());
    }
    if is_denied() {
        bail!("tracefs may not be read: it takes root or CAP_DAC_READ_SEARCH");
    }
    mounts::mount_privately("tracefs", PLACE).context(
        "tracefs is not mounted; mount it: mount -t tracefs tracefs /sys/kernel/tracing",
    )?;
    if is_denied() {
        bail!("tracefs may not be read: it takes root or CAP_DAC_READ_SEARCH");
    }
    Ok(())
}
