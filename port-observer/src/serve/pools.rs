//! `/pools`, `/leases`, `/engines`: declared ranges, and leasing ports of them.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use anyhow::Result;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State, rejection::PathRejection},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    answer::{Fault, json},
    routes::Shared,
};
use crate::leases::Origin;

/// How large a request may be, in bytes.
const MOST_BYTES: usize = 4096;
/// How many requests may wait.
const WAITING: usize = 128;
/// How long one may wait: others may have the leases for half a minute.
const PATIENCE: Duration = Duration::from_secs(45);

/// What is asked of the pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// What is held and leased of each.
    Show,
    /// All leases, and who holds their ports.
    Leases,
    /// What is leased of pools of containers.
    Engines,
    /// How many leases each pool has.
    Count,
    /// Ports.
    Lease(Origin, Wanted),
    /// That a lease lives on.
    Renew {
        /// Of this pool.
        pool: String,
        /// Its number.
        id: i64,
        /// For how long, as text; `None`: as before.
        ttl: Option<String>,
    },
    /// That the ports of a lease are given back.
    Release {
        /// Of this pool.
        pool: String,
        /// Its number.
        id: i64,
    },
}

/// What is asked for, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Whose the ports are to be.
    pub owner: String,
    /// How many units; one, if nothing is said.
    pub units: Option<u32>,
    /// For how long, as text: `1h`.
    pub ttl: Option<String>,
    /// What tells a second try from a second lease.
    pub key: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// JSON.
    Shown(String),
    /// JSON of what was made.
    Made(String),
    /// How many leases each pool has, by its name.
    Counted(BTreeMap<String, u32>),
    /// It is done.
    Done,
    /// The request is wrong, and why.
    Wrong(String),
    /// There is no such pool, group or lease.
    Missing(String),
    /// Nothing is left, or the key is that of another request.
    Refused(String),
}

/// What is asked, and where the answer goes. Whoever asked may have left.
pub type Waiting = (Asked, oneshot::Sender<Result<Told>>);

/// Where pools are asked about: of a thread that may look into other network namespaces, which those of
/// the server may not.
#[derive(Clone)]
pub struct Pools(Arc<mpsc::Sender<Waiting>>);

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools").finish_non_exhaustive()
    }
}

impl Pools {
    /// Both ends.
    pub fn new() -> (Self, mpsc::Receiver<Waiting>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(Arc::new(sender)), receiver)
    }

    /// Asks how many leases each pool has; `None`: others wait for answers.
    pub fn count(&self) -> Option<oneshot::Receiver<Result<Told>>> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send((Asked::Count, answer)).ok()?;
        Some(answered)
    }

    async fn ask(&self, asked: Asked) -> Result<Response, Fault> {
        let (answer, answered) = oneshot::channel();
        let busy = |_| Fault::unavailable("too many ask for pools: ask again in a moment");
        self.0.try_send((asked, answer)).map_err(busy)?;
        let told = match timeout(PATIENCE, answered).await {
            Ok(Ok(told)) => told.map_err(|error| Fault::internal(&format!("{error:#}")))?,
            _ => return Err(Fault::unavailable("the pools did not answer in time: ask again")),
        };
        match told {
            Told::Shown(body) => Ok(json(body + "\n")),
            Told::Made(body) => {
                let mut response = json(body + "\n");
                *response.status_mut() = StatusCode::CREATED;
                Ok(response)
            }
            Told::Counted(_) | Told::Done => Ok(StatusCode::NO_CONTENT.into_response()),
            Told::Wrong(why) => Err(Fault::bad_request(&why)),
            Told::Missing(why) => Err(Fault::new(StatusCode::NOT_FOUND, &why)),
            Told::Refused(why) => Err(Fault::new(StatusCode::CONFLICT, &why)),
        }
    }
}

impl Shared {
    async fn ask_pools(&self, asked: Asked) -> Result<Response, Fault> {
        let is_change = !matches!(asked, Asked::Show | Asked::Leases | Asked::Engines);
        if is_change && !self.guard.is_trusted() {
            let advice = "anybody on this host may ask here, so that nothing is leased: ask on a Unix \
                          socket, or start `serve` with --token FILE";
            return Err(Fault::new(StatusCode::FORBIDDEN, advice));
        }
        match &self.pools {
            Some(pools) => pools.ask(asked).await,
            None => Err(Fault::new(
                StatusCode::NOT_FOUND,
                "there are no pools: start `serve` with --pools FILE",
            )),
        }
    }
}

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/pools", get(show))
        .route("/leases", get(leases))
        .route("/engines", get(engines))
        .route("/pools/{name}/leases", post(of_pool))
        .route("/groups/{name}/leases", post(of_group))
        .route("/pools/{name}/leases/{id}", put(renew).delete(release))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
}

async fn show(State(shared): State<Shared>) -> Result<Response, Fault> {
    shared.ask_pools(Asked::Show).await
}

async fn leases(State(shared): State<Shared>) -> Result<Response, Fault> {
    shared.ask_pools(Asked::Leases).await
}

async fn engines(State(shared): State<Shared>) -> Result<Response, Fault> {
    shared.ask_pools(Asked::Engines).await
}

async fn of_pool(
    State(shared): State<Shared>,
    name: Result<Path<String>, PathRejection>,
    body: Bytes,
) -> Result<Response, Fault> {
    let origin = Origin::Pool(path(name)?);
    shared.ask_pools(Asked::Lease(origin, read(&body)?)).await
}

async fn of_group(
    State(shared): State<Shared>,
    name: Result<Path<String>, PathRejection>,
    body: Bytes,
) -> Result<Response, Fault> {
    let origin = Origin::Group(path(name)?);
    shared.ask_pools(Asked::Lease(origin, read(&body)?)).await
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Renewal {
    ttl: Option<String>,
}

async fn renew(
    State(shared): State<Shared>,
    of: Result<Path<(String, i64)>, PathRejection>,
    body: Bytes,
) -> Result<Response, Fault> {
    let (pool, id) = path(of)?;
    let Renewal { ttl } = if body.is_empty() { Renewal::default() } else { read(&body)? };
    shared.ask_pools(Asked::Renew { pool, id, ttl }).await
}

async fn release(
    State(shared): State<Shared>,
    of: Result<Path<(String, i64)>, PathRejection>,
) -> Result<Response, Fault> {
    let (pool, id) = path(of)?;
    shared.ask_pools(Asked::Release { pool, id }).await
}

fn path<T>(of: Result<Path<T>, PathRejection>) -> Result<T, Fault> {
    of.map(|Path(of)| of).map_err(|error| Fault::bad_request(&error.body_text()))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::bad_request(&format!("the body: {error}")))
}
