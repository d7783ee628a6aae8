//! What is served over HTTP: metrics, events, and the state of everything.
//!
//! The server has a thread of its own and knows no ledger. It asks the thread that observes
//! ([`Question`]), which never waits for it; event lines it reads in the [`Journal`]. So no client holds
//! up what is observed.

mod answer;
mod check;
mod connection;
mod cut;
mod events;
pub mod guard;
mod history;
mod journal;
pub mod listen;
mod map;
mod marks;
mod page;
mod past;
pub mod pools;
mod query;
mod question;
mod reports;
mod routes;
mod top;

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, watch};

use self::{connection::Connections, listen::Bound, routes::Shared};
pub use self::{
    history::History,
    journal::{Feed, Journal},
    map::{Cell, CellHolder, RangeMap},
    past::Past,
    pools::Pools,
    question::{Question, Questions, questions},
    reports::{Asked, Reports, Written},
    top::{Failure, Fullest, Held, Top},
};
use crate::kernel::rights;

/// How long clients have to take what is left when the server ends.
const GRACE: Duration = Duration::from_millis(700);

/// A server at work.
#[derive(Debug)]
pub struct Server {
    thread: thread::JoinHandle<()>,
    end: watch::Sender<bool>,
}

/// What it serves, and where.
pub struct Options {
    /// Where it is listened.
    pub bound: Vec<Bound>,
    /// The event lines.
    pub journal: Arc<Journal>,
    /// Where questions go.
    pub questions: mpsc::Sender<Question>,
    /// Who writes reports, where there is a recording.
    pub reports: Option<Reports>,
    /// Who reads lines again, where there is one.
    pub past: Option<Past>,
    /// Who answers for pools.
    pub pools: Option<Pools>,
}

impl Server {
    /// Starts it.
    ///
    /// # Errors
    /// When the kernel refuses a thread, or what an event loop is made of.
    pub fn start(options: Options) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("can't start the server's event loop")?;
        let (end, ended) = watch::channel(false);
        let serve = move || {
            // It reads what anybody who connects sends, and needs none.
            if let Err(error) = rights::give_up_capabilities() {
                log::warn!("the server keeps capabilities: {error}");
            }
            runtime.block_on(serve(options, ended));
            // A report that is being written is not waited for.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new()
            .name("http".to_owned())
            .spawn(serve)
            .context("can't start the server's thread")?;
        Ok(Self { thread, end })
    }

    /// Ends it: no new connections, and what is being answered has a moment to be read.
    pub fn finish(self) {
        // The thread may have ended already.
        let _ = self.end.send(true);
        if self.thread.join().is_err() {
            log::error!("the server ended in a fault of its own; please report it");
        }
    }

    /// Whether it has ended without being told to.
    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }
}

async fn serve(options: Options, mut ended: watch::Receiver<bool>) {
    let Options { bound, journal, questions, reports, past, pools } = options;
    let connections = Connections::default();
    let mut listeners = tokio::task::JoinSet::new();
    for Bound { listener, guard } in bound {
        let shared = Shared {
            guard,
            journal: Arc::clone(&journal),
            questions: questions.clone(),
            reports: reports.clone(),
            past: past.clone(),
            pools: pools.clone(),
        };
        let router = routes::router(shared);
        match listener.into_async() {
            Ok(listener) => {
                listeners.spawn(connection::accept(listener, router, connections.clone()));
            }
            Err(error) => log::error!("can't listen: {error}"),
        }
    }
    // An error says that the one who would tell is gone.
    let _ = ended.wait_for(|has_ended| *has_ended).await;
    listeners.abort_all();
    connections.finish(GRACE).await;
}
