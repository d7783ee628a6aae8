//! Event lines as they happen, as server-sent events.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>. The `id` of a line is `RUN-SEQ`;
//! a client that comes back with the last one it had (`Last-Event-ID`) goes on after it: what is not
//! kept any more comes from the recording, or it is told how many lines it missed.

use std::{convert::Infallible, io::Write as _, time::Duration};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Uri, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream::unfold;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    answer::Fault,
    connection::{Answering, Busy},
    past::{Piece, Wanted},
    query,
    routes::Shared,
};
use crate::filter::Filter;

/// A comment goes out when there was nothing else for so long.
const SILENCE: Duration = Duration::from_secs(15);
/// At most one piece in so long: many clients then cost few writes.
const PACE: Duration = Duration::from_millis(20);

/// `/events`.
pub(super) async fn follow(
    State(shared): State<Shared>,
    Extension(busy): Extension<Busy>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let filter = query::filter(&uri, &shared.journal).map_err(|why| Fault::bad_request(&why))?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let follower = Follower::new(shared, filter, last, busy.begin());
    let content_type = [(header::CONTENT_TYPE, "text/event-stream")];
    let pieces = unfold(follower, |mut follower| async {
        let piece = follower.next().await?;
        Some((Ok::<_, Infallible>(piece), follower))
    });
    Ok((content_type, Body::from_stream(pieces)).into_response())
}

/// How often a client that comes back is brought up to what is kept: meanwhile that goes on.
const CATCHES_UP: u8 = 3;

/// One client, and where it is.
struct Follower {
    shared: Shared,
    filter: Filter,
    news: watch::Receiver<u64>,
    /// The last line that it has, or passed over.
    last: u64,
    /// How often what is not kept may still be looked for in the recording: a client that comes back
    /// gets it, not one that is too slow.
    catches_up: u8,
    again: Option<Again>,
    /// What it is told first.
    greeting: Option<Bytes>,
    paced: Instant,
    has_ended: bool,
    _answering: Answering,
}

impl Follower {
    fn new(shared: Shared, filter: Filter, last_id: Option<&str>, answering: Answering) -> Self {
        let news = shared.journal.news();
        let newest = shared.journal.last();
        let mut greeting = b": port-observer\nretry: 1000\n\n".to_vec();
        let had =
            last_id.map(|id| id.rsplit_once('-').and_then(|(run, n)| Some((run, n.parse().ok()?))));
        let (last, other_run) = match had {
            None => (newest, None),
            Some(Some((run, number))) if run == shared.journal.run() => (newest.min(number), None),
            Some(Some(other)) if shared.past.is_some() => (0, Some(other)),
            Some(_) => {
                write_lost(&mut greeting, None);
                (newest, None)
            }
        };
        let mut follower = Self {
            shared,
            filter,
            news,
            last,
            catches_up: if last_id.is_some() { CATCHES_UP } else { 0 },
            again: None,
            greeting: Some(greeting.into()),
            paced: Instant::now(),
            has_ended: false,
            _answering: answering,
        };
        if let Some((run, after)) = other_run {
            follower.look_back(run, after);
        }
        follower
    }

    /// What came after a line of a run is read from the recording, up to what is kept.
    fn look_back(&mut self, run: &str, after: u64) {
        let Some(past) = &self.shared.past else { return };
        let last = self.shared.journal.first() - 1;
        let is_other = run != self.shared.journal.run();
        let (filter, form) = (self.filter.clone(), self.shared.form());
        let wanted = Wanted { run: run.to_owned(), after, last, filter, form };
        let pieces = past.lines(&self.shared.journal, wanted);
        self.again = Some(Again { pieces, last, is_unknown: is_other });
        self.catches_up = self.catches_up.saturating_sub(1);
    }

    /// The next piece of what is read again; `None`: that is all.
    async fn next_of_past(&mut self, silent_at: Instant) -> Option<Bytes> {
        let again = self.again.as_mut()?;
        match timeout_at(silent_at, again.pieces.recv()).await {
            Err(_) => Some(Bytes::from_static(b":\n\n")),
            Ok(Some(Piece { text, last })) => {
                self.last = self.last.max(last);
                again.is_unknown = false;
                Some(text)
            }
            Ok(None) => {
                let (last, is_unknown) = (again.last, again.is_unknown);
                self.again = None;
                let mut lost = Vec::new();
                if is_unknown {
                    write_lost(&mut lost, None);
                    self.last = self.shared.journal.last();
                } else if self.last < last {
                    write_lost(&mut lost, Some(last - self.last));
                    self.last = last;
                }
                Some(lost.into())
            }
        }
    }

    /// The next piece of the stream; `None`: the run is over.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting);
        }
        let silent_at = Instant::now() + SILENCE;
        while !self.has_ended {
            if let Some(text) = self.next_of_past(silent_at).await {
                if text.is_empty() {
                    continue;
                }
                return Some(text);
            }
            sleep_until(self.paced).await;
            // What comes from here on is news.
            self.news.borrow_and_update();
            let page = self.shared.journal.after(self.last, &self.filter, self.shared.form());
            if page.missed > 0 && self.catches_up > 0 && self.shared.past.is_some() {
                let run = self.shared.journal.run().to_owned();
                self.look_back(&run, self.last);
                continue;
            }
            if !page.has_more {
                self.catches_up = 0;
            }
            self.last = page.last;
            self.has_ended = page.is_end;
            let mut text = Vec::new();
            if page.missed > 0 {
                write_lost(&mut text, Some(page.missed));
            }
            text.extend_from_slice(&page.text);
            if !text.is_empty() {
                self.paced = if page.has_more { Instant::now() } else { Instant::now() + PACE };
                return Some(text.into());
            }
            if page.has_more || self.has_ended {
                continue;
            }
            match timeout_at(silent_at, self.news.changed()).await {
                Ok(Ok(())) => self.paced = self.paced.max(Instant::now()),
                // The journal goes with the server.
                Ok(Err(_)) => return None,
                Err(_) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
        None
    }
}

/// What is being read from the recording.
struct Again {
    pieces: mpsc::Receiver<Piece>,
    /// Up to which line of this run.
    last: u64,
    /// Nothing came of it yet, and how much there is is not known.
    is_unknown: bool,
}

/// Says that lines are not kept any more: how many, where that is known.
fn write_lost(out: &mut Vec<u8>, count: Option<u64>) {
    let count = count.map_or(String::new(), |count| format!("\"count\":{count},"));
    // Writing to memory can't fail.
    let _ = write!(
        out,
        "event: lost\ndata: {{\"schema\":1,\"type\":\"lost\",{count}\"where\":\"output\"}}\n\n"
    );
}
