//! A trial of a pool with calls.

use std::{
    io::{self, IsTerminal as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    slice,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, ScopedJoinHandle},
};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::sync::watch;

use super::{kernel, leased_now, output, read, wanted};
use crate::{
    command::{end_signals::EndSignals, event_loop},
    config::{Format, PoolsVerifyConfig},
    event::Protocol,
    kernel::netns::Namespace,
    leases::{Origin, of_pool},
    pools::{Parity, Pool, PortSet, State},
    sandbox::{Sandbox, Task},
    source::settings,
    trial::{
        self, Outcome, Plan, Progress,
        calls::{PortError, SetUp, Wanted, legs_of, set_up},
        echo::{Served, Server},
        json, text,
    },
};

/// Calls of a pool that does not say how many units it is for.
const CALLS: u32 = 10;

/// Sets the calls up, lets them send, and says what came of it. The exit code says whether all is well.
///
/// # Errors
/// When calls can't be set up, or the answer can't be written.
pub fn verify(config: &PoolsVerifyConfig, sandbox: Sandbox) -> Result<ExitCode> {
    let found = wanted(&config.files, &Origin::Pool(config.pool.clone()))?;
    let pools = found.map_err(|missing| anyhow!(missing))?;
    let pool = pools.first().context("no pool is called so")?;
    let leased = leased_now(config.state.as_deref()).map(|all| of_pool(&all, pool));
    let leased = leased.unwrap_or_default().intersection(&pool.ports);
    let wanted = calls(config, pool, &leased)?;
    trial::raise_limits();
    let all = read(&config.files)?.pools;
    let place = namespace(pool)?;
    // Sockets stay in the namespace in which they were made, whoever uses them.
    let (server, peer, mut calls) = place.run(|| begin(config.peer, &wanted, &all))?;
    name_holders(pool, &mut calls.errors);
    sandbox.enter(&Task::Trial);
    let ports_per_leg = if wanted.is_shared { 1 } else { 2 };
    let of_calls = (wanted.calls, wanted.legs, ports_per_leg);
    let named = (&*pool.name, pool.shown());
    let mut outcome = Outcome::of(named, of_calls, peer, &mut calls, &leased);
    let why = outcome.too_few();
    if why.is_none() {
        run(config, server.as_ref(), &calls, &mut outcome)?;
    }
    output::answer(&match config.format {
        Format::Json => json::render(&outcome).context("can't write JSON")?,
        Format::Table => text::render(&outcome),
    })?;
    match why {
        Some(why) => bail!("{why}"),
        None if outcome.is_good() => Ok(ExitCode::SUCCESS),
        None => Ok(ExitCode::FAILURE),
    }
}

/// What is wanted of the pool.
fn calls(config: &PoolsVerifyConfig, pool: &Pool, leased: &PortSet) -> Result<Wanted> {
    let name = &pool.name;
    if !pool.protocols().has(Protocol::Udp) {
        bail!("the pool {name} is for tcp alone: RTP and RTCP go over udp");
    }
    let any = || match config.peer {
        Some(SocketAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let address = match &pool.address {
        None => any(),
        Some(text) => {
            let address: Result<IpAddr, _> = text.parse();
            let wrong = || format!("the address of the pool {name}, {text:?}, is none");
            address.with_context(wrong)?.to_canonical()
        }
    };
    if let Some(peer) = config.peer
        && peer.is_ipv4() != address.is_ipv4()
    {
        bail!("the pool {name} is on {address}, from which nothing gets to {peer}");
    }
    let units = pool.units.map(|units| u32::try_from(units).unwrap_or(u32::MAX));
    Ok(Wanted {
        calls: config.calls.or(units).unwrap_or(CALLS).max(1),
        legs: config.legs.unwrap_or_else(|| legs_of(pool)),
        is_shared: pool.parity == Parity::Even,
        address,
        ports: pool.ports.without(leased),
    })
}

/// The network namespace that the pool is in.
fn namespace(pool: &Pool) -> Result<Namespace> {
    match (&pool.netns, &pool.container) {
        (Some(name), _) => settings::resolve(name),
        (None, Some(container)) => settings::resolve(container)
            .with_context(|| format!("the container of the pool {} does not run here", pool.name)),
        (None, None) => Namespace::own(),
    }
}

/// Takes the ports, and those of the own peer before that, which are none of any pool.
fn begin(
    peer: Option<SocketAddr>,
    wanted: &Wanted,
    all: &[Pool],
) -> Result<(Option<Server>, SocketAddr, SetUp)> {
    let (server, peer) = match peer {
        Some(peer) => (None, peer),
        None => {
            let loopback = match wanted.address {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            };
            let ports = all.iter().flat_map(|pool| pool.ranges.iter().copied()).collect();
            let server = Server::outside(loopback, &ports)?;
            let at = server.address().context("can't tell where the peer listens")?;
            (Some(server), at)
        }
    };
    Ok((server, peer, set_up(wanted, peer)?))
}

/// Names who has the ports that could not be taken.
fn name_holders(pool: &Pool, errors: &mut [PortError]) {
    if errors.iter().all(|error| error.errno != libc::EADDRINUSE) {
        return;
    }
    let looks = kernel::look(slice::from_ref(pool), kernel::with_containers(), |_| false);
    let Some(facts) = looks.facts.first() else { return };
    let state = State::of(pool, &[], facts);
    for error in errors {
        let mut shares = state.holders.iter().filter(|share| share.protocol == Protocol::Udp);
        let share = shares.find(|share| share.ports.contains(error.port));
        error.holder = share.and_then(|share| share.holder.cloned());
    }
}

/// Lets the calls send, and the own peer answer, until they are done or a signal comes.
fn run(
    config: &PoolsVerifyConfig,
    server: Option<&Server>,
    calls: &SetUp,
    outcome: &mut Outcome,
) -> Result<()> {
    let runtime = event_loop()?;
    let mut signals = runtime.block_on(async { EndSignals::catch() })?;
    let plan = Plan { duration: config.duration, report_every: config.report_every };
    let (stop, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let (tell, mut told) = watch::channel(Progress::default());
    let (ran, served) = thread::scope(|scope| {
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let (legs, plan, stop, is_over) = (&calls.legs, &plan, &stop, &is_over);
        let answering = server
            .map(|server| named("echo").spawn_scoped(scope, move || server.run(is_over, None)));
        let answering = answering.transpose().context("can't start a thread")?;
        let sending = named("calls").spawn_scoped(scope, move || {
            let tell = tell;
            trial::run(legs, plan, stop, |progress| {
                let _ = tell.send(*progress);
            })
        });
        let ran = match sending.context("can't start a thread") {
            Ok(sending) => {
                runtime.block_on(watch(&mut told, &mut signals, config, stop));
                sending.join().map_err(|_| anyhow!("the thread of the calls died"))
            }
            Err(error) => Err(error),
        };
        is_over.store(true, Ordering::Relaxed);
        let join = |thread: ScopedJoinHandle<'_, Result<Served>>| {
            thread.join().map_err(|_| anyhow!("the thread of the peer died"))?
        };
        anyhow::Ok((ran??, answering.map(join).transpose()?))
    })?;
    (outcome.ran, outcome.served) = (Some(ran), served);
    Ok(())
}

/// Shows how far it is to who waits at a terminal, until it is over; a signal stops it.
async fn watch(
    told: &mut watch::Receiver<Progress>,
    signals: &mut EndSignals,
    config: &PoolsVerifyConfig,
    stop: &AtomicBool,
) {
    let is_shown = io::stderr().is_terminal();
    loop {
        tokio::select! {
            () = signals.next() => stop.store(true, Ordering::Relaxed),
            changed = told.changed() => {
                if changed.is_err() {
                    break;
                }
                if is_shown {
                    let text = text::progress(&told.borrow_and_update(), config.duration);
                    let _ = write!(io::stderr(), "\r{text}\x1b[K");
                }
            }
        }
    }
    if is_shown {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}
