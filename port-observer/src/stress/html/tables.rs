//! The tables of the page.

use serde_json::Value;

use crate::{
    stress::{
        Milestone,
        json::{self, Told},
        text::time,
    },
    words::{escape::escape, figures::rate},
};

/// A table, whose rows have a name first.
pub(super) struct Table {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) caption: &'static str,
    /// Names of columns, and the class of what is in them.
    pub(super) columns: Vec<(&'static str, &'static str)>,
    pub(super) rows: Vec<Row>,
}

pub(super) struct Row {
    pub(super) name: String,
    cells: Vec<String>,
}

impl Table {
    /// The cells of a row, with the class of each.
    pub(super) fn cells<'a>(
        &'a self,
        row: &'a Row,
    ) -> impl Iterator<Item = (&'a String, &'static str)> {
        row.cells.iter().zip(self.columns.iter().skip(1).map(|(_, kind)| *kind))
    }
}

/// What is in a column: numbers, or text.
const NUMBERS: &str = "number";
const TEXT: &str = "text";

/// All that have rows.
pub(super) fn all(told: &Told<'_>) -> Vec<Table> {
    let outcome = told.outcome;
    let tables = [
        milestones(&outcome.milestones),
        mitigations(told),
        hard_limits(told),
        variations(told),
        Table {
            id: "configuration",
            title: "Configuration",
            caption: "What was asked for, and the ephemeral range that there was",
            columns: vec![("Setting", TEXT), ("Value", TEXT)],
            rows: named(&json::configuration(outcome)),
        },
        Table {
            id: "evidence",
            title: "Evidence",
            caption: "What the kernel showed when it was over",
            columns: vec![("Figure", TEXT), ("Value", NUMBERS)],
            rows: named(&json::evidence(outcome)),
        },
    ];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

fn milestones(milestones: &[Milestone]) -> Table {
    let row = |one: &Milestone| {
        let reached = one.seconds.map_or("not reached".to_owned(), |at| format!("{at:.2} s"));
        let known = |text: Option<String>| text.unwrap_or_default();
        Row {
            name: one.connections.to_string(),
            cells: vec![
                reached,
                known(one.rate_per_second.map(rate)),
                known(time(one.connect_p50_seconds)),
                known(time(one.connect_p99_seconds)),
                known(time(one.search_p50_seconds)),
            ],
        }
    };
    let has_search = milestones.iter().any(|one| one.search_p50_seconds.is_some());
    let mut columns = vec![
        ("Connections", TEXT),
        ("After", NUMBERS),
        ("Rate", NUMBERS),
        ("Connect p50", NUMBERS),
        ("Connect p99", NUMBERS),
    ];
    if has_search {
        columns.push(("Search p50", NUMBERS));
    }
    Table {
        id: "milestones",
        title: "Milestones",
        caption: "How long it took to so many connections, and how long each took until then",
        columns,
        rows: milestones.iter().map(row).collect(),
    }
}

fn mitigations(told: &Told<'_>) -> Table {
    let rows = told.mitigations.iter().map(|one| Row {
        name: one.change.clone(),
        cells: vec![
            one.before.to_string(),
            one.after.to_string(),
            if one.proved { "helps" } else { "does not help" }.to_owned(),
            one.limit.name(),
            one.command.as_ref().filter(|_| one.proved).cloned().unwrap_or_default(),
        ],
    });
    Table {
        id: "mitigations",
        title: "Tried against it",
        caption: "Connections without a change and with it, for 10 s at most",
        columns: vec![
            ("Change", TEXT),
            ("Before", NUMBERS),
            ("After", NUMBERS),
            ("Result", TEXT),
            ("Limit then", TEXT),
            ("Command", TEXT),
        ],
        rows: rows.collect(),
    }
}

fn hard_limits(told: &Told<'_>) -> Table {
    let rows = told.hard_limits.iter().map(|one| Row {
        name: one.configuration.clone(),
        cells: vec![one.connections.to_string(), one.limit.name()],
    });
    Table {
        id: "hard-limits",
        title: "What configurations are good for",
        caption: "Connections that stand, and the limit that is met",
        columns: vec![("Configuration", TEXT), ("Stand", NUMBERS), ("Limit", TEXT)],
        rows: rows.collect(),
    }
}

fn variations(told: &Told<'_>) -> Table {
    let rows = told.variations.iter().map(|one| Row {
        name: one.name.clone(),
        cells: vec![one.worked.to_string(), one.refused.to_string(), one.limit.name()],
    });
    Table {
        id: "variations",
        title: "Variations",
        caption: "The same with one thing changed, for 10 s at most",
        columns: vec![
            ("Variation", TEXT),
            ("Worked", NUMBERS),
            ("Refused", NUMBERS),
            ("Limit", TEXT),
        ],
        rows: rows.collect(),
    }
}

/// A row for each figure of an object, and of objects in it.
fn named(value: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    gather(&mut rows, "", value);
    rows
}

fn gather(rows: &mut Vec<Row>, name: &str, value: &Value) {
    let text = match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = format!("{name} {}", field.replace('_', " "));
                gather(rows, name.trim(), value);
            }
            return;
        }
        Value::String(text) => escape(text).into_owned(),
        Value::Bool(is) => if *is { "yes" } else { "no" }.to_owned(),
        other => other.to_string(),
    };
    rows.push(Row { name: name.to_owned(), cells: vec![text] });
}
