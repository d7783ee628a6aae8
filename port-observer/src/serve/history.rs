//! `/history`: how full it was over the last day, from the recording that is kept beside.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use axum::{extract::State, response::Response};
use tokio::{sync::Mutex, task::spawn_blocking};

use super::{
    answer::{self, Fault},
    routes::Shared,
};

/// Reading may take one part in so many of the time: until then the last answer is given again.
const COST: u32 = 20;

/// Reads it. It may take long, and is called on a thread of its own.
type Read = dyn Fn() -> Result<Vec<u8>> + Send + Sync;

/// Who reads the last day of the recording: once, for all who ask.
#[derive(Clone)]
pub struct History {
    read: Arc<Read>,
    kept: Arc<Mutex<Option<Kept>>>,
}

struct Kept {
    body: Vec<u8>,
    /// Until when it is given.
    until: Instant,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

impl History {
    /// By this function, which hands out JSON.
    pub fn by(read: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), kept: Arc::default() }
    }

    /// The JSON: read now, or kept from before.
    async fn json(self) -> Result<Vec<u8>, Fault> {
        let Self { read, kept } = self;
        // Whoever comes while it is read waits for the same; it is held until it is read, also if nobody
        // waits any more.
        let mut kept = kept.lock_owned().await;
        let reading = spawn_blocking(move || {
            let began = Instant::now();
            if let Some(kept) = kept.as_ref().filter(|kept| began < kept.until) {
                return Ok(kept.body.clone());
            }
            let body = read()?;
            let pause: Duration = began.elapsed() * COST;
            *kept = Some(Kept { body: body.clone(), until: Instant::now() + pause });
            anyhow::Ok(body)
        });
        let body = reading.await.map_err(|error| Fault::internal(&error))?;
        body.map_err(|error| Fault::internal(&format!("{error:#}")))
    }
}

/// The last day, as columns.
pub(super) async fn history(State(shared): State<Shared>) -> Result<Response, Fault> {
    let reports = shared.readable_reports()?;
    Ok(answer::json(reports.history.json().await?))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn many_who_ask_at_once_get_what_was_read_once_and_an_error_is_not_kept() {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let history = History::by(move || {
            thread::sleep(Duration::from_millis(50));
            match counted.fetch_add(1, Ordering::Relaxed) {
                0 => anyhow::bail!("it is damaged"),
                n => Ok(n.to_string().into_bytes()),
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(history.clone().json());
        assert!(error.is_err());
        runtime.block_on(async {
            let all = (0..5).map(|_| tokio::spawn(history.clone().json())).collect::<Vec<_>>();
            for one in all {
                assert_eq!(one.await.unwrap().unwrap(), b"1");
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }
}
