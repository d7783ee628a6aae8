//! Connections: bounded in number, in what they send, and in how long they may take.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{
    cut::{CutOff, Impatient},
    listen::AsyncListener,
};

/// How many connections there may be.
const MOST: usize = 1024;
/// How long the head of a request may take, and how long a connection may have nothing to ask.
const HEAD: Duration = Duration::from_secs(30);
/// How long a client may take nothing of what is written to it.
const WRITE: Duration = Duration::from_secs(20);
/// The most bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;
/// The most headers.
const HEADERS: usize = 64;
/// How long accepting waits when the process has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// All connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<VecDeque<Connection>>>);

/// One that is open, or was.
#[derive(Debug)]
struct Connection {
    busy: Busy,
    task: AbortHandle,
}

/// Whether a connection is being answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Busy(Arc<AtomicUsize>);

/// It is, for as long as this is kept.
#[derive(Debug)]
pub(super) struct Answering(Busy);

impl Busy {
    /// It is answered from now on.
    pub(super) fn begin(&self) -> Answering {
        self.0.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    fn is_answered(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connections {
    fn open(&self, busy: Busy, task: AbortHandle) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|one| !one.task.is_finished());
        }
        if all.len() >= MOST {
            // The one that has been there longest without being answered; who only holds connections open
            // loses them to who asks.
            let oldest = all.iter().position(|one| !one.busy.is_answered()).unwrap_or(0);
            if let Some(one) = all.remove(oldest) {
                one.task.abort();
            }
        }
        all.push_back(Connection { busy, task });
    }

    /// Waits until those that are being answered have got it, no longer than that.
    pub(super) async fn finish(&self, grace: Duration) {
        let is_answered = || {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().any(|one| one.busy.is_answered() && !one.task.is_finished())
        };
        let done = async {
            while is_answered() {
                sleep(Duration::from_millis(10)).await;
            }
            // What was written last is on its way.
            sleep(Duration::from_millis(10)).await;
        };
        if timeout(grace, done).await.is_err() {
            log::info!("clients that did not read were cut off");
        }
    }
}

/// Takes connections for ever.
pub(super) async fn accept(listener: AsyncListener, router: Router, connections: Connections) {
    loop {
        let accepted = match &listener {
            AsyncListener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                // Small answers, and lines of events as they come.
                let _ = stream.set_nodelay(true);
                spawn(stream, &router)
            }),
            AsyncListener::Unix(listener, _) => {
                listener.accept().await.map(|(stream, _)| spawn(stream, &router))
            }
        };
        match accepted {
            Ok((busy, task)) => connections.open(busy, task),
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                log::warn!("can't take a connection: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

fn spawn(
    stream: impl AsyncRead + AsyncWrite + CutOff + Send + 'static,
    router: &Router,
) -> (Busy, AbortHandle) {
    let busy = Busy::default();
    let router = router.clone().layer(axum::Extension(busy.clone()));
    let task = tokio::spawn(async move {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(
                TokioIo::new(Impatient::new(stream, WRITE)),
                TowerToHyperService::new(router),
            );
        if let Err(error) = connection.await {
            log::debug!("a connection ended: {error}");
        }
    });
    (busy, task.abort_handle())
}
