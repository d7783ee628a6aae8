//! What the commands of `pools` work with.

use std::path::PathBuf;

use super::Format;
use crate::cli;

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
        Self {
            files: args.of.files,
            is_strict: args.strict,
            format: if args.json { Format::Json } else { Format::Table },
        }
    }
}

/// What `pools show` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolsShowConfig {
    /// What is read; empty: what lies in the current directory.
    pub files: Vec<PathBuf>,
    /// How it is printed.
    pub format: Format,
}

impl PoolsShowConfig {
    /// Resolves the arguments.
    pub fn resolve(args: cli::PoolsShowArgs) -> Self {
        let format = if args.json { Format::Json } else { Format::Table };
        Self { files: args.of.files, format }
    }
}
