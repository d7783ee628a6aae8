//! `pools`: port ranges that applications declare.

mod echo;
mod environments;
mod files;
mod firewall;
mod kernel;
mod leases;
mod verify;
mod watch;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, anyhow};

pub use self::{
    echo::echo,
    leases::{lease, leases, release, renew},
    verify::verify,
};
pub(super) use self::{
    leases::{given, seen, wanted},
    watch::{declared, watch, watched},
};
use super::output;
use crate::{
    config::{Format, PoolsCheckConfig, PoolsShowConfig},
    event::Existing,
    leases::{Lease, Store, of_pool},
    pools::{Outside, Pool, Severity, State, Verdict, json, text},
    sandbox::{Sandbox, Task},
};

/// Checks once, and tells. The exit code says whether all is well.
///
/// # Errors
/// When nothing is there to check, or the answer can't be written.
pub fn check(config: &PoolsCheckConfig, sandbox: Sandbox) -> Result<ExitCode> {
    let verdict = read(&config.files)?;
    let firewalls = firewall::look(&verdict.pools);
    let namespaces = verdict.pools.iter().any(|pool| pool.netns.is_some());
    sandbox.enter(&Task::List { namespaces, keeps: false });
    let facts = kernel::look(&verdict.pools, |pool| pool.netns.as_deref(), |_| false).facts;
    let mut verdict = verdict.with_kernel(&facts).with_firewalls(&firewalls);
    if verdict.has_variables() {
        verdict = verdict.with_running(&environments::read());
    }
    output::answer(&match config.format {
        Format::Json => json::render(&verdict).context("can't write JSON")?,
        Format::Table => text::render(&verdict),
    })?;
    let has_errors = verdict.problems.count(Severity::Error) > 0;
    let fails = has_errors || (config.is_strict && verdict.warnings() > 0);
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Shows once what is held of pools.
///
/// # Errors
/// When no pool is declared, or the answer can't be written.
pub fn show(config: &PoolsShowConfig, sandbox: Sandbox) -> Result<()> {
    let verdict = read(&config.files)?;
    if verdict.pools.is_empty() {
        return Err(no_pool());
    }
    warn_of_errors(&verdict);
    let namespaces = verdict.pools.iter().any(Pool::is_elsewhere);
    // SQLite opens its files for writing, whoever only reads.
    sandbox.enter(&Task::List { namespaces, keeps: true });
    let leased = leased_now(config.state.as_deref());
    output::answer(&shown(&verdict.pools, leased.as_deref(), |states| match config.format {
        Format::Json => json::render_states(states).context("can't write JSON"),
        Format::Table => Ok(text::render_states(states)),
    })?)
}

/// Shows what is held of pools, and what is leased.
///
/// # Errors
/// When it can't be shown.
pub(super) fn shown(
    pools: &[Pool],
    leases: Option<&[Lease]>,
    show: impl FnOnce(&[State<'_>]) -> Result<String>,
) -> Result<String> {
    // What an owner took elsewhere it has bound there.
    let is_bound = |one: &Existing| one.flow.remote.is_none();
    let looks = kernel::look(pools, kernel::with_containers(), is_bound);
    let state = |(pool, at): (_, &usize)| State {
        leased: leases.map(|all| of_pool(all, pool)),
        ..State::of(pool, pools, &looks.facts[*at])
    };
    let states: Vec<State<'_>> = pools.iter().zip(&looks.of_pools).map(state).collect();
    show(&states)
}

/// All leases that live in a directory, if there is one with a file of leases that can be read.
fn leased_now(directory: Option<&Path>) -> Option<Vec<Lease>> {
    live(directory?).unwrap_or_else(|error| {
        log::warn!("leases are not known: {error:#}");
        None
    })
}

/// All leases that live in a directory; `None`: there is no file of leases.
fn live(directory: &Path) -> Result<Option<Vec<Lease>>> {
    let store = Store::open_existing(directory)?;
    store.map(|store| store.live()).transpose()
}

fn no_pool() -> anyhow::Error {
    anyhow!(
        "no pool is declared there: `port-observer pools check` says what is wrong, or how it is done"
    )
}

/// Says that what declares pools has errors, where they do not matter otherwise.
fn warn_of_errors(verdict: &Verdict) {
    let errors = verdict.problems.count(Severity::Error);
    if errors > 0 {
        log::warn!(
            "errors in what declares pools: {errors}; `port-observer pools check` tells them"
        );
    }
}

/// What the files say, by themselves.
pub(super) fn read(named: &[PathBuf]) -> Result<Verdict> {
    let files = files::read(named)?;
    let shell = |name: &str| std::env::var(name).ok();
    let outside = Outside { shell: &shell, read: &files::text };
    Ok(Verdict::of_files(&files, &outside))
}
