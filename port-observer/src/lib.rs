//! port-observer sees every local port taken, kept and given back, straight from the kernel.

/// Tests of the library include files of `tests`, which name it so.
#[cfg(test)]
extern crate self as port_observer;

pub mod ask;
pub mod cache;
pub mod check;
pub mod child;
pub mod cli;
pub mod command;
pub mod config;
pub mod decode;
pub mod doctor;
pub mod document;
pub mod event;
pub mod filter;
pub mod forensics;
pub mod kernel;
pub mod leases;
pub mod ledger;
pub mod logging;
pub mod metrics;
pub mod notice;
pub mod own_file;
pub mod pipeline;
pub mod pools;
pub mod ports;
pub mod probe;
pub mod process;
pub mod queued_writer;
pub mod recording;
pub mod report;
pub mod sandbox;
pub mod screen;
pub mod serve;
pub mod sink;
pub mod source;
pub mod stress;
pub mod trial;
pub mod why;
mod words;
