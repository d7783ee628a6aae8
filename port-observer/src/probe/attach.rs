//! Loads the object and attaches a backend's probes.

use std::{fs::File, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use aya::{
    Btf, Ebpf, EbpfLoader, Pod,
    maps::{HashMap, Queue},
    programs::{CgroupAttachMode, Program},
};
use port_observer_ebpf::{COUNTED_SLOTS, Offsets, Settings};

use super::{
    observed::Observed,
    privileges,
    refused::{self, Step},
    table::{Backend, Hook, Need, Probe, probes},
    verdict::Verdict,
};
use crate::kernel::{btf::KernelTypes, cgroup, descriptors};

/// The kernel programs, as `cargo xtask ebpf` built them.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("PORT_OBSERVER_OBJECT"));

/// What the kernel's side is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Bytes of the ring buffer, a power of two.
    pub buffer_size: u32,
    /// Only these network namespaces, by inode number; empty: all.
    pub netns: Vec<u32>,
    /// Only this `IPPROTO_*`.
    pub protocol: Option<u32>,
    /// Every TCP state change too.
    pub states: bool,
    /// The ports that the kernel may have chosen before observing began, lowest and highest.
    pub ranges: Vec<(u16, u16)>,
    /// The level of the programs' own log, 0 (off) to 5 (trace).
    pub log_level: u8,
}

/// A backend at work; dropping it detaches everything.
pub struct Attached {
    /// Which.
    pub backend: Backend,
    /// The programs and maps.
    pub ebpf: Ebpf,
    /// What is missing on this kernel, a sentence each.
    pub missing: Vec<String>,
    /// See [`KernelTypes::has_connect_bind`].
    pub has_connect_bind: bool,
}

/// Wire types may be handed over as bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain<T: Copy>(T);
// SAFETY: a structure of u32 without padding.
unsafe impl Pod for Plain<Offsets> {}
// SAFETY: a structure of u32 without padding.
unsafe impl Pod for Plain<Settings> {}

/// A number that nobody can guess.
fn random() -> u32 {
    let mut bytes = [0; 4];
    // SAFETY: as many bytes as there are. Without any the tables work, only less fairly.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    u32::from_ne_bytes(bytes)
}

/// What happened to one probe.
#[derive(Debug)]
pub struct Trial {
    /// The probe.
    pub probe: Probe,
    /// `Ok(true)`: attached. `Ok(false)`: not for this kernel or not asked for.
    pub result: Result<bool>,
}

/// Loads the object with the running kernel's offsets, and attaches the probes of `backend`.
///
/// # Errors
/// When a probe that the backend needs can't be loaded or attached: in one line which, why, and
/// what the user can do.
pub fn attach(backend: Backend, options: &Options) -> Result<(Attached, Observed)> {
    attach_all(backend, options).map_err(|error| refused::explained(error, backend))
}

fn attach_all(backend: Backend, options: &Options) -> Result<(Attached, Observed)> {
    let mut loaded = Loaded::new(backend, options)?;
    let mut verdict = Verdict::new(backend);
    for probe in probes(backend) {
        verdict.add(probe, loaded.try_probe(probe))?;
    }
    let has_connect_bind = loaded.types.has_connect_bind();
    let Loaded { ebpf, observed, .. } = loaded;
    Ok((Attached { backend, missing: verdict.finish()?, has_connect_bind, ebpf }, observed))
}

/// Tries each probe of a backend by itself, for `doctor`.
///
/// # Errors
/// When the object can't be loaded at all.
pub fn try_each(backend: Backend, options: &Options) -> Result<Vec<Trial>> {
    let mut loaded = Loaded::new(backend, options)?;
    Ok(probes(backend)
        .iter()
        .map(|probe| Trial { probe: *probe, result: loaded.try_probe(probe) })
        .collect())
}

/// The object in the kernel, its programs not loaded yet.
struct Loaded {
    ebpf: Ebpf,
    observed: Observed,
    btf: Btf,
    types: KernelTypes,
    states: bool,
    /// Where cgroup2 is, else why nowhere.
    cgroup: Result<PathBuf, String>,
}

impl Loaded {
    fn new(backend: Backend, options: &Options) -> Result<Self> {
        privileges::raise_memlock();
        descriptors::raise();
        let types = KernelTypes::read()?;
        let offsets = Plain(types.offsets()?);
        let settings = Plain(Settings {
            only_namespaces: u32::from(!options.netns.is_empty()),
            only_protocol: options.protocol.unwrap_or(0),
            buffer_size: options.buffer_size,
            seed: random(),
        });
        let btf = Btf::from_sys_fs().context("can't read this kernel's type information")?;
        let mut loader = EbpfLoader::new();
        // Tables that only other backends use take no memory.
        for (table, used) in
            [("CALLS", backend == Backend::Kprobe), ("BINDS", backend == Backend::Tracepoint)]
        {
            if !used {
                loader.map_max_entries(table, 1);
            }
        }
        let mut ebpf = loader
            .btf(Some(&btf))
            .map_max_entries("EVENTS", options.buffer_size)
            .override_global("OFFSETS", &offsets, true)
            .override_global("SETTINGS", &settings, true)
            .override_global(aya_log::LEVEL, &options.log_level, false)
            .load(OBJECT)
            .map_err(refused::object)?;
        let mut observed = Observed::new(&mut ebpf)?;
        for &(low, high) in &options.ranges {
            observed.add(low..=high);
        }
        let map = ebpf.map_mut("NAMESPACES").context("the eBPF object has no map NAMESPACES")?;
        let mut namespaces = HashMap::<_, u32, u8>::try_from(map)?;
        for netns in &options.netns {
            namespaces.insert(netns, 1, 0).context("too many network namespaces")?;
        }
        let map = ebpf.map_mut("COUNTED_FREE").context("the eBPF object has no COUNTED_FREE")?;
        let mut free = Queue::<_, u32>::try_from(map)?;
        for slot in 0..COUNTED_SLOTS {
            free.push(slot, 0).context("can't hand the kernel a table of counted records")?;
        }
        // For containers' names too, whatever the backend.
        let cgroup = cgroup::ensure().map_err(|error| format!("{error:#}"));
        Ok(Self { ebpf, observed, btf, types, states: options.states, cgroup })
    }

    /// Loads and attaches one probe, unless it is not for this kernel.
    fn try_probe(&mut self, probe: &Probe) -> Result<bool> {
        match probe.need {
            Need::WithSymbol(symbol) if !crate::kernel::symbols::has(symbol) => return Ok(false),
            Need::States if !self.states => return Ok(false),
            _ => {}
        }
        let function = match probe.hook {
            Hook::Fentry(f) | Hook::Fexit(f) | Hook::Kprobe(f) | Hook::Kretprobe(f) => Some(f),
            _ => None,
        };
        if let Some(function) = function
            && !self.types.has_function(function)
        {
            if matches!(probe.need, Need::OneOf(_)) {
                return Ok(false);
            }
            bail!("this kernel has no function {function} to attach to");
        }
        let program = self
            .ebpf
            .program_mut(probe.program)
            .with_context(|| format!("the eBPF object has no program {}", probe.program))?;
        let root_cgroup = || -> Result<File> {
            let path = match &self.cgroup {
                Ok(path) => path,
                Err(error) => bail!("{error}"),
            };
            File::open(path).with_context(|| format!("can't open {}", path.display()))
        };
        let is_loaded = program.fd().is_ok();
        let load = |error| refused::program(error, Step::Load);
        let attach = |error| refused::program(error, Step::Attach);
        match (program, probe.hook) {
            (Program::FEntry(p), Hook::Fentry(function)) => {
                p.load(function, &self.btf).map_err(load)?;
                p.attach().map_err(attach)?;
            }
            (Program::FExit(p), Hook::Fexit(function)) => {
                p.load(function, &self.btf).map_err(load)?;
                p.attach().map_err(attach)?;
            }
            (Program::KProbe(p), Hook::Kprobe(function) | Hook::Kretprobe(function)) => {
                if !is_loaded {
                    p.load().map_err(load)?;
                }
                p.attach(function, 0).map_err(attach)?;
            }
            (Program::BtfTracePoint(p), Hook::BtfTracepoint(name)) => {
                p.load(name, &self.btf).map_err(load)?;
                p.attach().map_err(attach)?;
            }
            (Program::RawTracePoint(p), Hook::RawTracepoint(name)) => {
                p.load().map_err(load)?;
                p.attach(name).map_err(attach)?;
            }
            (Program::TracePoint(p), Hook::Tracepoint(category, name)) => {
                crate::kernel::tracefs::ensure()?;
                p.load().map_err(load)?;
                p.attach(category, name).map_err(attach)?;
            }
            // A link stands beside other programs whatever the mode; the kernel refuses the flag.
            (Program::CgroupSock(p), Hook::CgroupSock) => {
                p.load().map_err(load)?;
                p.attach(root_cgroup()?, CgroupAttachMode::Single).map_err(attach)?;
            }
            (Program::CgroupSockAddr(p), Hook::CgroupSockAddr) => {
                p.load().map_err(load)?;
                p.attach(root_cgroup()?, CgroupAttachMode::Single).map_err(attach)?;
            }
            (Program::SockOps(p), Hook::SockOps) => {
                p.load().map_err(load)?;
                p.attach(root_cgroup()?, CgroupAttachMode::Single).map_err(attach)?;
            }
            // Run when it is read, see `iterators`.
            (Program::Iter(p), Hook::Iter(what)) => p.load(what, &self.btf).map_err(load)?,
            (_, hook) => bail!("program {} is not for {hook}", probe.program),
        }
        Ok(true)
    }
}
