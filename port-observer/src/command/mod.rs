//! One file a command. Here: from arguments to the command.

pub mod check;
pub mod doctor;
pub mod live;
mod observer;
mod processes;
pub mod record;
mod recorded;
pub mod replay;
pub mod report;
pub mod signals;
pub mod snapshot;
mod stream;
mod time;
pub mod top;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::config::{CheckConfig, DoctorConfig, LiveConfig, RecordConfig, SnapshotConfig};
use crate::kernel::netns;

/// Runs what the command line asks for, to the exit code.
///
/// # Errors
/// The command failed. An error with an `io::Error` of kind `BrokenPipe` in its chain says that
/// the reader of the output has left.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Live(args) => live::run(LiveConfig::resolve(*args, cli.color, &netns_inode)?),
        Command::Top(args) => top::run(*args, cli.color),
        Command::Snapshot(args) => {
            snapshot::run(&SnapshotConfig::resolve(args, cli.color, &netns::resolve)?)
        }
        Command::Check(args) => return check::run(&CheckConfig::resolve(args)),
        Command::Record(args) => record::run(RecordConfig::resolve(args, &netns_inode)?),
        Command::Replay(args) => replay::run(*args, cli.color),
        Command::Report(args) => report::run(&args, cli.color),
        Command::Doctor(args) => doctor::run(DoctorConfig::resolve(&args, cli.color)),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// The inode number of a network namespace, by path or by the name that `ip netns` gave it.
fn netns_inode(text: &str) -> anyhow::Result<u32> {
    Ok(netns::resolve(text)?.inode)
}
