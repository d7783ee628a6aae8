//! Orders of the one who started a run: go, and stop.

use std::{
    io::Read as _,
    sync::mpsc::{Receiver, Sender},
    thread,
};

use anyhow::{Context as _, Result};

use super::Message;

/// Waits until it may begin. `false`: it is over before.
pub(super) fn wait_for_go(messages: &Receiver<Message>) -> bool {
    loop {
        match messages.recv() {
            Ok(Message::Go) => return true,
            Ok(Message::Stop) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}

/// Reads what the one who started all says.
pub(super) fn listen_to_orders(to: Sender<Message>) -> Result<()> {
    let reader = move || {
        let mut bytes = [0; 64];
        loop {
            match std::io::stdin().read(&mut bytes) {
                Ok(length) if length > 0 => drop(to.send(Message::Go)),
                _ => break,
            }
        }
        let _ = to.send(Message::Stop);
    };
    thread::Builder::new().name("orders".to_owned()).spawn(reader).context("can't read orders")?;
    Ok(())
}
