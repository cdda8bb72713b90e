//! The example service: what a service's author writes, with the generated code spelt out at the end.

use futures_util::{StreamExt as _, stream::BoxStream};
use mesh_layers::{MeshError, error::WrongCell};
use service_runtime::{At, Consumer, Context, Found, Parts, Service, Told, UserFeed, bad_field, status};
use std::{
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};
use storage::{BoxFuture, Migration, OutboxEvent, OutboxRow, TableSpec, Tx, UserData, UserTables, Value, WorkError};
use tokio::sync::Notify;
use tonic::{Request, Response, Status};

pub const WRITE: &str = "/test.notes.v1.NoteService/WriteNote";
pub const READ: &str = "/test.notes.v1.NoteService/ReadNotes";
pub const WATCH: &str = "/test.notes.v1.NoteService/WatchNotes";
pub const MISBEHAVE: &str = "/test.notes.v1.NoteService/Misbehave";

/// The descriptor set with its options.
pub static DESCRIPTORS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compiler = protox::Compiler::new([here.join("tests/proto"), here.join("../../proto")]).unwrap();
    compiler.include_imports(true).open_file("notes.proto").unwrap();
    compiler.encode_file_descriptor_set()
});

/// Events that the service's own consumer took, and how often it is to fail before that.
#[derive(Default)]
pub struct Taken {
    pub events: Mutex<Vec<(OutboxRow, Option<String>)>>,
    pub failures: Mutex<u32>,
}

/// The service.
#[derive(Default)]
pub struct Notes {
    pub taken: Arc<Taken>,
    /// Opened by the test.
    pub gate: Option<Arc<Mutex<Option<service_runtime::Gate>>>>,
    /// What a call that waits is told.
    pub go_on: Arc<Notify>,
}

impl Service for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn descriptor_set(&self) -> &'static [u8] {
        &DESCRIPTORS
    }

    fn migrations(&self) -> Vec<Migration> {
        let sql = "CREATE TABLE note (user_key BLOB NOT NULL, seq BIGINT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (user_key, seq))";
        vec![Migration { module: "notes", version: 1, name: "notes", sql }]
    }

    fn participants(&self) -> Vec<Arc<dyn UserData>> {
        vec![Arc::new(UserTables::new("notes", vec![TableSpec::new("note", &["seq"])]))]
    }

    fn start(&self, ctx: &Context, parts: &mut Parts) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        parts.serve(NoteServer(Adapter { ctx: ctx.clone(), go_on: Arc::clone(&self.go_on) }));
        let taken = Arc::clone(&self.taken);
        parts.consume(Consumer::new("log", ["note.written"], move |event| take(Arc::clone(&taken), event)));
        if let Some(gate) = &self.gate {
            *gate.lock().unwrap() = Some(ctx.readiness.gate("first snapshot"));
        }
        Ok(())
    }
}

async fn take(taken: Arc<Taken>, event: Arc<OutboxRow>) -> Result<(), Status> {
    let failing = {
        let mut failures = taken.failures.lock().unwrap();
        let failing = *failures > 0;
        *failures = failures.saturating_sub(1);
        failing
    };
    if failing {
        return Err(Status::unavailable("not now"));
    }
    let trace = mesh_layers::trace::current_traceparent();
    taken.events.lock().unwrap().push(((*event).clone(), trace));
    Ok(())
}

/// The gRPC adapter.
#[derive(Clone)]
struct Adapter {
    ctx: Context,
    go_on: Arc<Notify>,
}

fn key(user_id: &str) -> Result<cell_map::UserKey, Status> {
    cell_map::UserKey::from_text(user_id).map_err(|error| bad_field("user_id", error))
}

impl Adapter {
    async fn write(self, request: Request<WriteNoteRequest>) -> Result<Response<WriteNoteResponse>, Status> {
        let WriteNoteRequest { user_id, text } = request.into_inner();
        let key = key(&user_id)?;
        let fence = self.ctx.fence(&key);
        let written = self.ctx.db.fenced::<_, Status, _>(&fence, |tx| {
            Box::pin(async move {
                let user = Value::from(tx.user().expect("a fenced transaction has a user").as_bytes());
                let sql = "SELECT COUNT(*) FROM note WHERE user_key = ?";
                let count = tx.query(sql, vec![user.clone()]).await?.remove(0).integer()? + 1;
                let row = vec![user, count.into(), text.as_str().into()];
                tx.execute("INSERT INTO note (user_key, seq, text) VALUES (?, ?, ?)", row).await?;
                tx.emit(OutboxEvent::new("note.written", text)).await?;
                Ok(count)
            })
        });
        let count = written.await.map_err(status)?;
        Ok(Response::new(WriteNoteResponse { count }))
    }

    async fn read(self, request: Request<ReadNotesRequest>) -> Result<Response<ReadNotesResponse>, Status> {
        let key = key(&request.get_ref().user_id)?;
        let fence = self.ctx.fence(&key);
        let read = self.ctx.db.fenced_read::<_, Status, _>(&fence, |tx| {
            Box::pin(async move {
                let user = Value::from(tx.user().expect("a fenced transaction has a user").as_bytes());
                let rows = tx.query("SELECT text FROM note WHERE user_key = ? ORDER BY seq", vec![user]).await?;
                Ok(rows.into_iter().map(|mut row| row.text()).collect::<Result<Vec<_>, _>>()?)
            })
        });
        let texts = read.await.map_err(status)?;
        Ok(Response::new(ReadNotesResponse { texts }))
    }

    async fn watch(self, request: Request<ReadNotesRequest>) -> Result<Response<Watched>, Status> {
        let key = key(&request.get_ref().user_id)?;
        let stream = self.ctx.user_stream(key, NoteFeed { after: 0 }).await?;
        let message = |told: Told<Vec<String>>| {
            let (texts, At { user_epoch, position }) = (told.item.unwrap_or_default(), told.at);
            WatchNotesResponse { texts, user_epoch, position, elapsed_ms: told.elapsed_ms }
        };
        Ok(Response::new(stream.map(move |told| told.map(message)).boxed()))
    }

    async fn misbehave(self, request: Request<MisbehaveRequest>) -> Result<Response<MisbehaveResponse>, Status> {
        let MisbehaveRequest { how, user_id } = request.into_inner();
        match how.as_str() {
            "panic" => panic!("asked to panic"),
            "sleep" => tokio::time::sleep(Duration::from_secs(60)).await,
            "wait" => self.go_on.notified().await,
            "nap" => tokio::time::sleep(Duration::from_millis(300)).await,
            "forge" => {
                let owner = cell_map::CellId::new("sh-1").unwrap();
                let epochs = cell_map::OwnerEpochs::ZERO;
                return Err(MeshError::wrong_cell(&WrongCell { owner, epochs, map_epoch: None }).into());
            }
            "leak" => return Err(Status::internal("bare")),
            "write then be refused" => {
                let home = self.clone().write(Request::new(WriteNoteRequest { user_id, text: "kept".into() }));
                home.await?;
                self.read(Request::new(ReadNotesRequest { user_id: crate::world::elsewhere() })).await?;
            }
            "have it written, then be refused" => {
                let mut client = tonic::client::Grpc::new(self.ctx.mesh.clone());
                client.ready().await.expect("the mesh always answers");
                let message = Request::new(WriteNoteRequest { user_id, text: "kept".into() });
                let codec = tonic_prost::ProstCodec::<WriteNoteRequest, WriteNoteResponse>::default();
                client.unary(message, WRITE.parse().unwrap(), codec).await?;
                self.read(Request::new(ReadNotesRequest { user_id: crate::world::elsewhere() })).await?;
            }
            // Through the mesh channel, as any other client would.
            "call" => {
                let mut client = tonic::client::Grpc::new(self.ctx.mesh.clone());
                client.ready().await.expect("the mesh always answers");
                let message = Request::new(ReadNotesRequest { user_id });
                let codec = tonic_prost::ProstCodec::<ReadNotesRequest, ReadNotesResponse>::default();
                let reply = client.unary(message, READ.parse().unwrap(), codec).await?;
                let text = reply.into_inner().texts.join(",");
                return Ok(Response::new(MisbehaveResponse { text }));
            }
            _ => {}
        }
        Ok(Response::new(MisbehaveResponse::default()))
    }
}

type Watched = BoxStream<'static, Result<WatchNotesResponse, Status>>;

/// Notes in their order, two at a time.
#[derive(Clone)]
struct NoteFeed {
    after: i64,
}

impl UserFeed for NoteFeed {
    type Item = Vec<String>;
    type Error = Status;

    fn next(self, tx: &mut Tx) -> BoxFuture<'_, Result<Found<Self>, WorkError<Status>>> {
        Box::pin(async move {
            let user = Value::from(tx.user().expect("a fenced transaction has a user").as_bytes());
            let sql = "SELECT text FROM note WHERE user_key = ? AND seq > ? ORDER BY seq LIMIT 2";
            let rows = tx.query(sql, vec![user, self.after.into()]).await?;
            let texts = rows.into_iter().map(|mut row| row.text()).collect::<Result<Vec<_>, _>>()?;
            let (feed, more) = (Self { after: self.after + texts.len() as i64 }, texts.len() == 2);
            Ok(Found { feed, item: (!texts.is_empty()).then_some(texts), at: At::of(tx).await?, more })
        })
    }
}

// What tonic's code generation writes.

#[derive(Clone, PartialEq, prost::Message)]
pub struct WriteNoteRequest {
    #[prost(string, tag = "1")]
    pub user_id: String,
    #[prost(string, tag = "2")]
    pub text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WriteNoteResponse {
    #[prost(int64, tag = "1")]
    pub count: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadNotesRequest {
    #[prost(string, tag = "1")]
    pub user_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadNotesResponse {
    #[prost(string, repeated, tag = "1")]
    pub texts: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchNotesResponse {
    #[prost(string, repeated, tag = "1")]
    pub texts: Vec<String>,
    #[prost(uint64, tag = "2")]
    pub user_epoch: u64,
    #[prost(uint64, tag = "3")]
    pub position: u64,
    #[prost(uint64, tag = "4")]
    pub elapsed_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MisbehaveRequest {
    #[prost(string, tag = "1")]
    pub how: String,
    #[prost(string, tag = "2")]
    pub user_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MisbehaveResponse {
    #[prost(string, tag = "1")]
    pub text: String,
}

struct Watch(Adapter);

impl tonic::server::ServerStreamingService<ReadNotesRequest> for Watch {
    type Response = WatchNotesResponse;
    type ResponseStream = Watched;
    type Future = BoxFuture<'static, Result<Response<Watched>, Status>>;

    fn call(&mut self, request: Request<ReadNotesRequest>) -> Self::Future {
        Box::pin(self.0.clone().watch(request))
    }
}

#[derive(Clone)]
struct NoteServer(Adapter);

impl tonic::server::NamedService for NoteServer {
    const NAME: &'static str = "test.notes.v1.NoteService";
}

impl tower::Service<http::Request<tonic::body::Body>> for NoteServer {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        use tonic::server::Grpc;
        use tonic_prost::ProstCodec;
        use tower::service_fn;
        let adapter = self.0.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                WRITE => {
                    let handler = service_fn(move |request| adapter.clone().write(request));
                    Grpc::new(ProstCodec::default()).unary(handler, request).await
                }
                READ => {
                    let handler = service_fn(move |request| adapter.clone().read(request));
                    Grpc::new(ProstCodec::default()).unary(handler, request).await
                }
                WATCH => {
                    let handler = Watch(adapter);
                    Grpc::new(ProstCodec::default()).server_streaming(handler, request).await
                }
                MISBEHAVE => {
                    let handler = service_fn(move |request| adapter.clone().misbehave(request));
                    Grpc::new(ProstCodec::default()).unary(handler, request).await
                }
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}
