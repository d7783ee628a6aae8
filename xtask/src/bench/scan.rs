//! What one look at all sockets takes, as text.

use serde_json::Value;

use super::render::{Table, begins, items, number};

/// `check` next to what is used instead.
pub(super) fn render(text: &mut String, part: &Value) {
    let what = "check against `ss -tanH | wc -l` (medians; ratios of pairs)";
    if !begins(text, what, part) {
        return;
    }
    let head = ["sockets", "", "ms", "ratio", "(least, most)", "CPU ms", "ratio"];
    let mut table = Table::new(&head);
    let arms = [
        ("base", "ss | wc"),
        ("awk", "awk over /proc/net/tcp"),
        ("check", "check"),
        ("unprivileged", "check, unprivileged"),
    ];
    for size in items(&part["sizes"]) {
        for (arm, name) in arms {
            table.row(row(&size["sockets"].to_string(), name, &size[arm]));
        }
    }
    *text += &table.text();
    let processes = &part["processes"];
    if processes.is_null() {
        return;
    }
    *text += "\nwith processes, at 60,000 sockets of 120 processes\n";
    let mut table = Table::new(&head);
    for (arm, name) in [("base", "ss -p | wc"), ("check", "check --json")] {
        table.row(row("60000", name, &processes[arm]));
    }
    *text += &table.text();
}

fn row(sockets: &str, name: &str, took: &Value) -> Vec<String> {
    let spread = &took["wall"];
    vec![
        sockets.to_owned(),
        name.to_owned(),
        format!("{:.1}", number(&took["wall_ms"])),
        format!("{:.3}", number(&spread["median"])),
        format!("({:.3}, {:.3})", number(&spread["min"]), number(&spread["max"])),
        format!("{:.1}", number(&took["cpu_ms"])),
        format!("{:.3}", number(&took["cpu"]["median"])),
    ]
}
