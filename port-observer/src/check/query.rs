//! A check as it is asked of a running `serve`: `/check?per_destination=true&warning=60`.

use serde::{Deserialize, Serialize};

use super::{Terms, Threshold};
use crate::event::Protocol;
use crate::ports::PortRange;

/// The options of `check`, as the query of an address has them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// When to warn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// When it is critical.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical: Option<String>,
    /// `tcp` or `udp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// An application's own range: `21000-31000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// Names or inode numbers of network namespaces, separated by commas; none: that of `serve`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// All network namespaces that are watched.
    #[serde(skip_serializing_if = "is_false")]
    pub all_netns: bool,
    /// The thresholds are for the busiest destination.
    #[serde(skip_serializing_if = "is_false")]
    pub per_destination: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Query {
    /// The query that asks for these terms in these namespaces.
    pub fn new(terms: &Terms, netns: &[String], all_netns: bool) -> Self {
        let Terms { protocol, range, warning, critical, per_destination } = *terms;
        Self {
            warning: Some(warning.to_string()),
            critical: Some(critical.to_string()),
            protocol: Some(protocol.name().to_owned()),
            range: range.map(|PortRange { min, max }| format!("{min}-{max}")),
            netns: (!netns.is_empty()).then(|| netns.join(",")),
            all_netns,
            per_destination,
        }
    }

    /// What it asks for. `read_range` reads a range as an option has it.
    ///
    /// # Errors
    /// What is wrong with it, for whoever asked.
    pub fn terms(
        &self,
        read_range: impl Fn(&str) -> Result<PortRange, String>,
    ) -> Result<Terms, String> {
        let threshold = |name: &str, given: &Option<String>, usual: Threshold| match given {
            None => Ok(usual),
            Some(text) => text.parse().map_err(|error| format!("{name}={text}: {error}")),
        };
        let protocol = match self.protocol.as_deref() {
            None | Some("tcp") => Protocol::Tcp,
            Some("udp") => Protocol::Udp,
            Some(other) => return Err(format!("protocol={other}: there are tcp, udp")),
        };
        let range = self
            .range
            .as_deref()
            .map(|text| read_range(text).map_err(|error| format!("range={text}: {error}")));
        if self.all_netns && self.netns.is_some() {
            return Err("netns and all_netns exclude each other".to_owned());
        }
        let terms = Terms {
            protocol,
            range: range.transpose()?,
            warning: threshold("warning", &self.warning, Threshold::WARNING)?,
            critical: threshold("critical", &self.critical, Threshold::CRITICAL)?,
            per_destination: self.per_destination,
        };
        terms.check()?;
        Ok(terms)
    }

    /// The namespaces that it names.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.netns.iter().flat_map(|names| names.split(','))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Result<PortRange, String> {
        let (min, max) = text.split_once('-').ok_or("no range")?;
        let port = |text: &str| text.parse().map_err(|_| "no port".to_owned());
        Ok(PortRange { min: port(min)?, max: port(max)? })
    }

    #[test]
    fn what_is_asked_is_what_is_answered() {
        let terms = Terms {
            protocol: Protocol::Tcp,
            range: Some(PortRange { min: 21_000, max: 31_000 }),
            warning: Threshold::Range { start: 10.0, end: 70.5, inside: true },
            critical: Threshold::Percent(85.0),
            per_destination: true,
        };
        let query = Query::new(&terms, &["blue".to_owned(), "42".to_owned()], false);
        assert_eq!(query.terms(range), Ok(terms));
        assert_eq!(query.namespaces().collect::<Vec<_>>(), ["blue", "42"]);
        let usual = Query::default().terms(range).unwrap();
        assert_eq!(usual.warning, Threshold::Percent(70.0));
        assert_eq!(Query::default().namespaces().count(), 0);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let text = |text: &str| Some(text.to_owned());
        for (query, word) in [
            (Query { warning: text("x"), ..Query::default() }, "warning=x"),
            (Query { warning: text("90"), ..Query::default() }, "must be below"),
            (Query { protocol: text("sctp"), ..Query::default() }, "tcp, udp"),
            (Query { range: text("9"), ..Query::default() }, "range=9"),
            (Query { netns: text("1"), all_netns: true, ..Query::default() }, "exclude"),
        ] {
            let error = query.terms(range).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
