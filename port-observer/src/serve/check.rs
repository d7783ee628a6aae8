//! `/check`: how much of the ports is used, judged by thresholds, as `check` does.

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};

use super::{
    answer::{self, Fault},
    question::Question,
    routes::Shared,
};
use crate::{
    check::{self, json, text},
    filter::PortRange,
    ports,
};

/// The object of `check --json`, or the line of a plugin for whoever accepts plain text.
pub(super) async fn check(
    State(shared): State<Shared>,
    query: Result<Query<check::Query>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|error| Fault::bad_request(&error.body_text()))?;
    let range = |text: &str| {
        let (min, max) = text.parse::<PortRange>()?.ends();
        Ok(ports::PortRange { min, max })
    };
    let terms = query.terms(range).map_err(|error| Fault::bad_request(&error))?;
    let namespaces = (!query.all_netns).then(|| query.namespaces().map(str::to_owned).collect());
    let question = |answer| Question::Check { terms, namespaces, answer };
    let found = shared.ask(question).await?;
    let accept = answer::accepted(&headers);
    if accept.is_some_and(|accept| accept.starts_with("text/plain")) {
        let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        return Ok((content_type, text::render(&found) + "\n").into_response());
    }
    let body = json::render(&found).map_err(|error| Fault::internal(&error))?;
    Ok(answer::json(body + "\n"))
}
