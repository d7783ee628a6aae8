//! Arguments that several commands have, each declared once.

use std::{num::NonZeroUsize, time::Duration};

use clap::{Args, builder::NonEmptyStringValueParser};

use super::values::{self, BackendChoice};

/// How the kernel is observed.
#[derive(Args, Debug)]
pub struct ObserveArgs {
    /// How to observe the kernel; `auto` takes the best that this kernel and these privileges allow
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = values::backend())]
    pub backend: BackendChoice,
    /// Room for events between the kernel and this program: bytes, or with KiB, MiB or GiB;
    /// rounded up to a power of two, from 64KiB to 1GiB
    #[arg(long, value_name = "SIZE", default_value = values::BUFFER_SIZE, value_parser = values::buffer_size)]
    pub buffer_size: u32,
}

/// How much is accounted.
#[derive(Args, Debug)]
pub struct LimitArgs {
    /// The most sockets and TIME_WAIT entries that are accounted, to bound memory; `lost` lines say
    /// when there are more
    #[arg(long, value_name = "N", default_value = "1000000")]
    pub max_holdings: NonZeroUsize,
}

/// Which network namespaces.
#[derive(Args, Debug, Default)]
pub struct NetnsArg {
    /// Only this network namespace: its inode number, its name under /run/netns, or a path such as
    /// /proc/PID/ns/net; may be given several times
    #[arg(
        long,
        value_name = "INODE|NAME|PATH",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub netns: Vec<String>,
}

/// How a recording is kept.
#[derive(Args, Debug)]
pub struct KeepArgs {
    /// How long recorded events are kept: 90s, 5m, 24h
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = values::duration)]
    pub keep: Duration,
    /// How large the recording may get; the oldest events make room: bytes, or with KiB, MiB or GiB,
    /// from 8MiB
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = values::file_size)]
    pub max_size: u64,
    /// Let this group read the recording too; without it, only the user who records may
    #[arg(long, value_name = "NAME", value_parser = values::group)]
    pub group: Option<nix::unistd::Gid>,
}
