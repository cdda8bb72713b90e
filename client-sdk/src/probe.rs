//! Helpers of tests: methods written by hand, and a wire that notes what it is asked to send and answers as it is told.

use crate::{
    BatchGlue, Code, Error, Fresh, Idempotency, ItemError, Mesh, Method, MethodPolicy, Scope, Settings, Slot,
    SplitGlue, Token,
    call::Call,
    ladder::now,
    method::Key,
    wire::{Destination, Wire, WireCall, WireReply, WireStream},
};
use cell_map::CellId;
use futures_util::future::BoxFuture;
use mesh_layers::frame::HEADER_LEN;
use mesh_policy::CanonicalKey;
use prost::Message;
use rand::{SeedableRng as _, rngs::StdRng};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetUser {
    #[prost(string, tag = 1)]
    pub user_id: String,
    #[prost(string, tag = 2)]
    pub mask: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct User {
    #[prost(string, tag = 1)]
    pub user_id: String,
    /// How often the wire had been asked for anything when it answered.
    #[prost(uint64, tag = 2)]
    pub seen: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BatchGetUsers {
    #[prost(string, repeated, tag = 1)]
    pub user_ids: Vec<String>,
    #[prost(string, tag = 2)]
    pub mask: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct UserResult {
    #[prost(message, optional, tag = 1)]
    pub user: Option<User>,
    #[prost(int32, tag = 2)]
    pub code: i32,
    #[prost(string, tag = 3)]
    pub message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Users {
    #[prost(message, repeated, tag = 1)]
    pub results: Vec<UserResult>,
}

/// A read with a batch form.
#[derive(Debug)]
pub(crate) struct Get;
/// The same read without.
#[derive(Debug)]
pub(crate) struct Look;
/// A write with a batch form.
#[derive(Debug)]
pub(crate) struct Put;
/// The read's batch form, called by itself.
#[derive(Debug)]
pub(crate) struct BatchGet;
/// The write's.
#[derive(Debug)]
pub(crate) struct BatchPut;

pub(crate) const MOST_ITEMS: u32 = 20;
const BATCH: MethodPolicy =
    MethodPolicy::new("/test.Users/BatchGet", Scope::User).side_effects(Idempotency::NoSideEffects);
const BATCH_PUT: MethodPolicy = MethodPolicy::new("/test.Users/BatchPut", Scope::User);

impl Method for Get {
    type Request = GetUser;
    type Response = User;
    const POLICY: MethodPolicy = MethodPolicy::new("/test.Users/Get", Scope::User)
        .side_effects(Idempotency::NoSideEffects)
        .batch("/test.Users/BatchGet", MOST_ITEMS);
    const BATCH: Option<BatchGlue<Self>> = Some(BatchGlue { policy: &BATCH, joins, request, responses });

    fn key(request: &GetUser) -> Result<Key<'_>, cell_map::KeyError> {
        CanonicalKey::borrowed(request.user_id.as_bytes())
    }
}

impl Method for Look {
    type Request = GetUser;
    type Response = User;
    const POLICY: MethodPolicy =
        MethodPolicy::new("/test.Users/Look", Scope::User).side_effects(Idempotency::NoSideEffects);

    fn key(request: &GetUser) -> Result<Key<'_>, cell_map::KeyError> {
        CanonicalKey::borrowed(request.user_id.as_bytes())
    }
}

impl Method for Put {
    type Request = GetUser;
    type Response = User;
    const POLICY: MethodPolicy =
        MethodPolicy::new("/test.Users/Put", Scope::User).batch("/test.Users/BatchPut", MOST_ITEMS);
    const BATCH: Option<BatchGlue<Self>> = Some(BatchGlue { policy: &BATCH_PUT, joins, request, responses });

    fn key(request: &GetUser) -> Result<Key<'_>, cell_map::KeyError> {
        CanonicalKey::borrowed(request.user_id.as_bytes())
    }
}

fn joins(one: &GetUser, two: &GetUser) -> bool {
    one.mask == two.mask
}

fn request(items: &[&[u8]]) -> Vec<u8> {
    let items: Vec<_> = items.iter().map(|item| GetUser::decode(*item).expect("as it was encoded")).collect();
    let user_ids = items.iter().map(|item| item.user_id.clone()).collect();
    BatchGetUsers { user_ids, mask: items[0].mask.clone() }.encode_to_vec()
}

fn responses(message: &[u8]) -> Result<Vec<Result<User, ItemError>>, prost::DecodeError> {
    let results = Users::decode(message)?.results.into_iter();
    Ok(results.map(|result| result.user.ok_or((result.code, result.message))).collect())
}

macro_rules! batch {
    ($($name:ident = $policy:expr;)*) => {$(
        impl Method for $name {
            type Request = BatchGetUsers;
            type Response = Users;
            const POLICY: MethodPolicy = $policy;
            const SPLIT: Option<SplitGlue<Self>> = Some(SplitGlue {
                max: MOST_ITEMS as usize,
                keys: |request, each| {
                    request.user_ids.iter().for_each(|id| each(CanonicalKey::borrowed(id.as_bytes())));
                },
                select: |request, positions| BatchGetUsers {
                    user_ids: positions.iter().map(|position| request.user_ids[*position].clone()).collect(),
                    mask: request.mask.clone(),
                },
                merge,
            });
        }
    )*};
}

batch! {
    BatchGet = BATCH;
    BatchPut = BATCH_PUT;
}

fn merge(whole: &BatchGetUsers, parts: Vec<(Vec<usize>, Result<Users, ItemError>)>) -> Result<Users, String> {
    let mut results = vec![UserResult::default(); whole.user_ids.len()];
    for (positions, part) in parts {
        let part = match part {
            Ok(part) if part.results.len() == positions.len() => part.results,
            Ok(part) => return Err(format!("{} results for {} items", part.results.len(), positions.len())),
            Err((code, message)) => vec![UserResult { user: None, code, message }; positions.len()],
        };
        positions.into_iter().zip(part).for_each(|(position, result)| results[position] = result);
    }
    Ok(Users { results })
}

/// What the wire was asked to send.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub path: &'static str,
    pub users: Vec<String>,
    pub at: Instant,
    pub call: WireCall,
    /// Whether the caller gave it up.
    pub cancelled: bool,
}

impl Sent {
    pub fn is_batch(&self) -> bool {
        self.path.contains("Batch")
    }

    /// Time it was given.
    pub fn time(&self) -> Duration {
        self.call.deadline - self.at
    }
}

/// What a call is answered with, and when.
pub(crate) type Plan = (Duration, Option<Result<Vec<u8>, Error>>);

/// A wire that notes its calls. Users live in the cell that their ids begin with, like `sh-1/ann`, or in `bj-1`.
pub(crate) struct Probe {
    pub sent: Mutex<Vec<Sent>>,
    pub flying: AtomicUsize,
    pub router: std::sync::atomic::AtomicBool,
    plan: Box<dyn Fn(&Sent) -> Plan + Send + Sync>,
}

impl Probe {
    /// Each call takes so long and is answered by [`serve`].
    pub fn slow(delay: Duration) -> Arc<Self> {
        Self::new(move |_| (delay, None))
    }

    /// Calls are answered as the plan says; by [`serve`], where it says nothing.
    pub fn new(plan: impl Fn(&Sent) -> Plan + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            sent: Mutex::default(),
            flying: AtomicUsize::new(0),
            router: false.into(),
            plan: Box::new(plan),
        })
    }

    pub fn mesh(self: &Arc<Self>) -> Mesh {
        self.mesh_with(Settings::default())
    }

    pub fn mesh_with(self: &Arc<Self>, settings: Settings) -> Mesh {
        Mesh::over(Arc::<Self>::clone(self), settings)
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many calls were sent.
    pub fn count(&self) -> usize {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn flying(&self) -> usize {
        self.flying.load(Ordering::SeqCst)
    }
}

/// Answers each user with himself; `none…` is NOT_FOUND; `bad…` is INVALID_ARGUMENT, for a batch as a whole.
pub(crate) fn serve(sent: &Sent, seen: u64) -> Result<Vec<u8>, Error> {
    let one = |id: &str| match id {
        id if id.starts_with("none") => Err(Error::new(Code::NotFound, format!("no user {id}"))),
        id => Ok(User { user_id: id.to_owned(), seen }),
    };
    if let Some(bad) = sent.users.iter().find(|id| id.starts_with("bad")) {
        return Err(Error::new(Code::InvalidArgument, format!("{bad} is no user")));
    }
    if !sent.is_batch() {
        return one(&sent.users[0]).map(|user| user.encode_to_vec());
    }
    let results = sent.users.iter().map(|id| match one(id) {
        Ok(user) => UserResult { user: Some(user), ..Default::default() },
        Err(error) => UserResult { code: error.code().number(), message: error.message().to_owned(), user: None },
    });
    Ok(Users { results: results.collect() }.encode_to_vec())
}

struct Flight<'a>(&'a Probe, usize, bool);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.flying.fetch_sub(1, Ordering::SeqCst);
        if !self.2 {
            self.0.sent.lock().unwrap_or_else(PoisonError::into_inner)[self.1].cancelled = true;
        }
    }
}

pub(crate) fn cell_of(key: Option<&[u8]>) -> CellId {
    let text = key.map_or("", |key| std::str::from_utf8(key).expect("tests use text"));
    let name = text.split_once('/').map_or("bj-1", |(cell, _)| cell);
    CellId::new(name).expect("a cell's name")
}

impl Wire for Probe {
    fn unary(&self, call: WireCall) -> BoxFuture<'_, Result<WireReply, Error>> {
        Box::pin(async move {
            let message = &call.frame[HEADER_LEN..];
            assert_eq!(call.frame[0], 0, "not compressed");
            assert_eq!(call.frame[1..5], u32::try_from(message.len()).expect("short").to_be_bytes());
            let path = call.policy.path;
            let users = match path.contains("Batch") {
                true => BatchGetUsers::decode(message).expect("a batch").user_ids,
                false => vec![GetUser::decode(message).expect("a request").user_id],
            };
            let sent = Sent { path, users, at: now(), call: call.clone(), cancelled: false };
            let number = {
                let mut log = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
                log.push(sent.clone());
                log.len() - 1
            };
            self.flying.fetch_add(1, Ordering::SeqCst);
            let mut flight = Flight(self, number, false);
            let (delay, answer) = (self.plan)(&sent);
            let answer = answer.unwrap_or_else(|| serve(&sent, number as u64));
            let ends = call.deadline.into();
            let late = tokio::time::timeout_at(ends, tokio::time::sleep(delay)).await.is_err();
            flight.2 = true;
            if late {
                return Err(Error::deadline_exceeded());
            }
            let cell = Some(cell_of(call.key.as_ref().map(|key| key.as_bytes())));
            let token = match (&call.fresh, &cell) {
                (Fresh::AtLeast(token), _) => Some(token.clone()),
                (_, Some(cell)) => Some(Token::new(cell.clone(), 0, number as u64)),
                _ => None,
            };
            Ok(WireReply { message: answer?.into(), cell, attempts: 1, hops: 0, token })
        })
    }

    fn stream(&self, _call: WireCall) -> BoxFuture<'_, Result<Box<dyn WireStream>, Error>> {
        Box::pin(async { Err(Error::new(Code::Unimplemented, "the probe has no streams")) })
    }

    fn destination(&self, _policy: &MethodPolicy, key: Option<&[u8]>) -> Destination {
        match self.router.load(Ordering::SeqCst) {
            true => Destination::Router,
            false => Destination::Cell(cell_of(key)),
        }
    }
}

/// A client of one method.
pub(crate) struct Client<M: Method> {
    pub mesh: Mesh,
    pub slot: Slot<M>,
}

impl<M: Method> Client<M> {
    pub fn new(mesh: &Mesh) -> Self {
        Self { mesh: mesh.clone(), slot: Slot::of(mesh) }
    }

    pub fn call(&self, request: M::Request) -> Call<'_, M> {
        Call::new(&self.mesh, &self.slot, request)
    }
}

impl<M: Method<Request = GetUser>> Client<M> {
    pub fn get(&self, user_id: impl Into<String>) -> Call<'_, M> {
        self.call(GetUser { user_id: user_id.into(), ..GetUser::default() })
    }
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A generator of random numbers for the test of this name. Prints its seed; `CELLMESH_SEED` repeats a run.
pub(crate) fn random(test: &str) -> StdRng {
    let seed = std::env::var("CELLMESH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("{test}: CELLMESH_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
