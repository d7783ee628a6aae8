//! A trial of a pool: calls that take its ports, and send and get back RTP and RTCP.
//!
//! A call has legs, of two ports each: RTP on an even one and RTCP on the next (RFC 3550, 11), or both on
//! one (RFC 5761) where a pool has even ports alone. Each leg sends G.711 in packets of 20 ms to a peer,
//! which sends them back as they are ([`echo`]), and a sender report now and then, which the peer answers
//! with what it received. What comes back is compared with what was sent; nothing is kept of packets but a
//! window of some seconds, counts and histograms.
//!
//! Times are nanoseconds of a monotonic clock since a trial began.

pub mod calls;
pub mod echo;
pub mod json;
mod leg;
pub mod outcome;
mod rtcp;
mod rtp;
mod run;
mod socket;
mod tally;
pub mod text;

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

pub use self::{
    outcome::Outcome,
    run::{Plan, Progress, run},
    socket::raise_limits,
};

/// What comes back later than this after it was sent is lost; so long it is waited at the end.
pub const GRACE: Duration = Duration::from_secs(1);

/// A number that nobody can guess, for those of streams (RFC 3550, 8.1).
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
