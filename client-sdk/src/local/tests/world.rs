//! A wire whose server is the test, two feeds and the logics that look at them.

use crate::{
    Call, CallOptions, Code, Data, Error, Feed, FeedMessage, Fresh, Global, GlobalFeed, Idempotency, Key, LocalLogic,
    LocalSettings, Mesh, Method, MethodPolicy, PerUser, Piece, Position, Reply, Scope, Slot, Source, Token, UserFeed,
    Verdict,
    local::Logics,
    wire::{Destination, Wire, WireCall, WireReply, WireStream},
};
use bytes::Bytes;
use cell_map::{CellId, KeyError, UserKey};
use futures_util::future::BoxFuture;
use mesh_policy::CanonicalKey;
use prost::Message;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub const fn at(incarnation: u64, sequence: u64) -> Position {
    Position { incarnation, sequence }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct SubscribeRequest {
    #[prost(string, tag = "1")]
    pub user: String,
    #[prost(uint64, optional, tag = "2")]
    pub incarnation: Option<u64>,
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct SubscribeResponse {
    #[prost(uint64, tag = "1")]
    pub elapsed_ms: u64,
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    #[prost(bool, tag = "4")]
    pub heartbeat: bool,
    #[prost(bool, tag = "5")]
    pub snapshot_start: bool,
    #[prost(bool, tag = "6")]
    pub snapshot_end: bool,
    #[prost(bool, tag = "7")]
    pub complete: bool,
    #[prost(string, repeated, tag = "8")]
    pub added: Vec<String>,
    #[prost(string, repeated, tag = "9")]
    pub removed: Vec<String>,
}

pub fn heartbeat(elapsed_ms: u64, position: Position) -> SubscribeResponse {
    let Position { incarnation, sequence } = position;
    SubscribeResponse { elapsed_ms, incarnation, sequence, heartbeat: true, ..Default::default() }
}

pub fn snapshot(elapsed_ms: u64, position: Position, entries: &[&str]) -> SubscribeResponse {
    let (snapshot_start, snapshot_end) = (true, true);
    SubscribeResponse { snapshot_start, snapshot_end, ..change(elapsed_ms, position, entries, &[]) }
}

pub fn change(elapsed_ms: u64, position: Position, added: &[&str], removed: &[&str]) -> SubscribeResponse {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let (added, removed) = (texts(added), texts(removed));
    SubscribeResponse { added, removed, heartbeat: false, ..heartbeat(elapsed_ms, position) }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct AskRequest {
    #[prost(string, tag = "1")]
    pub user: String,
    #[prost(string, tag = "2")]
    pub target: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct AskResponse {
    #[prost(bool, tag = "1")]
    pub yes: bool,
}

macro_rules! method {
    ($name:ident, $request:ty, $response:ty, $policy:expr $(, $user:ident)?) => {
        pub struct $name;
        impl Method for $name {
            type Request = $request;
            type Response = $response;
            const POLICY: MethodPolicy = $policy;
            $(fn key(request: &Self::Request) -> Result<Key<'_>, KeyError> {
                CanonicalKey::borrowed(request.$user.as_bytes())
            })?
        }
    };
}

const fn reads(path: &'static str, scope: Scope) -> MethodPolicy {
    MethodPolicy::new(path, scope).side_effects(Idempotency::NoSideEffects)
}

method!(WatchFollows, SubscribeRequest, SubscribeResponse, reads("/t.T/WatchFollows", Scope::User), user);
method!(WatchBanned, SubscribeRequest, SubscribeResponse, reads("/t.T/WatchBanned", Scope::Replicated));
method!(IsFollowing, AskRequest, AskResponse, reads("/t.T/IsFollowing", Scope::User).local_logic("follow", 1), user);
method!(IsBanned, AskRequest, AskResponse, reads("/t.T/IsBanned", Scope::Replicated).local_logic("banned", 2));
method!(IsShown, AskRequest, AskResponse, reads("/t.T/IsShown", Scope::User).local_logic("shown", 1), user);

fn read(message: SubscribeResponse) -> Result<FeedMessage<(String, bool)>, String> {
    let position = at(message.incarnation, message.sequence);
    if message.heartbeat {
        return Ok(FeedMessage::heartbeat(message.elapsed_ms, position));
    }
    if message.added.iter().any(String::is_empty) {
        return Err("an entry without a name".to_owned());
    }
    let added = message.added.into_iter().map(|name| (name, true));
    let items = added.chain(message.removed.into_iter().map(|name| (name, false))).collect();
    let (snapshot_start, snapshot_end) = (message.snapshot_start, message.snapshot_end);
    let piece = Piece { position, snapshot_start, snapshot_end, items };
    Ok(FeedMessage::piece(message.elapsed_ms, piece).complete(message.complete))
}

macro_rules! feed {
    ($name:ident, $stream:ident) => {
        pub struct $name;
        impl Feed for $name {
            type Stream = $stream;
            type Item = (String, bool);
            type Snapshot = BTreeSet<String>;
            fn read(message: SubscribeResponse) -> Result<FeedMessage<(String, bool)>, String> {
                read(message)
            }
            fn apply(snapshot: &mut BTreeSet<String>, (name, there): (String, bool)) {
                if there {
                    snapshot.insert(name)
                } else {
                    snapshot.remove(&name)
                };
            }
            fn bytes(snapshot: &BTreeSet<String>) -> usize {
                snapshot.iter().map(|name| name.len() + 64).sum::<usize>() + 64
            }
        }
    };
}

feed!(Follows, WatchFollows);
feed!(Banned, WatchBanned);

fn subscribe(user: String, from: Option<Position>) -> SubscribeRequest {
    let sequence = from.map_or(0, |from| from.sequence);
    SubscribeRequest { user, incarnation: from.map(|from| from.incarnation), sequence }
}

impl UserFeed for Follows {
    fn subscribe(user: &UserKey, from: Option<Position>) -> SubscribeRequest {
        subscribe(user.to_string(), from)
    }
}

impl GlobalFeed for Banned {
    fn subscribe(from: Option<Position>) -> SubscribeRequest {
        subscribe(String::new(), from)
    }
}

/// Whether a user follows another. A lie if `wrong`; not sure about users of whom it was never heard.
#[derive(Default)]
pub struct FollowCheck {
    pub wrong: bool,
}

impl LocalLogic for FollowCheck {
    type Method = IsFollowing;
    type Data = PerUser<Follows>;
    const NAME: &'static str = "follow";
    const MAJOR: u32 = 1;
    const MINOR: u32 = 3;
    const USES_TIME: bool = false;

    fn eval(&self, follows: &BTreeSet<String>, now_ms: i64, request: &AskRequest) -> Verdict<AskResponse> {
        assert_eq!(now_ms, 0, "the time is not read for logic that does not look at it");
        if request.target == "somebody strange" {
            return Verdict::Unsure;
        }
        Verdict::Answer(AskResponse { yes: follows.contains(&request.target) != self.wrong })
    }
}

/// Whether somebody is banned.
pub struct BanCheck;

impl LocalLogic for BanCheck {
    type Method = IsBanned;
    type Data = Global<Banned>;
    const NAME: &'static str = "banned";
    const MAJOR: u32 = 2;
    const MINOR: u32 = 0;

    fn eval(&self, banned: &BTreeSet<String>, now_ms: i64, request: &AskRequest) -> Verdict<AskResponse> {
        assert!(now_ms > 0);
        Verdict::Answer(AskResponse { yes: banned.contains(&request.target) })
    }
}

/// Whether a user sees another: he follows him, and nobody banned him.
pub struct Shown;

impl LocalLogic for Shown {
    type Method = IsShown;
    type Data = (Global<Banned>, PerUser<Follows>);
    const NAME: &'static str = "shown";
    const MAJOR: u32 = 1;
    const MINOR: u32 = 0;

    fn eval(&self, (banned, follows): View<'_>, _: i64, request: &AskRequest) -> Verdict<AskResponse> {
        Verdict::Answer(AskResponse { yes: follows.contains(&request.target) && !banned.contains(&request.target) })
    }
}

type View<'a> = <(Global<Banned>, PerUser<Follows>) as Data>::View<'a>;

/// A stream that the client opened.
pub struct Opened {
    pub path: &'static str,
    pub request: SubscribeRequest,
    pub key: Option<UserKey>,
    /// When it came.
    pub at: Instant,
    answer: oneshot::Sender<Result<Box<dyn WireStream>, Error>>,
}

impl Opened {
    pub fn from(&self) -> Option<Position> {
        self.request.incarnation.map(|incarnation| at(incarnation, self.request.sequence))
    }

    pub fn refuse(self, error: Error) {
        let _ = self.answer.send(Err(error));
    }

    pub fn accept(self, cell: &str) -> Sender {
        let (messages, receiver) = mpsc::unbounded_channel();
        let cell = CellId::new(cell).unwrap();
        let _ = self.answer.send(Ok(Box::new(Receiver { cell, messages: receiver })));
        Sender(messages)
    }
}

/// The server's end of a stream: cut when it is dropped.
pub struct Sender(mpsc::UnboundedSender<Result<Bytes, Error>>);

impl Sender {
    pub fn send(&self, message: &SubscribeResponse) {
        let _ = self.0.send(Ok(message.encode_to_vec().into()));
    }

    pub fn end(self, error: Error) {
        let _ = self.0.send(Err(error));
    }

    pub fn is_gone(&self) -> bool {
        self.0.is_closed()
    }
}

struct Receiver {
    cell: CellId,
    messages: mpsc::UnboundedReceiver<Result<Bytes, Error>>,
}

impl WireStream for Receiver {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
        Box::pin(async { self.messages.recv().await.transpose() })
    }

    fn cell(&self) -> Option<&CellId> {
        Some(&self.cell)
    }
}

pub type Answers = Box<dyn Fn(&WireCall) -> Result<(AskResponse, Option<Token>), Error> + Send + Sync>;

struct TestWire {
    opened: mpsc::UnboundedSender<Opened>,
    asked: Mutex<Vec<WireCall>>,
    answers: Answers,
    takes: Duration,
}

impl Wire for TestWire {
    fn unary(&self, call: WireCall) -> BoxFuture<'_, Result<WireReply, Error>> {
        Box::pin(async move {
            // Half of the time on the way there.
            tokio::time::sleep(self.takes / 2).await;
            let answer = (self.answers)(&call);
            self.asked.lock().unwrap().push(call);
            tokio::time::sleep(self.takes / 2).await;
            let (message, token) = answer?;
            let message = message.encode_to_vec().into();
            Ok(WireReply { message, cell: CellId::new("bj-1").ok(), attempts: 1, hops: 0, token })
        })
    }

    fn stream(&self, call: WireCall) -> BoxFuture<'_, Result<Box<dyn WireStream>, Error>> {
        Box::pin(async move {
            let request = SubscribeRequest::decode(&call.frame[5..]).unwrap();
            let (answer, accepted) = oneshot::channel();
            let _ =
                self.opened.send(Opened { path: call.policy.path, request, key: call.key, at: Instant::now(), answer });
            accepted.await.unwrap_or_else(|_| Err(Error::new(Code::Unavailable, "nobody there")))
        })
    }

    fn destination(&self, _: &MethodPolicy, _: Option<&[u8]>) -> Destination {
        Destination::Router
    }
}

/// A mesh, and the server that it talks to.
pub struct World {
    pub mesh: Mesh,
    opened: mpsc::UnboundedReceiver<Opened>,
    wire: Arc<TestWire>,
}

/// Unless a test says otherwise: no comparisons, which would call the server.
pub fn settings() -> LocalSettings {
    LocalSettings { shadow_every: 0, ..LocalSettings::default() }
}

impl World {
    pub fn new(settings: LocalSettings, logics: impl FnOnce(&mut Logics)) -> Self {
        let nobody = |_: &WireCall| Err(Error::new(Code::Unavailable, "the server is away"));
        Self::answering(settings, logics, ms(10), Box::new(nobody))
    }

    pub fn answering(
        settings: LocalSettings,
        logics: impl FnOnce(&mut Logics),
        takes: Duration,
        answers: Answers,
    ) -> Self {
        let (sender, opened) = mpsc::unbounded_channel();
        let wire = Arc::new(TestWire { opened: sender, asked: Mutex::default(), answers, takes });
        let mut registered = Logics::default();
        registered.settings = settings;
        logics(&mut registered);
        Self { mesh: Mesh::with_logics(Arc::clone(&wire) as Arc<dyn Wire>, registered), opened, wire }
    }

    /// The next stream that the client opens.
    pub async fn opened(&mut self) -> Opened {
        self.opened.recv().await.unwrap()
    }

    /// Whether no stream is opened for a while.
    pub async fn opens_nothing(&mut self, during: Duration) -> bool {
        timeout(during, self.opened.recv()).await.is_err()
    }

    /// What a call answers: locally, or remotely.
    pub async fn ask<M>(&self, user: &str, target: &str, fresh: Fresh) -> Result<Reply<AskResponse>, Error>
    where
        M: Method<Request = AskRequest, Response = AskResponse>,
    {
        Call::new(&self.mesh, &Slot::<M>::of(&self.mesh), request(user, target)).fresh(fresh).await
    }

    /// What is answered here, if anything is.
    pub fn here<M>(&self, user: &str, target: &str, fresh: Fresh) -> Option<Here>
    where
        M: Method<Request = AskRequest, Response = AskResponse>,
    {
        let options = CallOptions { fresh, ..CallOptions::default() };
        self.mesh
            .locals()
            .evaluator::<M>()
            .unwrap()
            .answer(&request(user, target), &options)
            .map(|reply| Here::of(&reply))
    }

    /// What is answered here after the mesh failed.
    pub fn stale<M>(&self, user: &str, target: &str, fresh: Fresh) -> Option<Here>
    where
        M: Method<Request = AskRequest, Response = AskResponse>,
    {
        let options = CallOptions { fresh, ..CallOptions::default() };
        self.mesh
            .locals()
            .evaluator::<M>()
            .unwrap()
            .stale(&request(user, target), &options)
            .map(|reply| Here::of(&reply))
    }

    /// How many calls the server answered.
    pub fn asked(&self) -> usize {
        self.wire.asked.lock().unwrap().len()
    }
}

fn request(user: &str, target: &str) -> AskRequest {
    AskRequest { user: user.to_owned(), target: target.to_owned() }
}

/// A local answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    pub yes: bool,
    pub age: Duration,
    pub stale: bool,
}

impl Here {
    pub fn of(reply: &Reply<AskResponse>) -> Self {
        let Source::Local { age, stale, .. } = reply.source else { panic!("{:?} is not local", reply.source) };
        Self { yes: reply.value.yes, age, stale }
    }
}

/// Lets the client's tasks work off what they were sent.
pub async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
