//! Answers that need no stream.

use std::fmt;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::journal::Form;
use crate::{report::Snapshot, sink};

/// Why there is no answer, as JSON.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    status: StatusCode,
    advice: String,
}

impl Fault {
    pub(super) fn new(status: StatusCode, advice: &str) -> Self {
        Self { status, advice: advice.to_owned() }
    }

    pub(super) fn internal(error: &dyn fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
    }

    pub(super) fn unavailable(advice: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, advice)
    }

    pub(super) fn bad_request(advice: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, advice)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let body = format!("{}\n", json!({ "error": self.advice }));
        (self.status, json(body)).into_response()
    }
}

/// What media types a client takes, as it writes them.
pub(super) fn accepted(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok())
}

/// JSON that is written already.
pub(super) fn json(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

/// The state of everything, as `snapshot --json` has it.
pub(super) fn snapshot(snapshot: &Snapshot, offset_ns: i64, form: Form) -> Result<Response, Fault> {
    let mut body = Vec::new();
    let written = match form {
        Form::Whole => sink::json::snapshot::write(&mut body, snapshot, offset_ns),
        Form::Reduced => sink::json::snapshot::write_reduced(&mut body, snapshot, offset_ns),
    };
    written.map_err(|error| Fault::internal(&error))?;
    Ok(json(body))
}
