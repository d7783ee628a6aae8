//! The thread that answers for pools: it keeps what looking into other network namespaces takes, and those
//! that talk with clients do not.

use std::{collections::BTreeMap, path::PathBuf, thread, time::Duration};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc::Receiver;

use super::super::pools;
use crate::{
    cli,
    config::ServedPools,
    leases::{Change, Lease, MOST_BYTES, Origin, Refusal, Request, Store, View, json},
    pools::{State, json::render_states},
    serve::pools::{Asked, Told, Waiting, Wanted},
};

/// The most units of one lease.
const MOST_UNITS: u32 = 65_535;

/// Starts the thread; it ends when nobody can ask any more.
///
/// # Errors
/// When the leases can't be opened.
pub(super) fn start(config: &ServedPools, mut asked: Receiver<Waiting>) -> Result<()> {
    let store = Store::open(&config.state)?;
    let mut leasing = Leasing { files: config.files.clone(), store };
    let answer = move || {
        while let Some((asked, told)) = asked.blocking_recv() {
            // A lease that nobody waits for any more would be nobody's.
            if !told.is_closed() {
                let _ = told.send(leasing.answer(asked));
            }
        }
    };
    thread::Builder::new()
        .name("pools".to_owned())
        .spawn(answer)
        .context("can't start a thread")?;
    Ok(())
}

struct Leasing {
    files: Vec<PathBuf>,
    store: Store,
}

impl Leasing {
    fn answer(&mut self, asked: Asked) -> Result<Told> {
        self.store.follow()?;
        Ok(match asked {
            Asked::Show => {
                let (declared, leases) = (pools::read(&self.files)?.pools, self.store.live()?);
                let show = |states: &[State<'_>]| Ok(render_states(states)?);
                Told::Shown(pools::shown(&declared, Some(&leases), show)?)
            }
            Asked::Leases => {
                let (declared, leases) = (pools::read(&self.files)?.pools, self.store.live()?);
                let show = |view: &View<'_>| Ok(json::render_view(view)?);
                Told::Shown(pools::seen(&leases, declared, show)?)
            }
            Asked::Count => {
                let mut counts = BTreeMap::new();
                for lease in self.store.live()? {
                    *counts.entry(lease.pool).or_default() += 1;
                }
                Told::Counted(counts)
            }
            Asked::Engines => Told::Shown(json::render_engines(&self.store.live()?)?),
            Asked::Lease(origin, wanted) => self.lease(&origin, &wanted)?,
            Asked::Renew { pool, id, ttl } => {
                let ttl = match ttl.as_deref().map(duration).transpose() {
                    Ok(ttl) => ttl,
                    Err(why) => return Ok(Told::Wrong(why)),
                };
                self.change(&pool, id, |change| {
                    let lease = change.renew(id, ttl)?;
                    Ok(Told::Shown(json::render(&lease, change.now())?))
                })?
            }
            Asked::Release { pool, id } => self.change(&pool, id, |change| {
                change.release(id)?;
                Ok(Told::Done)
            })?,
        })
    }

    fn lease(&mut self, origin: &Origin, wanted: &Wanted) -> Result<Told> {
        let Wanted { owner, key, .. } = wanted;
        if [Some(owner), key.as_ref()]
            .into_iter()
            .flatten()
            .any(|name| cli::short_name(name).is_err())
        {
            return Ok(Told::Wrong(format!("owner and key have 1 to {MOST_BYTES} bytes")));
        }
        let units = wanted.units.unwrap_or(1);
        if !(1..=MOST_UNITS).contains(&units) {
            return Ok(Told::Wrong(format!("units is from 1 to {MOST_UNITS}")));
        }
        let ttl = match wanted.ttl.as_deref().map(duration).transpose() {
            Ok(ttl) => ttl,
            Err(why) => return Ok(Told::Wrong(why)),
        };
        let declared = match pools::wanted(&self.files, origin)? {
            Ok(declared) => declared,
            Err(missing) => return Ok(Told::Missing(missing)),
        };
        let request = Request { owner, key: key.as_deref(), units, ttl };
        Ok(match pools::given(&mut self.store, &declared, origin, &request)? {
            Ok((lease, now)) => Told::Made(json::render(&lease, &now)?),
            Err(Refusal(why)) => Told::Refused(why),
        })
    }

    /// Changes a lease of a pool, if there is such a one.
    fn change(
        &mut self,
        pool: &str,
        id: i64,
        make: impl FnOnce(&mut Change<'_>) -> Result<Told>,
    ) -> Result<Told> {
        let mut change = self.store.begin()?;
        let is_there = |lease: &Lease| lease.id == id && lease.pool == pool;
        if !change.leases().iter().any(is_there) {
            return Ok(Told::Missing(format!(
                "the pool {pool} has no lease {id}: it was given back, or its time was up"
            )));
        }
        let told = make(&mut change)?;
        change.commit()?;
        Ok(told)
    }
}

/// `90s`, `5m`, `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    cli::duration(text).map_err(|why| format!("ttl={text}: {why}"))
}
