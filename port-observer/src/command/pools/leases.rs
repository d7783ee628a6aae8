//! Leasing ports of pools, and giving them back.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{kernel, live, output, read, warn_of_errors};
use crate::{
    config::{Format, PoolsLeaseConfig, PoolsLeasesConfig, PoolsReleaseConfig, PoolsRenewConfig},
    leases::{Candidate, Lease, Moment, Origin, Refusal, Request, Store, View, json, text},
    pools::{Pool, State},
    process::ProcFs,
    sandbox::{Sandbox, Task},
    source::settings,
};

/// What the kernel said is asked anew when others had the leases for longer than this.
const STALE: Duration = Duration::from_secs(1);

/// Leases ports, and says which.
///
/// # Errors
/// When none are to be had, or the leases can't be changed.
pub fn lease(config: &PoolsLeaseConfig, sandbox: Sandbox) -> Result<()> {
    let pools = wanted(&config.files, &config.of)?.map_err(|missing| anyhow!(missing))?;
    let namespaces = pools.iter().any(Pool::is_elsewhere);
    sandbox.enter(&Task::List { namespaces, keeps: true });
    let (owner, key) = (&*config.owner, config.key.as_deref());
    let request = Request { owner, key, units: config.units, ttl: config.ttl };
    let mut store = Store::open(&config.state)?;
    match given(&mut store, &pools, &config.of, &request)? {
        Ok((lease, now)) => tell(&lease, &now, config.format),
        Err(Refusal(why)) => bail!("{why}"),
    }
}

/// Leases ports of one of these pools; what is given with the moment is on the disk.
///
/// # Errors
/// When the leases can't be changed.
pub(in crate::command) fn given(
    store: &mut Store,
    pools: &[Pool],
    of: &Origin,
    request: &Request<'_>,
) -> Result<Result<(Lease, Moment), Refusal>> {
    let mut candidates = candidates(pools);
    let asked = Instant::now();
    let mut change = store.begin()?;
    if asked.elapsed() > STALE {
        candidates = self::candidates(pools);
    }
    let group = match of {
        Origin::Group(name) => Some(&**name),
        Origin::Pool(_) => None,
    };
    let lease = match change.lease(&candidates, group, request)? {
        Ok(lease) => lease,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let now = change.now().clone();
    change.commit()?;
    Ok(Ok((lease, now)))
}

fn tell(lease: &Lease, now: &Moment, format: Format) -> Result<()> {
    output::answer(&match format {
        Format::Json => json::render(lease, now).context("can't write JSON")?,
        Format::Table => text::render(lease, now),
    })
}

/// The pools that may give what is asked for, or why there are none.
///
/// # Errors
/// When nothing that declares pools is there.
pub(in crate::command) fn wanted(
    files: &[PathBuf],
    of: &Origin,
) -> Result<Result<Vec<Pool>, String>> {
    let verdict = read(files)?;
    warn_of_errors(&verdict);
    let names = |of: &dyn Fn(&Pool) -> Option<String>| {
        let mut names: Vec<String> = verdict.pools.iter().filter_map(of).collect();
        names.sort_unstable();
        names.dedup();
        match names.len() {
            0 => "none is declared".to_owned(),
            _ => format!("declared: {}", names.join(", ")),
        }
    };
    let all = verdict.pools.iter();
    let (wanted, missing): (Vec<Pool>, _) = match of {
        Origin::Pool(name) => (
            all.filter(|pool| pool.name == *name).take(1).cloned().collect(),
            format!("no pool is called {name}; {}", names(&|pool| Some(pool.name.clone()))),
        ),
        Origin::Group(name) => (
            all.filter(|pool| pool.group.as_ref() == Some(name)).cloned().collect(),
            format!("no pool is in a group {name}; {}", names(&|pool| pool.group.clone())),
        ),
    };
    Ok(if wanted.is_empty() { Err(missing) } else { Ok(wanted) })
}

/// What each has to give, by what the kernel says now.
fn candidates(pools: &[Pool]) -> Vec<Candidate<'_>> {
    let looks = kernel::look(pools, kernel::with_containers(), |_| false);
    let names: HashSet<&str> = pools.iter().filter_map(|pool| pool.process.as_deref()).collect();
    let running = running(&names);
    let candidate = |(pool, at): (_, &usize)| Candidate {
        pool,
        held: match unwell(pool, &running) {
            Some(reason) => Err(reason),
            None => State::of(pool, pools, &looks.facts[*at])
                .used
                .map_err(|reason| format!("what is held there is not known: {reason}")),
        },
    };
    pools.iter().zip(&looks.of_pools).map(candidate).collect()
}

/// Why a pool can give nothing, whatever is free: nobody would be there to have it.
fn unwell(pool: &Pool, running: &HashSet<&str>) -> Option<String> {
    let container = pool.container.as_ref().filter(|_| pool.netns.is_none());
    if let Some(container) = container
        && settings::resolve(container).is_err()
    {
        return Some(format!("its container {container} does not run here"));
    }
    let process = pool.process.as_deref().filter(|name| !running.contains(name));
    process.map(|name| format!("no process called {name} runs"))
}

/// Which of these names a process has, as its own or as that of its executable.
fn running<'a>(names: &HashSet<&'a str>) -> HashSet<&'a str> {
    let mut found = HashSet::new();
    if names.is_empty() {
        return found;
    }
    for pid in ProcFs::default().pids().unwrap_or_default() {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let file = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let file = file.file_name().and_then(|name| name.to_str());
        for name in [Some(comm.trim_end_matches('\n')), file].into_iter().flatten() {
            found.extend(names.get(name));
        }
    }
    found
}

/// Lets a lease live on, and says for how long.
///
/// # Errors
/// When it has ended, or the leases can't be changed.
pub fn renew(config: &PoolsRenewConfig, sandbox: Sandbox) -> Result<()> {
    sandbox.enter(&Task::List { namespaces: false, keeps: true });
    let mut store = existing(&config.state)?;
    let mut change = store.begin()?;
    let lease = change.renew(config.id, config.ttl)?;
    let now = change.now().clone();
    change.commit()?;
    tell(&lease, &now, config.format)
}

/// Gives the ports of leases back.
///
/// # Errors
/// When one has ended already: then none is given back; or when the leases can't be changed.
pub fn release(config: &PoolsReleaseConfig, sandbox: Sandbox) -> Result<()> {
    sandbox.enter(&Task::List { namespaces: false, keeps: true });
    let mut store = existing(&config.state)?;
    let mut change = store.begin()?;
    for id in &config.ids {
        change.release(*id)?;
    }
    change.commit()
}

fn existing(directory: &Path) -> Result<Store> {
    let nothing = || {
        format!("there are no leases in {}: name their directory with --state", directory.display())
    };
    Store::open_existing(directory)?.with_context(nothing)
}

/// Shows the leases, who holds their ports, and what is held of pools without one.
///
/// # Errors
/// When they can't be read, or the answer can't be written.
pub fn leases(config: &PoolsLeasesConfig, sandbox: Sandbox) -> Result<()> {
    // Those that lie here, if there are some.
    let declared = match read(&config.files) {
        Ok(verdict) => verdict.pools,
        Err(error) if !config.files.is_empty() => return Err(error),
        Err(_) => Vec::new(),
    };
    sandbox.enter(&Task::List { namespaces: true, keeps: true });
    let leases = live(&config.state)?.unwrap_or_default();
    output::answer(&seen(&leases, declared, |view| match config.format {
        Format::Json => json::render_view(view).context("can't write JSON"),
        Format::Table => Ok(text::render_view(view)),
    })?)
}

/// Shows leases, who holds their ports, and what is held of pools without one.
///
/// # Errors
/// When the kernel tells no time, or it can't be shown.
pub(in crate::command) fn seen(
    leases: &[Lease],
    declared: Vec<Pool>,
    show: impl FnOnce(&View<'_>) -> Result<String>,
) -> Result<String> {
    let now = Moment::now()?;
    let mut pools: Vec<Pool> = leases.iter().map(Lease::as_pool).collect();
    pools.extend(declared);
    let looks = kernel::look(&pools, kernel::with_containers(), |_| false);
    let states = || {
        let state = |(pool, at): (_, &usize)| State::of(pool, &[], &looks.facts[*at]);
        pools.iter().zip(&looks.of_pools).map(state)
    };
    let (of_leases, of_pools) = (states().take(leases.len()), states().skip(leases.len()));
    show(&View::of(&now, leases, of_leases, of_pools))
}
