//! `/top`: how full spaces are and who holds their ports, and calls that failed, with causes and
//! remedies in words.

use serde::{Serialize, Serializer};

use crate::{
    report,
    sink::json::{Endpoint, Space},
};

/// The answer. All texts of others in it are escaped.
#[derive(Debug, Serialize)]
pub struct Top {
    /// When, RFC 3339.
    pub time: String,
    /// The fullest spaces, the fullest first.
    pub spaces: Vec<Fullest>,
    /// How many spaces are listed at most: with fewer, a space that is not listed is empty.
    pub most_spaces: usize,
    /// Calls that failed, the newest first.
    pub failures: Vec<Failure>,
    /// How many failed in all.
    pub failed: u64,
}

/// A space.
#[derive(Debug, Serialize)]
pub struct Fullest {
    /// Between which ends.
    pub name: String,
    /// How full.
    #[serde(flatten, serialize_with = "space")]
    pub space: report::Space,
    /// Who holds its ports, the largest first; the rest is what is used beyond these.
    pub holders: Vec<Held>,
}

/// Processes of one name in one container, and the ports that they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Absent: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The process, where there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its name, or the beginning of its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Ports of sockets.
    pub in_use: u32,
    /// Ports of TIME_WAIT entries.
    pub time_wait: u32,
}

/// A call that failed, and those of the process that failed like it soon after.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// A number of its own in this run.
    pub number: u64,
    /// The first, RFC 3339.
    pub began: String,
    /// The last.
    pub time: String,
    /// How many.
    pub count: u64,
    /// Whose.
    pub who: String,
    /// What was called, with what it asked for.
    pub call: String,
    /// The error, with what programs print of it.
    pub error: String,
    /// In which namespace.
    pub netns: u32,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Where it was to connect to.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "endpoint")]
    pub remote: Option<crate::event::Endpoint>,
    /// Why, empty where that is not known.
    pub why: String,
    /// Who held the ports, the largest first.
    pub held: Vec<String>,
    /// What would have helped, the best first.
    pub remedies: Vec<String>,
}

fn space<S: Serializer>(space: &report::Space, serializer: S) -> Result<S::Ok, S::Error> {
    Space(space).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "as serde calls it")]
fn endpoint<S: Serializer>(
    endpoint: &Option<crate::event::Endpoint>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    endpoint.map(Endpoint::new).serialize(serializer)
}
