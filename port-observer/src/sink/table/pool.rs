//! Lines about declared pools of ports.

use std::io::{self, Write};

use super::{
    Row, Table,
    colors::{level_style, style},
};
use crate::{
    event::Endpoint,
    report::{PoolEvent, PoolReport, Report},
    words::{pools, refusals::Place, sentences},
};

impl<W: Write> Table<W> {
    pub(super) fn pool_line(&mut self, report: &Report, of: &PoolReport) -> io::Result<()> {
        let address =
            |endpoint: Option<Endpoint>| endpoint.map_or("-".to_owned(), |e| e.to_string());
        let port = of.port();
        let event = report.body.event_type();
        let home = self.options.home_netns.unwrap_or_default();
        self.row(Row {
            time_ns: report.time_ns,
            event,
            style: match of.event {
                PoolEvent::Threshold { level } => level_style(level),
                _ => style(event),
            },
            netns: port.map(|port| port.netns).or(of.pool.netns).unwrap_or(home),
            protocol: port.map(|port| port.protocol),
            local: address(port.and_then(|port| port.local)),
            remote: address(port.and_then(|port| port.remote)),
            process: report.body.caller().map(|caller| caller.process.as_ref()),
            detail: sentences::detail(&report.body, Place::Here),
        })?;
        match pools::fix(of) {
            Some(fix) if self.told.is_change_due(fix.clone(), report.time_ns) => {
                self.below(vec![fix])
            }
            _ => Ok(()),
        }
    }
}
