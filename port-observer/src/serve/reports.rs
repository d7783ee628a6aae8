//! `/report`: what happened, from the recording that is kept beside.

use std::{fmt, sync::Arc};

use anyhow::Result;
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{
    answer::{self, Fault},
    history::History,
    routes::Shared,
};
use crate::recording::Moment;

/// What a report is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asked {
    /// What was before is left out.
    pub from: Option<Moment>,
    /// What was after is left out.
    pub to: Option<Moment>,
    /// As a page, not as JSON.
    pub is_page: bool,
}

/// A report.
#[derive(Debug)]
pub struct Written {
    /// The page, or the JSON.
    pub body: Vec<u8>,
    /// What the page may do (Content-Security-Policy).
    pub policy: Option<String>,
}

/// Writes a report. It may take minutes, and is called on a thread of its own.
type Write = dyn Fn(Asked) -> Result<Written> + Send + Sync;

/// Who writes reports: one at a time, for reading a recording takes a processor.
#[derive(Clone)]
pub struct Reports {
    write: Arc<Write>,
    turn: Arc<Semaphore>,
    /// Who reads the last day.
    pub(super) history: History,
}

/// Whether a recording may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Readable {
    /// It may.
    Yes,
    /// There is none.
    NothingRecorded,
    /// Not by this listener's clients.
    Withheld,
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports").finish_non_exhaustive()
    }
}

impl Reports {
    /// By these.
    pub fn by(
        write: impl Fn(Asked) -> Result<Written> + Send + Sync + 'static,
        history: History,
    ) -> Self {
        Self { write: Arc::new(write), turn: Arc::new(Semaphore::new(1)), history }
    }
}

impl Shared {
    /// Who reads the recording, if it may be read here.
    pub(super) fn readable_reports(&self) -> Result<Reports, Fault> {
        match (self.readable(), &self.reports) {
            (Readable::Yes, Some(reports)) => Ok(reports.clone()),
            (Readable::Withheld, _) => {
                let advice = "a recording has command lines, which others of this host are not to read: \
                              ask on a Unix socket, or start `serve` with --token FILE";
                Err(Fault::new(StatusCode::FORBIDDEN, advice))
            }
            (Readable::NothingRecorded | Readable::Yes, _) => {
                let advice = "nothing is recorded: start `serve` with --record FILE";
                Err(Fault::new(StatusCode::NOT_FOUND, advice))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    from: Option<String>,
    to: Option<String>,
}

/// A page for whoever accepts HTML, else the JSON of `report --json`.
pub(super) async fn report(
    State(shared): State<Shared>,
    query: Result<Query<Window>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let Query(Window { from, to }) = query.map_err(|e| Fault::bad_request(&e.body_text()))?;
    let Reports { write, turn, .. } = shared.readable_reports()?;
    let moment = |name: &str, text: Option<String>| -> Result<Option<Moment>, Fault> {
        let read = |text: String| {
            text.parse()
                .map_err(|error: String| Fault::bad_request(&format!("{name}={text}: {error}")))
        };
        text.map(read).transpose()
    };
    let accept = answer::accepted(&headers);
    let is_page = accept.is_some_and(|accept| accept.contains("text/html"));
    let asked = Asked { from: moment("from", from)?, to: moment("to", to)?, is_page };
    // Given back when the report is written, also if nobody waits for it any more.
    let turn = turn.try_acquire_owned().map_err(|_| {
        Fault::unavailable("another report is being written: ask again in a moment")
    })?;
    let writing = spawn_blocking(move || {
        let _turn = turn;
        write(asked)
    });
    let written = writing.await.map_err(|error| Fault::internal(&error))?;
    let Written { body, policy } =
        written.map_err(|error| Fault::internal(&format!("{error:#}")))?;
    let content_type = if is_page { "text/html; charset=utf-8" } else { "application/json" };
    let mut response = ([(header::CONTENT_TYPE, content_type)], body).into_response();
    if let Some(policy) = policy {
        let policy = HeaderValue::try_from(policy).map_err(|error| Fault::internal(&error))?;
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Ok(response)
}
