//! Logs, to standard error.

use std::io::Write as _;

use env_logger::{Builder, Env, WriteStyle};
use log::LevelFilter;

use crate::{
    cli::{Color, LogLevel},
    notice::Escaped,
};

/// Starts logging. A level on the command line goes before `RUST_LOG`; without either, warnings
/// and errors are logged.
pub fn start(level: Option<LogLevel>, color: Color) {
    let mut builder = match level {
        Some(level) => {
            let mut builder = Builder::new();
            builder.filter_level(filter(level));
            builder
        }
        // aya's warning about RLIMIT_MEMLOCK would say again what our error says.
        None => Builder::from_env(Env::default().default_filter_or("warn,aya::sys=error")),
    };
    if level == Some(LogLevel::Debug) {
        // The loader tells of every relocation; --log-level trace shows that too.
        builder.filter_module("aya_obj", LevelFilter::Info);
    }
    builder.write_style(match color {
        Color::Auto => WriteStyle::Auto,
        Color::Always => WriteStyle::Always,
        Color::Never => WriteStyle::Never,
    });
    builder.format(|out, record| {
        let (level, target) = (record.level(), record.target());
        let (style, time) = (out.default_level_style(level), out.timestamp_seconds());
        let text = Escaped(record.args());
        writeln!(out, "[{time} {style}{level:<5}{style:#} {target}] {text}")
    });
    // A second start, as tests in one process make, keeps the first.
    let _ = builder.try_init();
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Trace => LevelFilter::Trace,
    }
}
