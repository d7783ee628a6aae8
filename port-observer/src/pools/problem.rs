//! What is wrong, where, and what to do.

use std::{fmt, sync::Arc};

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, from 1; `None`: the whole file.
    pub line: Option<u32>,
}

impl Place {
    /// A line of a file.
    pub fn new(file: &Arc<str>, line: u32) -> Self {
        Self { file: file.clone(), line: Some(line) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It does not work so.
    Error,
    /// It may not work at times, or is not known.
    Warning,
}

impl Severity {
    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// What kind of problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A range is not `MIN-MAX`.
    InvalidRange,
    /// A file can't be read or makes no sense.
    InvalidFile,
    /// Two pools of one name.
    DuplicateName,
    /// More than is looked at.
    TooMany,
    /// Two pools have the same ports.
    Overlap,
    /// Fewer ports than are needed at once.
    TooSmall,
    /// A container has no range of its own where others have.
    MissingRange,
    /// Ports outside of `PORT_RANGE_HOST`.
    NotCovered,
    /// Files disagree about a variable.
    Mismatch,
    /// A port of a pool is not mapped by the service that owns it.
    NotMapped,
    /// Another service maps it.
    MappedElsewhere,
    /// `ports` of a service make no sense.
    InvalidPorts,
    /// Ports that others are known to want.
    WellKnown,
    /// A mapping without quotes is a number for YAML 1.1.
    Base60,
    /// Many ports are mapped.
    DockerProxy,
    /// Something that brings more was not read.
    NotRead,
    /// Something runs with an old value.
    Stale,
    /// In the ephemeral range and not reserved.
    Ephemeral,
    /// Ports of a pool are held now.
    InUse,
    /// The firewall drops ports of a pool.
    Firewall,
    /// The kernel could not be asked.
    NotChecked,
    /// A variable is not set, or a reference to it makes no sense.
    Interpolation,
}

impl Code {
    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidRange => "invalid_range",
            Self::InvalidFile => "invalid_file",
            Self::DuplicateName => "duplicate_name",
            Self::TooMany => "too_many",
            Self::Overlap => "overlap",
            Self::TooSmall => "too_small",
            Self::MissingRange => "missing_range",
            Self::NotCovered => "not_covered",
            Self::Mismatch => "mismatch",
            Self::NotMapped => "not_mapped",
            Self::MappedElsewhere => "mapped_elsewhere",
            Self::InvalidPorts => "invalid_ports",
            Self::WellKnown => "well_known",
            Self::Base60 => "base_60",
            Self::DockerProxy => "docker_proxy",
            Self::NotRead => "not_read",
            Self::Stale => "stale",
            Self::Ephemeral => "ephemeral",
            Self::InUse => "in_use",
            Self::Firewall => "firewall",
            Self::NotChecked => "not_checked",
            Self::Interpolation => "interpolation",
        }
    }
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What kind it is.
    pub code: Code,
    /// The names of the pools that it is about.
    pub pools: Vec<String>,
    /// What is wrong, and why.
    pub message: String,
    /// Where; `None`: in no file.
    pub place: Option<Place>,
    /// What to do.
    pub fix: Option<String>,
}

impl Problem {
    /// An error.
    pub fn error(code: Code, message: impl Into<String>, place: Place) -> Self {
        Self {
            severity: Severity::Error,
            code,
            pools: Vec::new(),
            message: message.into(),
            place: Some(place),
            fix: None,
        }
    }

    /// A warning.
    pub fn warning(code: Code, message: impl Into<String>, place: Place) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message, place) }
    }

    /// The same, about these pools.
    pub fn of<'a>(mut self, pools: impl IntoIterator<Item = &'a str>) -> Self {
        self.pools = pools.into_iter().map(str::to_owned).collect();
        self
    }

    /// The same, with what to do.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// Problems, bounded.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
    omitted: usize,
    omitted_errors: usize,
}

impl Problems {
    /// More are counted.
    const MOST: usize = 1_000;

    /// Adds one, unless it is known: a file may be read for several services.
    pub fn push(&mut self, problem: Problem) {
        if self.is_full() {
            self.omit(problem.severity);
        } else if !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    /// Whether more are only counted: then they need no words.
    pub fn is_full(&self) -> bool {
        self.list.len() >= Self::MOST
    }

    /// Counts one for which there is no room.
    pub fn omit(&mut self, severity: Severity) {
        self.omitted += 1;
        self.omitted_errors += usize::from(severity == Severity::Error);
    }

    /// Those that are kept, errors first, otherwise as they were found.
    pub fn sorted(&self) -> Vec<&Problem> {
        let mut sorted: Vec<&Problem> = self.list.iter().collect();
        sorted.sort_by_key(|problem| problem.severity);
        sorted
    }

    /// How many more there were.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// How many there were of one kind.
    pub fn count(&self, severity: Severity) -> usize {
        let omitted = match severity {
            Severity::Error => self.omitted_errors,
            Severity::Warning => self.omitted - self.omitted_errors,
        };
        self.list.iter().filter(|problem| problem.severity == severity).count() + omitted
    }
}
