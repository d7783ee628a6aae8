//! What can be asked, and where.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde::Deserialize;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    answer::{self, Fault},
    check, events,
    guard::Guard,
    history,
    journal::{Form, Journal},
    map, page,
    past::Past,
    pools::{self, Pools},
    question::Question,
    reports::{self, Readable, Reports},
};
use crate::metrics::text::{self, Format};

/// How long the observer may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the handlers of one listener share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) guard: Guard,
    pub(super) journal: Arc<Journal>,
    pub(super) questions: mpsc::Sender<Question>,
    pub(super) reports: Option<Reports>,
    pub(super) past: Option<Past>,
    pub(super) pools: Option<Pools>,
}

impl Shared {
    /// In which form lines are read here.
    pub(super) fn form(&self) -> Form {
        if self.guard.is_trusted() { Form::Whole } else { Form::Reduced }
    }

    /// Whether the recording may be read here.
    pub(super) fn readable(&self) -> Readable {
        match (&self.reports, self.form()) {
            (None, _) => Readable::NothingRecorded,
            (Some(_), Form::Reduced) => Readable::Withheld,
            (Some(_), Form::Whole) => Readable::Yes,
        }
    }

    /// Asks the observer.
    pub(super) async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let busy = |_| Fault::unavailable("the observer is busy: ask again in a moment");
        self.questions.try_send(question(answer)).map_err(busy)?;
        match timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => {
                Err(Fault::unavailable("the observer is busy, or ends: ask again in a moment"))
            }
            Err(_) => Err(Fault::unavailable("the observer did not answer in time: ask again")),
        }
    }
}

/// Everything that one listener answers.
pub(super) fn router(shared: Shared) -> Router {
    let guarded = Router::new()
        .merge(page::routes())
        .merge(pools::routes())
        .route("/metrics", get(metrics))
        .route("/snapshot", get(snapshot))
        .route("/map", get(map::map))
        .route("/check", get(check::check))
        .route("/report", get(reports::report))
        .route("/history", get(history::history))
        .route("/events", get(events::follow))
        .layer(middleware::from_fn_with_state(shared.clone(), guard));
    Router::new()
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .route("/-/healthy", get(alive))
        .route("/-/ready", get(ready))
        .merge(guarded)
        .fallback(nothing)
        .layer(middleware::map_response(harden))
        .with_state(shared)
}

async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    match shared.guard.check(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let mut response = Fault::new(refusal.status, refusal.advice).into_response();
            if refusal.status == StatusCode::UNAUTHORIZED {
                // The second makes a browser ask for it.
                for scheme in ["Bearer", "Basic realm=\"port-observer\", charset=\"UTF-8\""] {
                    let scheme = HeaderValue::from_static(scheme);
                    response.headers_mut().append(header::WWW_AUTHENTICATE, scheme);
                }
            }
            response
        }
    }
}

/// Nothing of an answer is kept, guessed at, framed, or loads anything from elsewhere. What has a policy of
/// its own keeps it.
async fn harden(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' \
             data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn nothing() -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "there is nothing here; / lists what there is")
}

async fn alive() -> &'static str {
    "alive\n"
}

/// The observer answers.
async fn ready(State(shared): State<Shared>) -> Result<&'static str, Fault> {
    shared.ask(Question::Ready).await?;
    Ok("ready\n")
}

async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, Fault> {
    let families = shared.ask(Question::Metrics).await?;
    let accept = answer::accepted(&headers);
    let format = accept.map_or(Format::Plain, Format::accepted);
    let content_type = [(header::CONTENT_TYPE, format.content_type())];
    Ok((content_type, text::write(&families, format)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Top {
    top: Option<u16>,
}

async fn snapshot(
    State(shared): State<Shared>,
    query: Result<Query<Top>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Fault> {
    let Query(Top { top }) = query.map_err(|error| Fault::bad_request(&error.body_text()))?;
    let top = usize::from(top.unwrap_or(10)).max(1);
    let (snapshot, offset_ns) = shared.ask(|answer| Question::Snapshot { top, answer }).await?;
    answer::snapshot(&snapshot, offset_ns, shared.form())
}
