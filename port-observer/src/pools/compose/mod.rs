//! Files of Compose: what their services publish, which network they have, and which variables they get.
//! Read file by file (`reader.rs`), with what services extend (`extends.rs`); files of one project are merged
//! (`definition.rs`), and what they include is added (`project.rs`).

mod definition;
mod environment;
mod extends;
mod include;
mod ports;
mod project;
mod reader;

use std::collections::BTreeMap;

pub use ports::{Host, Mapping};
pub use project::{File, read};

use super::problem::Place;

/// Which network a service has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// One of its own, or several.
    #[default]
    Own,
    /// That of the host.
    Host,
    /// That of another service.
    Service(String),
    /// That of a container.
    Container(String),
    /// None.
    None,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The name that its container is given.
    pub container_name: Option<String>,
    /// Its network.
    pub network: Network,
    /// What it publishes.
    pub mappings: Vec<Mapping>,
    /// It is started with one of these; none: always.
    pub profiles: Vec<String>,
    /// It has profiles, and none of them is active.
    pub is_inactive: bool,
    /// Where it is.
    pub place: Place,
}

impl Service {
    /// Whether no one profile starts both.
    pub fn is_instead_of(&self, other: &Self) -> bool {
        let has_both = |name: &String| other.profiles.contains(name);
        !self.profiles.is_empty()
            && !other.profiles.is_empty()
            && !self.profiles.iter().any(has_both)
    }
}

/// The services of directories, by directory and name.
pub type Services = BTreeMap<(String, String), Service>;

/// The directory of a file, as it is named.
fn directory(file: &str) -> String {
    file.rsplit_once('/').map_or("", |(directory, _)| directory).to_owned()
}
