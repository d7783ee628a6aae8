//! Much that comes and goes: destinations, conflicts, TIME_WAITs, UDP sockets, processes, namespaces,
//! cgroups; at rates that a busy machine of two processors keeps up with.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tests::child::Traffic;
use tests::net::{Namespace, sysctl};
use tests::socket::{Held, tcp, udp};
use tests::system::{beside_this_test, cgroup2, spawn};

use crate::counts::Done;

/// Where the server of all destinations listens.
const PORT: u16 = 80;
/// How many destinations there are until the first comes again.
const DESTINATIONS: u32 = 1 << 20;
/// Of so many connections one leaves a TIME_WAIT, the others are reset.
const TIME_WAITS: u64 = 8;

/// Threads that work until they are told to stop.
pub struct Churn {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    acquired: AtomicU64,
    refused: AtomicU64,
    namespaces: AtomicU64,
    processes: AtomicU64,
    cgroups: AtomicU64,
}

impl Churn {
    /// Starts it, in this namespace and some of its own.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        namespace.enter();
        // A port is not taken from its TIME_WAIT.
        sysctl("ipv4/tcp_tw_reuse", "0");
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
        let listener = tcp().reuse_address().bind(any).listen();
        let shared = Arc::new(Shared::default());
        shared.acquired.fetch_add(1, Ordering::Relaxed);
        let mut churn = Self { shared, threads: Vec::new() };
        let mut number = 0_u32;
        churn.each("connections", Duration::from_millis(4), move |shared| {
            number = (number + 1) % DESTINATIONS;
            connect(&listener, number, shared)
        })?;
        churn.each("conflicts", Duration::from_millis(50), |shared| {
            if udp_and_conflict(shared) { Ok(()) } else { bail!("two have one port") }
        })?;
        let traffic = beside_this_test("traffic")?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).to_string();
        churn.each("processes", Duration::from_millis(100), move |shared| {
            // It connects to nobody: what it would take is not counted there.
            let mut command = Command::new(&traffic);
            command.args(["hold", "0", &server]).stdin(Stdio::null()).stdout(Stdio::null());
            let mut child = spawn(&mut command).context("run a program")?;
            child.wait().context("wait for it")?;
            shared.processes.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })?;
        churn.each("namespaces", Duration::from_millis(200), |shared| {
            // The one before goes with the last that is in it.
            let namespace = Namespace::make();
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
            let listener = tcp().bind(at).listen();
            let mut client = tcp().connect(at);
            client.reset();
            drop((listener, namespace));
            shared.namespaces.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })?;
        let cgroups = Cgroups::make()?;
        let mut number = 0;
        churn.each("cgroups", Duration::from_millis(500), move |shared| {
            number += 1;
            cgroups.one(number)?;
            shared.cgroups.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })?;
        Ok(churn)
    }

    /// Does something again and again, in the namespace of the calling thread.
    fn each(
        &mut self,
        name: &'static str,
        every: Duration,
        mut what: impl FnMut(&Shared) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let mut next = Instant::now();
            while !shared.is_over.load(Ordering::Relaxed) {
                what(&shared).context(name)?;
                next = (next + every).max(Instant::now());
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            Ok(())
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
        self.threads.push(thread.with_context(|| format!("start the thread for {name}"))?);
        Ok(())
    }

    /// Ends it; what it did.
    pub fn stop(self) -> Result<Done> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a part of the churn panicked"))??;
        }
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(Done {
            acquired: of(&self.shared.acquired),
            refused: of(&self.shared.refused),
            namespaces: of(&self.shared.namespaces),
            processes: of(&self.shared.processes),
            cgroups: of(&self.shared.cgroups),
        })
    }
}

/// Connects to one of many addresses of this machine and closes.
fn connect(listener: &Held, number: u32, shared: &Shared) -> Result<()> {
    let [_, a, b, c] = (number + 1).to_be_bytes();
    let to = SocketAddr::from((Ipv4Addr::new(127, a, b, c), PORT));
    let mut client = tcp().connect(to);
    let count = shared.acquired.fetch_add(1, Ordering::Relaxed);
    let mut child = listener.accept();
    if count.is_multiple_of(TIME_WAITS) {
        client.close();
        child.read_to_the_end();
        child.close();
    } else {
        client.reset();
        child.close();
    }
    Ok(())
}

/// Takes a port for a moment, and one that is taken; whether that is refused.
fn udp_and_conflict(shared: &Shared) -> bool {
    let mut first = udp().bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    shared.acquired.fetch_add(1, Ordering::Relaxed);
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, first.port()));
    let is_refused = udp().try_bind(at).is_err();
    shared.refused.fetch_add(u64::from(is_refused), Ordering::Relaxed);
    first.close();
    is_refused
}

/// Cgroups below one that goes with this.
struct Cgroups(PathBuf);

impl Cgroups {
    fn make() -> Result<Self> {
        let path = cgroup2()?.join(format!("port-observer-soak-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Makes one, lets a process take a port in it, and removes it.
    fn one(&self, number: u64) -> Result<()> {
        let path = self.0.join(number.to_string());
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        let mut traffic = Traffic::start_in_cgroup(&path, &["hold", "0", "127.0.0.1:80"]);
        traffic.go_on();
        traffic.wait();
        fs::remove_dir(&path).with_context(|| format!("remove {}", path.display()))
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
