//! What a running `serve` answers.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::ask::Remote;
use crate::check::{Query, Status};
use crate::config::{CheckConfig, Format};
use crate::kernel::rights::as_caller;
use crate::serve::guard::Tokens;
use crate::words::escape::escape;

/// A `serve` that is asked.
pub(super) struct Serve<'a> {
    remote: &'a Remote,
    token: Option<String>,
}

impl<'a> Serve<'a> {
    /// The one that is configured, if one is.
    ///
    /// # Errors
    /// When its token can't be read.
    pub(super) fn of(config: &'a CheckConfig) -> Result<Option<Self>> {
        let Some(remote) = &config.from else { return Ok(None) };
        let token =
            config.token.clone().map(|path| as_caller(|| Tokens::read(path))).transpose()?;
        Ok(Some(Self { remote, token: token.map(|tokens| tokens.first()) }))
    }

    /// Its answer, as a line.
    ///
    /// # Errors
    /// When there is none that makes sense.
    pub(super) async fn check(&self, config: &CheckConfig) -> Result<(Status, String)> {
        let query = Query::new(&config.terms, &config.netns, config.all_netns);
        let query = serde_urlencoded::to_string(query).context("can't write the query")?;
        let accept = match config.format {
            Format::Json => "application/json",
            Format::Table => "text/plain",
        };
        let path = format!("/check?{query}");
        let answer = self.remote.get(&path, accept, self.token.as_deref()).await?;
        let line = answer.strip_suffix('\n').unwrap_or(&answer);
        let status = match config.format {
            Format::Json => status_of_object(line),
            Format::Table => status_of_line(line),
        };
        let status = status.with_context(|| format!("{} does not answer a check", self.remote))?;
        Ok((status, escape(line).into_owned()))
    }
}

fn status_of_object(line: &str) -> Option<Status> {
    #[derive(Deserialize)]
    struct Object {
        status: String,
    }
    let object: Object = serde_json::from_str(line).ok()?;
    Status::ALL.into_iter().find(|status| status.name() == object.status)
}

fn status_of_line(line: &str) -> Option<Status> {
    let name = line.strip_prefix("PORTS ")?.split(' ').next()?;
    Status::ALL.into_iter().find(|status| status.name().to_uppercase() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_off_either_form() {
        assert_eq!(status_of_line("PORTS CRITICAL - 99% | used=1"), Some(Status::Critical));
        assert_eq!(
            status_of_object("{\"status\":\"warning\",\"usedPorts\":1}"),
            Some(Status::Warning)
        );
        for junk in ["", "PORTS", "PORTS FINE - x", "<html>", "PORTS ok - x"] {
            assert_eq!(status_of_line(junk), None, "{junk}");
        }
        for junk in ["", "{}", "{\"status\":\"fine\"}", "[]", "{\"status\":\"ok\"} more"] {
            assert_eq!(status_of_object(junk), None, "{junk}");
        }
    }
}
