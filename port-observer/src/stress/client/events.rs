//! What the kernel tells a client of its connections.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::{
        epoll::{EpollEvent, EpollTimeout},
        socket::{MsgFlags, recv},
    },
};

use super::{Client, State, socket};
use crate::stress::Close;

/// What a server says before it closes is kept so far.
const HEARD: usize = 200;

impl Client {
    /// Takes in what the kernel tells of.
    pub(super) fn take_in(&mut self, patience: Duration) -> Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let timeout = EpollTimeout::try_from(patience).unwrap_or(EpollTimeout::ZERO);
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno).context("can't wait for connections"),
        };
        for event in &events[..count] {
            self.take(event.data() as usize);
        }
        Ok(())
    }

    fn take(&mut self, key: usize) {
        let Some(connection) = self.connections.get(key) else { return };
        match connection.state {
            State::Connecting(_) => match socket::error_of(connection.fd.as_fd()) {
                0 => self.stands(key, false),
                errno => {
                    *self.progress.refused.entry(errno).or_default() += 1;
                    self.failed_in_a_row = (self.failed_in_a_row.0 + 1, errno);
                    self.pending -= 1;
                    let pair = connection.pair;
                    self.connections.remove(key);
                    self.is_full(pair, Errno::from_raw(errno));
                }
            },
            State::Open => {
                let mut bytes = [0; HEARD];
                match recv(connection.fd.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                    Ok(0) => self.is_closed(key),
                    Ok(length) => {
                        if self.progress.heard.is_none() {
                            let text = String::from_utf8_lossy(&bytes[..length]);
                            self.progress.heard = Some(text.trim().to_owned());
                        }
                    }
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(_) => self.is_closed(key),
                }
            }
        }
    }

    fn is_closed(&mut self, key: usize) {
        self.connections.remove(key);
        self.progress.closed += u64::from(self.job.close == Close::Keep);
    }
}
