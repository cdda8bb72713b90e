//! A wire whose server is the test.

use super::names::{AskRequest, AskResponse, SubscribeRequest, SubscribeResponse};
use crate::{
    Call, CallOptions, Code, Error, Fresh, LocalSettings, Mesh, Method, MethodPolicy, Position, Reply, Settings, Slot,
    Source, Token, UserKey,
    local::Logics,
    wire::{Destination, Wire, WireCall, WireReply, WireStream},
};
use bytes::Bytes;
use cell_map::CellId;
use futures_util::future::BoxFuture;
use prost::Message;
use std::{
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

    fn destination(&self, _: &MethodPolicy, key: Option<&[u8]>) -> Destination {
        match key {
            Some(key) if key.starts_with(b"far") => Destination::Cell(CellId::new("far").unwrap()),
            _ => Destination::Router,
        }
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
        Self {
            mesh: Mesh::made(Arc::clone(&wire) as Arc<dyn Wire>, None, Settings::default(), registered),
            opened,
            wire,
        }
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
