//! Two feeds of names, and the logics that look at them.

use super::world::at;
use crate::{
    Data, Feed, FeedMessage, Global, GlobalFeed, Idempotency, Key, KeyError, LocalLogic, Method, MethodPolicy, PerUser,
    Piece, Position, Scope, UserFeed, UserKey, Verdict,
};
use mesh_policy::CanonicalKey;
use prost::Message;
use std::collections::BTreeSet;

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

/// A name that the feeds cannot bear.
pub const PANIC: &str = "panic";

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
                assert_ne!(name, PANIC);
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
