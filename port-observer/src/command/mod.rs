//! One file a command. Here: from arguments to the command.

pub mod check;
pub mod doctor;
mod end_signals;
pub mod live;
mod one_look;
mod output;
mod page_file;
pub mod pools;
pub mod replay;
pub mod report;
pub mod serve;
pub mod signals;
pub mod snapshot;
pub mod stress;
pub mod top;
pub mod why;

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::runtime::Runtime;

use crate::check::Status;
use crate::cli::{Cli, Command, PoolsCommand};
use crate::config::{
    self, CheckConfig, DoctorConfig, LiveConfig, PoolsCheckConfig, PoolsEchoConfig,
    PoolsLeaseConfig, PoolsLeasesConfig, PoolsReleaseConfig, PoolsRenewConfig, PoolsShowConfig,
    PoolsVerifyConfig, ServeConfig, SnapshotConfig, StressConfig, WhyConfig,
};
use crate::sandbox::Sandbox;
use crate::source::settings;

/// Runs what the command line asks for, to the exit code.
///
/// # Errors
/// The command failed. An error with an `io::Error` of kind `BrokenPipe` in its chain says that
/// the reader of the output has left.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let sandbox = if cli.no_sandbox { Sandbox::Off } else { Sandbox::On };
    match cli.command {
        Command::Live(args) => {
            return live::run(LiveConfig::resolve(*args, cli.color, &netns_inode)?, sandbox);
        }
        Command::Top(args) => top::run(*args, cli.color, sandbox),
        Command::Snapshot(args) => {
            snapshot::run(&SnapshotConfig::resolve(args, cli.color, &settings::resolve)?, sandbox)
        }
        Command::Why(args) => {
            return why::run(&WhyConfig::resolve(*args, cli.color, &settings::resolve)?, sandbox);
        }
        Command::Check(args) => return check::run(&CheckConfig::resolve(args), sandbox),
        Command::Pools(args) => match args.command {
            PoolsCommand::Check(args) => {
                return pools::check(&PoolsCheckConfig::resolve(args), sandbox);
            }
            PoolsCommand::Watch(args) => {
                return live::run(config::pools_watch(*args, cli.color), sandbox);
            }
            PoolsCommand::Show(args) => pools::show(&PoolsShowConfig::resolve(args), sandbox),
            PoolsCommand::Lease(args) => pools::lease(&PoolsLeaseConfig::resolve(args)?, sandbox),
            PoolsCommand::Renew(args) => pools::renew(&PoolsRenewConfig::resolve(args)?, sandbox),
            PoolsCommand::Release(args) => {
                pools::release(&PoolsReleaseConfig::resolve(args)?, sandbox)
            }
            PoolsCommand::Leases(args) => {
                pools::leases(&PoolsLeasesConfig::resolve(args)?, sandbox)
            }
            PoolsCommand::Verify(args) => {
                return pools::verify(&PoolsVerifyConfig::resolve(args), sandbox);
            }
            PoolsCommand::Echo(args) => pools::echo(&PoolsEchoConfig::resolve(&args), sandbox),
        },
        Command::Record(args) => {
            return live::run(LiveConfig::of_record(*args, &netns_inode)?, sandbox);
        }
        Command::Replay(args) => replay::run(*args, cli.color, sandbox),
        Command::Report(args) => report::run(&args, cli.color, sandbox),
        Command::Serve(args) => serve::run(ServeConfig::resolve(*args, &netns_inode)?, sandbox),
        Command::Stress(args) => {
            let settings = crate::stress::place::settings_of_host();
            return stress::run(&StressConfig::resolve(*args, settings), sandbox);
        }
        Command::StressPart => return stress::part(),
        Command::Doctor(args) => doctor::run(DoctorConfig::resolve(&args, cli.color), sandbox),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// What a command that waits runs on: this thread alone.
fn event_loop() -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().context("can't start the event loop")
}

/// The reader of the output has seen enough.
#[must_use]
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == ErrorKind::BrokenPipe)
}

/// The exit code when the command fails: of `check` and `why` it is an answer.
#[must_use]
pub fn failure_code(cli: &Cli) -> ExitCode {
    match cli.command {
        Command::Check(_) => ExitCode::from(Status::Unknown.exit_code()),
        Command::Why(_) => ExitCode::from(why::UNKNOWN),
        _ => ExitCode::FAILURE,
    }
}

/// The inode number of a network namespace, by path, by the name that `ip netns` gave it, or by the
/// container or unit whose it is.
fn netns_inode(text: &str) -> anyhow::Result<u32> {
    Ok(settings::resolve(text)?.inode)
}
