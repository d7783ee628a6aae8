//! What files say of a service, and how it is merged (13-merge, 05-services `extends`).

use super::{Mapping, Network};
use crate::pools::{problem::Place, variables::Declaration, yaml::Tag};

/// An attribute of a service, as one file has it.
#[derive(Clone, Debug)]
pub(super) enum Field<T> {
    /// The file does not name it.
    Absent,
    /// The file sets it back to nothing.
    Reset,
    /// It has this value.
    Set(T),
}

impl<T> Field<T> {
    /// Of a value with a tag.
    pub(super) fn of(tag: Option<Tag>, value: Option<T>) -> Self {
        match (tag, value) {
            (Some(Tag::Reset), _) => Self::Reset,
            (_, Some(value)) => Self::Set(value),
            (_, None) => Self::Absent,
        }
    }

    /// What comes later counts.
    fn merge(&mut self, later: Self) {
        if !matches!(later, Self::Absent) {
            *self = later;
        }
    }

    /// The value, if there is one.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Absent | Self::Reset => None,
        }
    }
}

/// A list that is joined to what comes before, unless a tag says otherwise.
#[derive(Clone, Debug)]
pub(super) struct Listed<T> {
    /// What comes before is taken away.
    pub(super) replaces: bool,
    pub(super) list: Vec<T>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { replaces: false, list: Vec::new() }
    }
}

impl<T> Listed<T> {
    fn merge(&mut self, later: Self, is_same: impl Fn(&T, &T) -> bool) {
        if later.replaces {
            *self = later;
            return;
        }
        for one in later.list {
            match self.list.iter_mut().find(|known| is_same(known, &one)) {
                Some(known) => *known = one,
                None => self.list.push(one),
            }
        }
    }
}

/// A service, as far as it is read.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    pub(super) container_name: Field<String>,
    pub(super) network: Field<Network>,
    pub(super) ports: Listed<Mapping>,
    /// Where `ports` are.
    pub(super) ports_line: Option<Place>,
    /// Variables that tell something about pools, of `environment` and of `env_file`.
    pub(super) environment: Listed<Declaration>,
    pub(super) files: Listed<Declaration>,
    /// Names that are taken out of `environment`.
    pub(super) removed: Vec<String>,
    pub(super) profiles: Listed<String>,
    pub(super) place: Place,
}

/// By which rules what comes before is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// A file after another one. A value that both set is told as it is in each.
    Files,
    /// A service that extends another: of a variable its own value counts.
    Extends,
}

impl Definition {
    /// One of which nothing is known.
    pub(super) fn new(place: Place) -> Self {
        Self {
            container_name: Field::Absent,
            network: Field::Absent,
            ports: Listed::default(),
            ports_line: None,
            environment: Listed::default(),
            files: Listed::default(),
            removed: Vec::new(),
            profiles: Listed::default(),
            place,
        }
    }

    /// What comes later, on top of this. Ports are one entry where address, ports inside and outside, and
    /// protocol are the same.
    pub(super) fn merge(mut self, later: Self, merge: Merge) -> Self {
        self.container_name.merge(later.container_name);
        self.network.merge(later.network);
        let key = |one: &Mapping| (one.host, one.container, one.protocol);
        self.ports.merge(later.ports, |one, other| {
            key(one) == key(other) && one.host_ip == other.host_ip
        });
        self.ports_line = later.ports_line.or(self.ports_line);
        self.environment.list.retain(|one| !later.removed.contains(&one.name));
        let is_same = move |one: &Declaration, other: &Declaration| {
            merge == Merge::Extends && one.name == other.name
        };
        self.environment.merge(later.environment, is_same);
        self.files.merge(later.files, is_same);
        self.profiles.merge(later.profiles, |one, other| one == other);
        if merge == Merge::Extends {
            self.place = later.place;
        }
        self
    }

    /// What declares something, in the order in which it counts.
    pub(super) fn variables(&self) -> impl Iterator<Item = &Declaration> {
        self.files.list.iter().chain(&self.environment.list)
    }
}
