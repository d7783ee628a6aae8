//! Colours. Nothing is told by colour alone.

use anstyle::{AnsiColor, Style};

use crate::report::{EventType, Level};

/// Of the name of an event.
pub(super) fn style(event: EventType) -> Style {
    match event {
        EventType::Acquire => AnsiColor::Green.on_default(),
        EventType::TimeWait => AnsiColor::Yellow.on_default(),
        EventType::Release => AnsiColor::Cyan.on_default(),
        EventType::Exhausted | EventType::PoolExhausted => AnsiColor::Red.on_default().bold(),
        EventType::Conflict
        | EventType::Refused
        | EventType::PoolWrongRange
        | EventType::PoolTaken => AnsiColor::Magenta.on_default().bold(),
        EventType::Lost => AnsiColor::Red.on_default().bold().invert(),
        EventType::State => AnsiColor::Blue.on_default(),
        EventType::Threshold | EventType::PoolThreshold => AnsiColor::Yellow.on_default().bold(),
        EventType::Existing | EventType::Summary | EventType::Start | EventType::Stop => {
            Style::new()
        }
    }
}

/// Of a threshold's.
pub(super) fn level_style(level: Level) -> Style {
    match level {
        Level::Ok => AnsiColor::Green.on_default(),
        Level::Warning => AnsiColor::Yellow.on_default().bold(),
        Level::Critical => AnsiColor::Red.on_default().bold(),
    }
}
