//! The whole program on real traffic, in network namespaces of its own. Needs root.
//!
//! `PORT_OBSERVER` is the program (else the one that Cargo built), `PORT_OBSERVER_BACKEND` the
//! backend (else `tracepoint`, and what does not load is skipped), `PORT_OBSERVER_CONNECTS` the
//! size of the load, `PORT_OBSERVER_KILLS` how often a recorder is killed.

mod bind;
mod command;
mod connect;
mod ledger;
mod limits;
mod load;
mod options;
mod output;
mod poll;
mod pools;
mod privileges;
mod process;
mod refused;
mod serve;
mod storms;
mod stress;
mod time_wait;
mod top;
mod udp;
