//! Hearing from the routers: one stream that tells everything, of any seed.
//!
//! Each message says how long its stream has been open by the router's clock; that is counted here from when the stream
//! was opened. So a message that lay in a buffer confirms nothing later than it was sent, and a stream that is half dead is
//! noticed and opened anew at the next seed.

mod news;

pub(super) use news::recall;

use super::{
    Network,
    body::{Broken, Incoming, Messages},
    job::Job,
    link,
    pool::Pool,
    world::Known,
};
use crate::{Code, Error};
use http::uri::PathAndQuery;
use mesh_layers::frame::{self, Encoding};
use mesh_proto::control_v1::{WatchMeshRequest, WatchMeshResponse};
use mesh_routing::retry::Outcome;
use news::News;
use prost::Message;
use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, watch},
    time::timeout_at,
};
use tracing::Span;

/// What is asked of a router.
const WATCH_MESH: &str = "/cellmesh.control.v1.ControlService/WatchMesh";
/// Silence after which a stream counts as dead; a router says something every second.
const SILENCE: Duration = Duration::from_secs(3);
/// How long a client hears from a later seed before it looks whether an earlier one is back; half of it to all, by chance.
const RETURN: Duration = Duration::from_secs(10);
/// Longest wait before another seed is asked; the wait is up to chance, so that clients spread.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The same after several failures.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// A stream is opened anew after so long at the latest.
const LONGEST_STREAM: Duration = Duration::from_secs(24 * 3600);
/// Largest message: a map with a million pins.
const MAX_MESSAGE: usize = map_store::format::MAX_BYTES as usize;

/// How much is known of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// No router has answered yet: calls go through the seeds, which find the cells.
    Starting,
    /// A router tells what changes: calls go straight to their cells.
    Ready,
    /// No router tells anything just now: calls go by what was known last.
    Stale,
    /// No calls are sent any more.
    Closed,
}

/// How the watching goes, for others to see.
#[derive(Debug)]
pub(super) struct Watching {
    state: watch::Sender<State>,
    closed: AtomicBool,
    /// Incarnation of maps that may replace those of another history.
    adopted: AtomicU64,
    reopen: Notify,
}

impl Watching {
    pub fn new(known: &Known) -> Self {
        let state = watch::Sender::new(if known.map.is_some() { State::Stale } else { State::Starting });
        Self { state, closed: AtomicBool::new(false), adopted: AtomicU64::new(0), reopen: Notify::new() }
    }

    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    pub async fn ready(&self) -> Result<(), Error> {
        let mut states = self.state.subscribe();
        let state = states.wait_for(|state| matches!(state, State::Ready | State::Closed)).await;
        match state.map(|state| *state) {
            Ok(State::Ready) => Ok(()),
            _ => Err(Error::new(Code::Unavailable, "the mesh is closed")),
        }
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    pub fn close(&self) {
        self.closed.store(true, SeqCst);
        self.state.send_replace(State::Closed);
    }

    /// Lets maps of this incarnation replace those of another history.
    pub fn adopt(&self, incarnation: u64) {
        self.adopted.fetch_max(incarnation, Relaxed);
        self.reopen.notify_one();
    }

    fn become_state(&self, new: State) {
        self.state.send_if_modified(|state| {
            let change = *state != State::Closed && *state != new;
            if change {
                *state = new;
            }
            change
        });
    }
}

/// Watches the mesh until it is closed.
pub(super) async fn run(network: Arc<Network>, known: Known) {
    let mut states = network.watching.state.subscribe();
    tokio::select! {
        _ = states.wait_for(|state| *state == State::Closed) => {}
        () = follow_seeds(&network, News::new(known)) => {}
    }
}

async fn follow_seeds(network: &Network, mut news: News) {
    let (mut failures, mut at) = (0, 0);
    loop {
        let seed = &network.seeds[at];
        let ended = tokio::select! {
            ended = follow(network, &mut news, seed) => ended,
            () = network.watching.reopen.notified() => Ended { heard: true, why: "another history was adopted".to_owned() },
            earlier = back(&network.seeds[..at]) => {
                tracing::debug!(seed = %network.seeds[earlier].authority, "an earlier router is back");
                at = earlier;
                continue;
            }
        };
        at = (at + 1) % network.seeds.len();
        tracing::debug!(seed = %seed.authority, why = ended.why, "no longer hearing from router");
        network.watching.become_state(if news.known.map.is_some() { State::Stale } else { State::Starting });
        failures = if ended.heard { 0 } else { failures + 1 };
        let longest = (FIRST_WAIT * (1 << failures.min(10))).min(LONGEST_WAIT);
        tokio::time::sleep(longest.mul_f64(rand::random_range(0.0..1.0))).await;
    }
}

/// Ends when an earlier seed tells something, with its place: callers name the near ones first.
async fn back(earlier: &[Arc<Pool>]) -> usize {
    loop {
        tokio::time::sleep(RETURN.mul_f64(rand::random_range(0.5..1.0))).await;
        for (at, seed) in earlier.iter().enumerate() {
            let request = WatchMeshRequest { without_map: true, ..WatchMeshRequest::default() };
            let tells = async {
                let (_, mut messages) = open(&request, seed).await.ok()?;
                messages.next().await.ok().flatten()
            };
            if let Ok(Some(_)) = timeout_at((Instant::now() + SILENCE).into(), tells).await {
                return at;
            }
        }
    }
}

/// How a stream ended.
struct Ended {
    /// Whether anything was heard.
    heard: bool,
    why: String,
}

/// Hears from one seed until its stream ends or is silent.
async fn follow(network: &Network, news: &mut News, seed: &Arc<Pool>) -> Ended {
    let mut heard = false;
    let (known_incarnation, known_epoch) = news.version();
    let request = WatchMeshRequest { known_incarnation, known_epoch, without_map: false };
    let why = match timeout_at((Instant::now() + SILENCE).into(), open(&request, seed)).await {
        Err(_) => "it does not answer".to_owned(),
        Ok(Err(why)) => why,
        Ok(Ok((opened, messages))) => hear(network, news, opened, messages, &mut heard).await,
    };
    Ended { heard, why }
}

async fn open(request: &WatchMeshRequest, seed: &Arc<Pool>) -> Result<(Instant, Messages), String> {
    let opened = Instant::now();
    let frame = frame::encode(&request.encode_to_vec());
    let job = Job { frame, ..Job::by_router(PathAndQuery::from_static(WATCH_MESH), opened + LONGEST_STREAM) };
    let broken = |outcome: Outcome| match outcome {
        Outcome::Unsent => "it cannot be reached".to_owned(),
        _ => "it broke the stream off".to_owned(),
    };
    let head = || job.head(&seed.authority, None, &Span::none(), opened);
    let mut flight = seed.send(opened, head).await.map_err(broken)?;
    flight.body.send_data(job.frame.clone(), true).map_err(|error| broken(link::outcome(&error)))?;
    let response = flight.response.await.map_err(|error| {
        flight.trip.failed();
        broken(link::outcome(&error))
    })?;
    flight.trip.answered();
    let (head, stream) = response.into_parts();
    let encoding = Encoding::of(&head.headers).map_err(|error| error.to_string())?;
    Ok((opened, Messages::new(Incoming::Link { stream, trip: flight.trip }, encoding, MAX_MESSAGE)))
}

async fn hear(network: &Network, news: &mut News, opened: Instant, mut messages: Messages, heard: &mut bool) -> String {
    let mut patience = opened + SILENCE;
    loop {
        match messages.take() {
            Ok(Some(message)) => {
                let Ok(message) = WatchMeshResponse::decode(message) else {
                    return "its message is not understood".to_owned();
                };
                let now = Instant::now();
                let said = opened.checked_add(Duration::from_millis(message.elapsed_ms)).map_or(now, |at| at.min(now));
                patience = patience.max(said + SILENCE);
                *heard = true;
                news.take(network, message).await;
                if news.known.map.is_some() {
                    network.watching.become_state(State::Ready);
                }
                continue;
            }
            // A large message takes its time, as long as it comes on.
            Ok(None) if messages.is_within_message() => patience = patience.max(Instant::now() + SILENCE),
            Ok(None) => {}
            Err(error) => return error.to_string(),
        }
        if messages.has_ended() {
            return "it ended the stream".to_owned();
        }
        match timeout_at(patience.into(), messages.more()).await {
            Ok(Ok(())) => {}
            Ok(Err(Broken::Off(_))) => return "it broke the stream off".to_owned(),
            Ok(Err(Broken::Frame(error))) => return error.to_string(),
            Err(_) => return "it is silent".to_owned(),
        }
    }
}
