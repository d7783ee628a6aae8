//! The whole program on real traffic, in network namespaces of its own. Needs root.
//!
//! `PORT_OBSERVER` is the program (else the one that Cargo built), `PORT_OBSERVER_BACKEND` the
//! backend (else `tracepoint`, and what does not load is skipped), `PORT_OBSERVER_CONNECTS` the
//! size of the load. `PORT_OBSERVER_ASKED_FOR=1` includes those that take long.

mod attribution;
mod bind;
mod cause;
mod check;
mod check_failures;
mod connect;
mod existing;
mod forecast;
mod limits;
mod load;
mod options;
mod poll;
mod process;
mod reconcile;
mod snapshot;
mod time_wait;
mod truth;
mod udp;
