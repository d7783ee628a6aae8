//! The text formats of metrics: Prometheus 0.0.4 and OpenMetrics 1.0.0.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>. They differ in how a counter's family is
//! called (without `_total` in OpenMetrics), in what a help text escapes, and in the last line.

use std::fmt::{self, Write as _};

use super::{Family, Kind, Sample};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What every version of Prometheus and node_exporter's textfile collector read.
    Plain,
    /// OpenMetrics.
    OpenMetrics,
}

impl Format {
    /// The one that an `Accept` header prefers; [`Format::Plain`] where it names neither.
    pub fn accepted(header: &str) -> Self {
        let mut best = (0.0, Self::Plain);
        for range in header.split(',').take(32) {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next() {
                Some("application/openmetrics-text") => Self::OpenMetrics,
                Some("text/plain" | "text/*" | "*/*") => Self::Plain,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            let quality = quality.map_or(1.0, |q| q.parse().unwrap_or(0.0));
            if quality > best.0 {
                best = (quality, format);
            }
        }
        best.1
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Families as text.
pub fn write<'a>(families: impl IntoIterator<Item = &'a Family>, format: Format) -> String {
    let mut out = String::with_capacity(32 << 10);
    for family in families {
        // Writing to a string can't fail.
        let _ = write_family(&mut out, family, format);
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn write_family(out: &mut String, family: &Family, format: Format) -> fmt::Result {
    let Family { name, kind, help, samples } = family;
    let kind_name = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let family_name = match format {
        Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        Format::Plain => name,
    };
    writeln!(out, "# HELP {family_name} {help}")?;
    writeln!(out, "# TYPE {family_name} {kind_name}")?;
    for sample in samples {
        let Sample { suffix, labels, value } = sample;
        write!(out, "{name}{suffix}")?;
        for (at, (label, text)) in labels.iter().enumerate() {
            let begins = if at == 0 { '{' } else { ',' };
            write!(out, "{begins}{label}=\"")?;
            write_escaped(out, text);
            out.push('"');
        }
        if !labels.is_empty() {
            out.push('}');
        }
        writeln!(out, " {}", Value(*value))?;
    }
    Ok(())
}

/// A label's value: both formats escape the same, and nothing else of a text can leave its quotes.
fn write_escaped(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str(r"\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(character),
        }
    }
}

struct Value(f64);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value == f64::INFINITY => f.write_str("+Inf"),
            value if value == f64::NEG_INFINITY => f.write_str("-Inf"),
            value => write!(f, "{value}"),
        }
    }
}
