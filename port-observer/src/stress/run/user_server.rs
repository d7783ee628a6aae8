//! A server of the user's, which a run starts in its place.

use std::{
    fs,
    io::Read,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::stress::{
    listener::{self, Listener},
    program::{self, Sockets},
};

/// How long it may take until it listens.
const START: Duration = Duration::from_secs(20);
/// How long what it wrote before its end may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// What it writes is kept so far, from the end.
const KEPT: usize = 4096;

/// The server's process. Dropped, it is killed; what it started ends with the place.
pub struct UserServer {
    child: Child,
    wrote: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl UserServer {
    /// Starts it by the shell.
    ///
    /// # Errors
    /// When the kernel refuses a process.
    pub fn start(command: &str) -> Result<Self> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("can't start a shell for the server")?;
        let wrote = Arc::new(Mutex::new(Vec::new()));
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|one| Box::new(one) as Box<dyn Read + Send>),
            child.stderr.take().map(|one| Box::new(one) as Box<dyn Read + Send>),
        ];
        let mut readers = Vec::new();
        for stream in streams.into_iter().flatten() {
            let wrote = Arc::clone(&wrote);
            let reader = thread::Builder::new().name("server".to_owned());
            let reader = reader.spawn(move || keep(stream, &wrote));
            readers.push(reader.context("can't read what the server writes")?);
        }
        Ok(Self { child, wrote, readers })
    }

    /// Waits until somebody listens: on this port, or on the first that is seen.
    ///
    /// # Errors
    /// When the server ends before, or takes too long.
    pub fn wait_until_it_listens(&mut self, port: Option<u16>) -> Result<Listener> {
        let until = Instant::now() + START;
        loop {
            let mut found = listener::listeners();
            found.retain(|one| port.is_none_or(|port| port == one.port));
            // One for all addresses is what several destinations take.
            found.sort_by_key(|one| (!one.address.is_unspecified(), one.v6only, one.port));
            if let Some(first) = found.first() {
                return Ok(*first);
            }
            // What puts itself into the background ends, and leaves somebody behind.
            if let Ok(Some(status)) = self.child.try_wait()
                && (!status.success() || self.pids().is_empty())
            {
                bail!("the server ended before it listened ({status}){}", self.after());
            }
            if Instant::now() >= until {
                let on = port.map_or_else(String::new, |port| format!(" on port {port}"));
                bail!("after {} s the server does not listen{on}{}", START.as_secs(), self.after());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it wrote last. Of one that has ended, all of it, unless it left others behind.
    pub fn words(&mut self) -> String {
        let until = Instant::now() + LAST_WORDS;
        while matches!(self.child.try_wait(), Ok(Some(_)))
            && !self.readers.iter().all(JoinHandle::is_finished)
            && Instant::now() < until
        {
            thread::sleep(Duration::from_millis(5));
        }
        let wrote = self.wrote.lock().map(|wrote| wrote.clone()).unwrap_or_default();
        String::from_utf8_lossy(&wrote).trim().to_owned()
    }

    /// The same behind a sentence.
    fn after(&mut self) -> String {
        match &*self.words() {
            "" => String::new(),
            text => format!("; it wrote: {text}"),
        }
    }

    /// Its processes that may have connections: all of the place that are none of this program's own.
    pub fn pids(&self) -> Vec<u32> {
        let own = fs::read_link("/proc/self/exe").ok();
        let is_own = |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).ok() == own;
        let holds_sockets = |pid: &u32| !Sockets::of(&[*pid]).inodes.is_empty();
        let mut pids: Vec<u32> =
            program::processes().into_keys().filter(|pid| !is_own(pid)).collect();
        if pids.iter().any(holds_sockets) {
            pids.retain(holds_sockets);
        }
        pids.sort_unstable();
        pids
    }
}

impl Drop for UserServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the end of what is written.
fn keep(mut stream: Box<dyn Read + Send>, wrote: &Mutex<Vec<u8>>) {
    let mut bytes = [0; 1024];
    while let Ok(length) = stream.read(&mut bytes)
        && length > 0
    {
        let Ok(mut kept) = wrote.lock() else { return };
        kept.extend_from_slice(&bytes[..length]);
        let over = kept.len().saturating_sub(KEPT);
        kept.drain(..over);
    }
}
