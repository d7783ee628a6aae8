//! What the program concludes of all that is held: these tests make dozens of namespaces and
//! observers of their own, and run in a sitting of their own.

mod attribution;
mod cause;
pub mod check;
mod check_failures;
mod conflicts;
mod existing;
mod fill;
mod forecast;
mod reconcile;
mod record;
mod report;
mod snapshot;
mod states;
mod truth;
mod why;
