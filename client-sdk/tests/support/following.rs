//! A logic that says whom a user follows, and a server in this process that tells it.

use client_sdk::{
    Call, Feed, FeedMessage, Idempotency, Key, KeyError, LocalLogic, LocalSettings, Mesh, Method, MethodPolicy,
    PerUser, Piece, Position, Scope, Slot, Source, UserFeed, UserKey, Verdict, generated, mock::MockMesh,
};
use futures_util::{Stream, stream};
use hashbrown::HashSet;
use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchRequest {
    #[prost(string, tag = "1")]
    pub user_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchResponse {
    #[prost(uint64, tag = "1")]
    pub elapsed_ms: u64,
    #[prost(bool, tag = "2")]
    pub snapshot: bool,
    #[prost(uint64, repeated, tag = "3")]
    pub targets: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AskRequest {
    #[prost(string, tag = "1")]
    pub user_id: String,
    #[prost(uint64, tag = "2")]
    pub target: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AskResponse {
    #[prost(bool, tag = "1")]
    pub following: bool,
}

pub struct Watch;
pub struct IsFollowing;

impl Method for Watch {
    type Request = WatchRequest;
    type Response = WatchResponse;
    const POLICY: MethodPolicy = MethodPolicy::new("/t.T/Watch", Scope::User).side_effects(Idempotency::NoSideEffects);

    fn key(request: &WatchRequest) -> Result<Key<'_>, KeyError> {
        generated::key(&request.user_id)
    }
}

impl Method for IsFollowing {
    type Request = AskRequest;
    type Response = AskResponse;
    const POLICY: MethodPolicy = MethodPolicy::new("/t.T/IsFollowing", Scope::User)
        .side_effects(Idempotency::NoSideEffects)
        .local_logic("follow", 1);

    fn key(request: &AskRequest) -> Result<Key<'_>, KeyError> {
        generated::key(&request.user_id)
    }
}

pub struct Following;

impl Feed for Following {
    type Stream = Watch;
    type Item = u64;
    type Snapshot = HashSet<u64>;

    fn read(message: WatchResponse) -> Result<FeedMessage<u64>, String> {
        let position = Position { incarnation: 0, sequence: 1 };
        if !message.snapshot {
            return Ok(FeedMessage::heartbeat(message.elapsed_ms, position));
        }
        let piece = Piece { position, snapshot_start: true, snapshot_end: true, items: message.targets };
        Ok(FeedMessage::piece(message.elapsed_ms, piece))
    }

    fn apply(snapshot: &mut HashSet<u64>, target: u64) {
        snapshot.insert(target);
    }

    fn bytes(snapshot: &HashSet<u64>) -> usize {
        snapshot.capacity() * 9
    }
}

impl UserFeed for Following {
    fn subscribe(user: &UserKey, _: Option<Position>) -> WatchRequest {
        WatchRequest { user_id: user.to_string() }
    }
}

pub struct FollowCheck;

impl LocalLogic for FollowCheck {
    type Method = IsFollowing;
    type Data = PerUser<Following>;
    const NAME: &'static str = "follow";
    const MAJOR: u32 = 1;
    const MINOR: u32 = 0;

    fn eval(&self, follows: &HashSet<u64>, _: i64, request: &AskRequest) -> Verdict<AskResponse> {
        Verdict::Answer(AskResponse { following: follows.contains(&request.target) })
    }
}

/// Everybody follows 1 to 100.
fn tell() -> impl Stream<Item = Result<WatchResponse, client_sdk::Error>> {
    let opened = Instant::now();
    stream::unfold(0, move |number: u64| async move {
        if number > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let elapsed_ms = u64::try_from(opened.elapsed().as_millis()).expect("a test's time");
        let targets = if number == 0 { (1..=100).collect() } else { Vec::new() };
        Some((Ok(WatchResponse { elapsed_ms, snapshot: number == 0, targets }), number + 1))
    })
}

/// A mesh that knows these users, of whom it compares no answer with a server's.
pub async fn mesh(users: &[String]) -> (Mesh, Slot<IsFollowing>) {
    let mock = MockMesh::new();
    mock.answer_stream::<Watch, _>(|_| Ok(tell()));
    let mut settings = LocalSettings::default();
    (settings.shadow_every, settings.max_users) = (0, users.len());
    let builder = Mesh::builder().local_settings(settings).local_logic(FollowCheck).expect("the policy names it");
    let mesh = mock.mesh_of(builder);
    let slot = Slot::of(&mesh);
    for user in users {
        while ask(&mesh, &slot, AskRequest { user_id: user.clone(), target: 1 }).is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    (mesh, slot)
}

/// What is answered at the first poll, if it is answered here.
pub fn ask(mesh: &Mesh, slot: &Slot<IsFollowing>, request: AskRequest) -> Option<bool> {
    let mut call = Call::new(mesh, slot, request).into_future();
    match Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(reply)) if matches!(reply.source, Source::Local { .. }) => Some(reply.value.following),
        _ => None,
    }
}
