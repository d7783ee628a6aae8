//! What the commands of `pools` work with.

use std::{env, ffi::OsString, path::PathBuf, time::Duration};

use anyhow::{Result, bail};

use super::{Format, Lines, LiveConfig, Output, Target};
use crate::{cli, filter::Filter, kernel::rights::is_root, leases::Origin, report::EventType};

/// What `pools check` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolsCheckConfig {
    /// What is read; empty: what lies in the current directory.
    pub files: Vec<PathBuf>,
    /// Whether a warning fails too.
    pub is_strict: bool,
    /// How it is printed.
    pub format: Format,
}

impl PoolsCheckConfig {
    /// Resolves the arguments.
    pub fn resolve(args: cli::PoolsCheckArgs) -> Self {
        Self { files: args.of.files, is_strict: args.strict, format: format(args.json) }
    }
}

/// What `pools show` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolsShowConfig {
    /// What is read; empty: what lies in the current directory.
    pub files: Vec<PathBuf>,
    /// Where leases are, if that can be said.
    pub state: Option<PathBuf>,
    /// How it is printed.
    pub format: Format,
}

impl PoolsShowConfig {
    /// Resolves the arguments.
    pub fn resolve(args: cli::PoolsShowArgs) -> Self {
        let format = format(args.json);
        Self { files: args.of.files, state: state(args.leases).ok(), format }
    }
}

/// What `pools watch` does: what `live` does, of pools alone.
pub fn watch(args: cli::PoolsWatchArgs, color: cli::Color) -> LiveConfig {
    let mut lines = Lines {
        count: args.count,
        warning: args.thresholds.warning,
        critical: args.thresholds.critical,
        max_holdings: args.limit.max_holdings.get(),
        filter: Filter {
            events: [EventType::Start, EventType::Lost, EventType::Stop]
                .into_iter()
                .chain(EventType::OF_POOLS)
                .collect(),
            ..Filter::default()
        },
        closing: false,
        ..Lines::everything(Output::resolve(args.json, color))
    };
    lines.write_to(args.output.map_or(Target::StandardOutput, Target::File), color);
    LiveConfig {
        backend: args.observe.backend.0,
        duration: args.duration,
        states: false,
        buffer_size: args.observe.buffer_size,
        recording: None,
        is_silent: false,
        program: None,
        pools: Some(args.of.files),
        lines,
    }
}

/// What `pools lease` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolsLeaseConfig {
    /// Of which pool, or of the pools of which group.
    pub of: Origin,
    /// Whose the ports are to be.
    pub owner: String,
    /// How many units.
    pub units: u32,
    /// For how long; `None`: until they are given back.
    pub ttl: Option<Duration>,
    /// What tells a second try from a second lease.
    pub key: Option<String>,
    /// What is read; empty: what lies in the current directory.
    pub files: Vec<PathBuf>,
    /// Where leases are.
    pub state: PathBuf,
    /// How it is printed.
    pub format: Format,
}

/// The pools that `serve` answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedPools {
    /// What is read each time.
    pub files: Vec<PathBuf>,
    /// Where leases are.
    pub state: PathBuf,
}

impl ServedPools {
    /// Resolves the arguments; `None`: no pools are named.
    ///
    /// # Errors
    /// When there is no place for leases.
    pub(super) fn resolve(files: Vec<PathBuf>, args: cli::StateArg) -> Result<Option<Self>> {
        match files.is_empty() {
            true => Ok(None),
            false => Ok(Some(Self { files, state: state(args)? })),
        }
    }
}

impl PoolsLeaseConfig {
    /// Resolves the arguments.
    ///
    /// # Errors
    /// When there is no place for leases.
    pub fn resolve(args: cli::PoolsLeaseArgs) -> Result<Self> {
        Ok(Self {
            of: match (args.name, args.group) {
                (_, Some(group)) => Origin::Group(group),
                (name, None) => Origin::Pool(name.unwrap_or_default()),
            },
            owner: args.owner,
            units: args.units,
            ttl: args.ttl,
            key: args.key,
            files: args.files,
            state: state(args.of)?,
            format: format(args.json),
        })
    }
}

/// What `pools renew` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolsRenewConfig {
    /// Which lease.
    pub id: i64,
    /// For how long; `None`: as before.
    pub ttl: Option<Duration>,
    /// Where leases are.
    pub state: PathBuf,
    /// How it is printed.
    pub format: Format,
}

impl PoolsRenewConfig {
    /// Resolves the arguments.
    ///
    /// # Errors
    /// When there is no place for leases.
    pub fn resolve(args: cli::PoolsRenewArgs) -> Result<Self> {
        let (state, format) = (state(args.of)?, format(args.json));
        Ok(Self { id: args.id, ttl: args.ttl, state, format })
    }
}

/// What `pools release` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolsReleaseConfig {
    /// Which leases.
    pub ids: Vec<i64>,
    /// Where leases are.
    pub state: PathBuf,
}

impl PoolsReleaseConfig {
    /// Resolves the arguments.
    ///
    /// # Errors
    /// When there is no place for leases.
    pub fn resolve(args: cli::PoolsReleaseArgs) -> Result<Self> {
        Ok(Self { ids: args.ids, state: state(args.of)? })
    }
}

/// What `pools leases` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolsLeasesConfig {
    /// What is read; empty: what lies in the current directory, if there is anything.
    pub files: Vec<PathBuf>,
    /// Where leases are.
    pub state: PathBuf,
    /// How it is printed.
    pub format: Format,
}

impl PoolsLeasesConfig {
    /// Resolves the arguments.
    ///
    /// # Errors
    /// When there is no place for leases.
    pub fn resolve(args: cli::PoolsLeasesArgs) -> Result<Self> {
        Ok(Self { files: args.files, state: state(args.of)?, format: format(args.json) })
    }
}

fn format(json: bool) -> Format {
    if json { Format::Json } else { Format::Table }
}

/// The directory that was named, else the one of this user.
pub(super) fn state(args: cli::StateArg) -> Result<PathBuf> {
    let named = args.state.map(Ok);
    named.unwrap_or_else(|| default_state(|name| env::var_os(name), is_root()))
}

fn default_state(variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Result<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    // systemd gives several, with colons between them (systemd.exec(5)).
    let of_service = variable("STATE_DIRECTORY");
    if let Some(path) = of_service.and_then(|all| env::split_paths(&all).next()).and_then(absolute)
    {
        return Ok(path);
    }
    if is_root {
        return Ok(PathBuf::from("/var/lib/port-observer"));
    }
    let of_user = variable("XDG_STATE_HOME").map(PathBuf::from).and_then(absolute);
    let home = || Some(absolute(variable("HOME")?.into())?.join(".local/state"));
    match of_user.or_else(home) {
        Some(path) => Ok(path.join("port-observer")),
        None => {
            bail!("there is no directory for leases: name one with --state, or set XDG_STATE_HOME")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_where_the_service_or_the_user_keeps_what_stays() {
        let of = |set: &[(&str, &str)], is_root| {
            let find = |name: &str| set.iter().find(|(known, _)| *known == name);
            default_state(|name| find(name).map(|(_, value)| OsString::from(value)), is_root)
                .ok()
                .map(|path| path.display().to_string())
        };
        for (set, is_root, expected) in [
            (&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")][..], true, Some("/var/lib/a")),
            (&[("STATE_DIRECTORY", "/var/lib/a")], false, Some("/var/lib/a")),
            (&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")], true, Some("/var/lib/port-observer")),
            (&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")], false, Some("/s/port-observer")),
            (
                &[("XDG_STATE_HOME", "s"), ("HOME", "/h")],
                false,
                Some("/h/.local/state/port-observer"),
            ),
            (&[("HOME", "h")], false, None),
            (&[], false, None),
        ] {
            assert_eq!(of(set, is_root).as_deref(), expected, "{set:?} {is_root}");
        }
    }
}
