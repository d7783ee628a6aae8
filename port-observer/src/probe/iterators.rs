//! The programs that are run over what is there already.

use std::fs::File;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{Iter, iter::IterLink},
};

use super::table::{SCAN_FILES, SCAN_TCP, SCAN_UDP};
use crate::event::Protocol;

/// The iterators of a loaded object.
pub struct Iterators<'a>(&'a mut Ebpf);

/// An iterator that is not opened yet.
pub struct Prepared(IterLink);

impl<'a> Iterators<'a> {
    /// All of them; `None` if one is not loaded, for each is of no use without the others.
    pub fn of(ebpf: &'a mut Ebpf) -> Option<Self> {
        let is_loaded = |name| ebpf.program(name).is_some_and(|program| program.fd().is_ok());
        [SCAN_FILES, SCAN_TCP, SCAN_UDP].into_iter().all(is_loaded).then_some(Self(ebpf))
    }

    /// Over the open files of all processes.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn files(&mut self) -> Result<Prepared> {
        self.prepare(SCAN_FILES)
    }

    /// Over the sockets of a network namespace: that in which it will be opened.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn sockets(&mut self, protocol: Protocol) -> Result<Prepared> {
        self.prepare(match protocol {
            Protocol::Tcp => SCAN_TCP,
            Protocol::Udp => SCAN_UDP,
        })
    }

    fn prepare(&mut self, name: &str) -> Result<Prepared> {
        let program = self.0.program_mut(name).context("it is not in the eBPF object");
        program
            .and_then(|program| {
                let program: &mut Iter = program.try_into()?;
                let link = program.attach()?;
                Ok(Prepared(program.take_link(link)?))
            })
            .with_context(|| format!("can't start the iterator {name}"))
    }
}

impl Prepared {
    /// What the iterator writes is read from the file.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn open(self) -> Result<File> {
        self.0.into_file().context("can't open an iterator")
    }
}
