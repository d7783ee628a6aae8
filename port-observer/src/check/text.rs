//! The answer as a monitoring plugin's line (Monitoring Plugins Development Guidelines).

use super::{Answer, Finding, Status, Terms};
use crate::words::escape::escape;

/// One line, without its end: the status, what it is about, and performance data.
pub fn render(answer: &Answer) -> String {
    let mut text = answer.message();
    let missing = answer.findings.first().map_or(&[][..], |worst| &worst.missing);
    if !missing.is_empty() {
        text.push_str(&format!(" [not seen: {}]", missing.join("; ")));
    }
    let data = answer.findings.first().map(|worst| data(worst, &answer.terms));
    line(answer.status(), &text, data.as_deref())
}

/// Of what could not even be begun.
pub fn unknown(reason: &str) -> String {
    line(Status::Unknown, reason, None)
}

/// A line with something about it behind its text.
pub fn with_note(line: &str, note: &str) -> String {
    let note = escape(note).replace('|', "/");
    match line.split_once(" | ") {
        Some((text, data)) => format!("{text} [{note}] | {data}"),
        None => format!("{line} [{note}]"),
    }
}

fn line(status: Status, text: &str, data: Option<&str>) -> String {
    // What follows the first bar is performance data.
    let text = escape(text).replace('|', "/");
    let data = data.map_or_else(String::new, |data| format!(" | {data}"));
    format!("PORTS {} - {text}{data}", status.name().to_uppercase())
}

/// `label=value;warning;critical;minimum;maximum` for each; the thresholds where they are compared.
fn data(finding: &Finding, terms: &Terms) -> String {
    let total = finding.total();
    let of_range = |label: &str, value: u32, is_compared: bool| {
        let limits = if is_compared {
            let Terms { warning, critical, .. } = terms;
            format!("{};{}", warning.in_ports(total), critical.in_ports(total))
        } else {
            ";".to_owned()
        };
        format!("{label}={value};{limits};0;{total}")
    };
    let mut data = vec![of_range("used", finding.tally.used(), !terms.per_destination)];
    if let Some(found) = finding.busiest() {
        data.push(of_range("busiest", found.used, terms.per_destination));
    }
    data.push(format!("connections={};;;0", finding.tally.sockets()));
    data.push(format!("time_wait={};;;0", finding.tally.time_waits()));
    data.join(" ")
}
