//! The page at `/`: what `top` shows, as pictures. It asks `/snapshot` and `/top` once a second, and
//! `/events` says when to ask at once.
//!
//! The policy of all answers lets it run and load only what is served here, so that script and style
//! are files of their own. What others chose is only ever set as text.

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde::Serialize;

use super::{
    answer::{self, Fault},
    question::Question,
    reports::Readable,
    routes::Shared,
    top::Top,
};

const PAGE: &str = include_str!("page/page.html");
/// The pictures are those of `report --html`.
const SCRIPT: &str = concat!(
    "\"use strict\";\n",
    include_str!("page/zone.js"),
    include_str!("../document/elements.js"),
    include_str!("../forensics/html/data.js"),
    include_str!("../forensics/html/chart.js"),
    include_str!("../forensics/html/legend.js"),
    include_str!("page/samples.js"),
    include_str!("page/picture.js"),
    include_str!("page/tables.js"),
    include_str!("page/failures.js"),
    include_str!("page/cells.js"),
    include_str!("page/map.js"),
    include_str!("page/day.js"),
    include_str!("page/live.js"),
);
const STYLE: &str = concat!(
    include_str!("../../vendor/uplot/uPlot.min.css"),
    "\n",
    include_str!("../document/style.css"),
    include_str!("page/page.css"),
);
const UPLOT: &str = concat!(
    "/*\n",
    include_str!("../../vendor/uplot/LICENSE"),
    "*/\n",
    include_str!("../../vendor/uplot/uPlot.iife.min.js"),
);

/// The page, what it loads, and what it asks beside `/snapshot` and `/events`.
pub(super) fn routes() -> Router<Shared> {
    const SCRIPT_TYPE: &str = "text/javascript; charset=utf-8";
    Router::new()
        .route("/", get(|| async { file("text/html; charset=utf-8", PAGE) }))
        .route("/page.js", get(|| async { file(SCRIPT_TYPE, SCRIPT) }))
        .route("/page.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
        .route("/uplot.js", get(|| async { file(SCRIPT_TYPE, UPLOT) }))
        .route("/top", get(top))
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

/// With the run, which tells numbers of failures from those of others.
#[derive(Serialize)]
struct Answer<'a> {
    schema: u32,
    run: &'a str,
    /// Whether `/history` and `/report` are to be had here.
    recording: Readable,
    #[serde(flatten)]
    top: &'a Top,
}

async fn top(State(shared): State<Shared>) -> Result<Response, Fault> {
    let top = shared.ask(Question::Top).await?;
    let told =
        Answer { schema: 1, run: shared.journal.run(), recording: shared.readable(), top: &top };
    let json = serde_json::to_vec(&told).map_err(|error| Fault::internal(&error))?;
    Ok(answer::json(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_script_or_style_that_its_policy_forbids() {
        let lower = PAGE.to_lowercase();
        assert_eq!(lower.matches("<script").count(), lower.matches("<script src=").count());
        for forbidden in
            ["<style", " style=", " onclick", " onload", "http:", "https:", "javascript:"]
        {
            assert!(!lower.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn texts_of_others_are_never_read_as_html() {
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
        {
            assert!(!SCRIPT.contains(forbidden), "{forbidden}");
        }
    }
}
