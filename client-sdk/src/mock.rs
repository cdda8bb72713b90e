//! A mesh for tests of your own code: each method answers what a closure says, in this process.
//!
//! Generated mocks (`NoteServiceMock`) are the way to use it; several share one mesh by being made
//! [`within`](MockMesh) it.

use crate::{
    Code, Error, Mesh, MeshBuilder, Method, MethodPolicy, Settings,
    wire::{Destination, Wire, WireCall, WireReply, WireStream},
};
use bytes::Bytes;
use cell_map::CellId;
use futures_util::{
    FutureExt, Stream, StreamExt,
    future::{BoxFuture, ready},
    stream::{self, BoxStream},
};
use hashbrown::HashMap;
use mesh_layers::frame::HEADER_LEN;
use prost::Message;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What methods answer, and what they were asked. Cheap to clone; clones are one mesh.
///
/// Calls pass the same ladder as in production, but for batches: each call is seen by its own method's closure.
#[derive(Clone, Default)]
pub struct MockMesh(Arc<Mutex<HashMap<&'static str, Mocked>>>);

/// One method.
#[derive(Clone, Default)]
struct Mocked {
    answer: Option<Answer>,
    requests: Vec<Bytes>,
}

type Unary = dyn Fn(&[u8]) -> Result<Bytes, Error> + Send + Sync;
type Streamed = dyn Fn(&[u8]) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> + Send + Sync;

#[derive(Clone)]
enum Answer {
    Unary(Arc<Unary>),
    Stream(Arc<Streamed>),
}

impl fmt::Debug for MockMesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answered: Vec<_> =
            self.lock().iter().filter(|(_, mocked)| mocked.answer.is_some()).map(|(path, _)| *path).collect();
        f.debug_struct("MockMesh").field("answers", &answered).finish()
    }
}

impl MockMesh {
    /// A mesh where every method answers UNIMPLEMENTED so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The mesh, for clients. What is said of answers later on counts for it too.
    #[must_use]
    pub fn mesh(&self) -> Mesh {
        self.mesh_of(Mesh::builder())
    }

    /// The mesh with the settings and local logics of a builder; the feeds are mocked like other streams. Calls are not put
    /// into batches: each method has an answer of its own. Call it inside of a Tokio runtime if there is any logic.
    #[must_use]
    pub fn mesh_of(&self, builder: MeshBuilder) -> Mesh {
        let MeshBuilder { settings, logics, .. } = builder;
        Mesh::made(Arc::new(self.clone()), None, Settings { batching: false, ..settings }, logics)
    }

    /// What a unary method answers from now on.
    pub fn answer<M: Method>(&self, answer: impl Fn(M::Request) -> Result<M::Response, Error> + Send + Sync + 'static) {
        let answer =
            move |request: &[u8]| answer(decode::<M>(request)?).map(|response| response.encode_to_vec().into());
        self.set::<M>(Answer::Unary(Arc::new(answer)));
    }

    /// What a server-streaming method answers from now on; see [`messages`].
    pub fn answer_stream<M: Method, S>(&self, answer: impl Fn(M::Request) -> Result<S, Error> + Send + Sync + 'static)
    where
        S: Stream<Item = Result<M::Response, Error>> + Send + 'static,
    {
        let answer = move |request: &[u8]| {
            let messages = answer(decode::<M>(request)?)?;
            let in_method = |error: Error| error.in_method(M::POLICY.path);
            Ok(messages.map(move |item| item.map(|message| message.encode_to_vec().into()).map_err(in_method)).boxed())
        };
        self.set::<M>(Answer::Stream(Arc::new(answer)));
    }

    /// The requests that reached a method, in order. Calls that were answered on a higher rung did not.
    #[must_use]
    pub fn requests<M: Method>(&self) -> Vec<M::Request> {
        let mocked = self.lock().get(M::POLICY.path).cloned().unwrap_or_default();
        mocked.requests.iter().filter_map(|request| M::Request::decode(&**request).ok()).collect()
    }

    fn set<M: Method>(&self, answer: Answer) {
        self.lock().entry(M::POLICY.path).or_default().answer = Some(answer);
    }

    /// Notes the request; the answer is made when the lock is free again.
    fn note(&self, call: &WireCall) -> Option<Answer> {
        let mut methods = self.lock();
        let mocked = methods.entry(call.policy.path).or_default();
        mocked.requests.push(call.frame.slice(HEADER_LEN..));
        mocked.answer.clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Mocked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream of these messages, for a mock of a server-streaming method.
pub fn messages<T, I>(messages: I) -> impl Stream<Item = Result<T, Error>> + Send + 'static
where
    I: IntoIterator<Item = T, IntoIter: Send + 'static>,
    T: Send + 'static,
{
    stream::iter(messages).map(Ok)
}

fn decode<M: Method>(request: &[u8]) -> Result<M::Request, Error> {
    M::Request::decode(request).map_err(|error| Error::new(Code::Internal, format!("the request is none: {error}")))
}

fn unanswered(policy: &MethodPolicy) -> Error {
    let method = policy.path.trim_start_matches('/');
    Error::new(Code::Unimplemented, format!("the mock has no answer for {method}"))
}

impl Wire for MockMesh {
    fn unary(&self, call: WireCall) -> BoxFuture<'_, Result<WireReply, Error>> {
        let answer = match self.note(&call) {
            Some(Answer::Unary(answer)) => answer(&call.frame[HEADER_LEN..]),
            _ => Err(unanswered(call.policy)),
        };
        let answer = answer.map_err(|error| error.in_method(call.policy.path));
        ready(answer.map(|message| WireReply { message, cell: None, attempts: 1, hops: 0, token: None })).boxed()
    }

    fn stream(&self, call: WireCall) -> BoxFuture<'_, Result<Box<dyn WireStream>, Error>> {
        let answer = match self.note(&call) {
            Some(Answer::Stream(answer)) => answer(&call.frame[HEADER_LEN..]),
            _ => Err(unanswered(call.policy)),
        };
        let answer = answer.map_err(|error| error.in_method(call.policy.path));
        ready(answer.map(|messages| -> Box<dyn WireStream> { Box::new(MockStream(messages)) })).boxed()
    }

    fn destination(&self, _policy: &MethodPolicy, _key: Option<&[u8]>) -> Destination {
        Destination::Router
    }
}

struct MockStream(BoxStream<'static, Result<Bytes, Error>>);

impl WireStream for MockStream {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
        self.0.next().map(Option::transpose).boxed()
    }

    fn cell(&self) -> Option<&CellId> {
        None
    }
}
