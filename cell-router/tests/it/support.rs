//! Routers in this process, and tiny gRPC servers behind them that say what a test wants.

use bytes::Bytes;
use cell_map::{BucketEpoch, Cell, CellId, CellMap, Incarnation, MapDraft, OwnerEpochs, RegionId, UserEpoch};
use cell_router::{Config, Parts, Router, config::Instance};
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Response};
use mesh_layers::{MeshError, error::WrongCell, frame, trust::PeerToken};
use mesh_policy::PolicyTable;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use testkit::call::{Answer, Caller};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

pub const TOKEN: &str = "the-token-of-the-tests";
pub const SHELF: &str = "/warehouse.v1.Shelf";

/// Policies of the stranger's proto.
pub fn table() -> PolicyTable {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto");
    let mut compiler = protox::Compiler::new([here, root]).unwrap();
    compiler.include_imports(true).open_file("warehouse.proto").unwrap();
    PolicyTable::from_descriptor_sets([&compiler.encode_file_descriptor_set()[..]]).unwrap()
}

pub fn cell(name: &str) -> CellId {
    CellId::new(name).unwrap()
}

pub fn epochs(user: u64, bucket: u64) -> OwnerEpochs {
    OwnerEpochs::new(UserEpoch::new(user), BucketEpoch::new(bucket))
}

/// Cells `a` (global), `b` and `c`, each in a region of its own; `b` is nearer to `a` than `c`.
pub fn draft() -> MapDraft {
    let mut draft = MapDraft::new(Incarnation::new(1));
    let region = |name: &str| RegionId::new(name).unwrap();
    for name in ["a", "b", "c"] {
        draft.add_cell(Cell::new(cell(name), region(name))).unwrap();
    }
    for (x, y, ms) in [("a", "b", 10), ("a", "c", 20), ("b", "c", 20)] {
        draft.set_distance(&region(x), &region(y), Duration::from_millis(ms)).unwrap();
    }
    draft.set_global_cell(&cell("a")).spread_buckets().unwrap();
    draft
}

pub fn map() -> CellMap {
    draft().build().unwrap()
}

/// The `n`th number that, as a key, is at home in this cell by [`map`].
pub fn account(home: &str, n: usize) -> i64 {
    let map = map();
    let at_home = |key: &i64| map.home(key.to_string().as_bytes()).cell.id == cell(home);
    (1..).filter(at_home).nth(n).unwrap()
}

pub fn text_account(home: &str, n: usize) -> String {
    account(home, n).to_string()
}

/// A string field.
pub fn text(field: u8, value: &str) -> Vec<u8> {
    field_bytes(field, value.as_bytes())
}

pub fn field_bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    prost::encoding::encode_varint(value.len() as u64, &mut out);
    out.extend_from_slice(value);
    out
}

/// A PutRequest of this owner.
pub fn put(account: i64) -> Vec<u8> {
    let mut owner = text(1, "somebody");
    owner.push(2 << 3);
    prost::encoding::encode_varint(account as u64, &mut owner);
    [text(1, "a thing"), field_bytes(7, &owner)].concat()
}

/// A GetRequest of this account.
pub fn get(account: &str) -> Vec<u8> {
    text(3, account)
}

/// What a server behind the router was asked.
#[derive(Clone, Debug)]
pub struct Seen {
    pub headers: HeaderMap,
    pub message: Bytes,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// One call at such a server.
pub struct Asked {
    /// Calls before this one.
    pub number: usize,
    pub seen: Seen,
    pub respond: SendResponse<Bytes>,
}

impl Asked {
    /// Answers with messages that hold these texts.
    pub fn echo(self, texts: &[&str]) {
        let messages: Vec<Vec<u8>> = texts.iter().map(|value| text(1, value)).collect();
        self.messages(&messages);
    }

    pub fn messages(mut self, messages: &[Vec<u8>]) {
        let response = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let Ok(mut stream) = self.respond.send_response(response, false) else { return };
        for message in messages {
            let _ = stream.send_data(frame::encode(message), false);
        }
        let _ = stream.send_trailers(HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        )]));
    }

    /// Answers trailers-only.
    pub fn fail(mut self, error: MeshError, unprocessed: bool) {
        let mut response: Response<()> = error.into_http();
        if unprocessed {
            response.headers_mut().insert("cellmesh-unprocessed", HeaderValue::from_static("1"));
        }
        let _ = self.respond.send_response(response, true);
    }

    pub fn wrong_cell(self, owner: &str, at: OwnerEpochs, unprocessed: bool) {
        let redirect = WrongCell { owner: cell(owner), epochs: at, map_epoch: None };
        self.fail(MeshError::wrong_cell(&redirect), unprocessed);
    }
}

/// A gRPC server that answers as its handler says.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    pub async fn start<F, Fut>(handler: F) -> Self
    where
        F: Fn(Asked) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), handler).await
    }

    /// Echoes its name.
    pub async fn named(name: &'static str) -> Self {
        Self::start(move |asked| async move { asked.echo(&[name]) }).await
    }

    /// Takes calls and never answers.
    pub async fn silent() -> Self {
        let hold = |asked: Asked| async move {
            let _held = asked;
            std::future::pending::<()>().await;
        };
        Self::start(hold).await
    }

    pub async fn start_at<F, Fut>(address: SocketAddr, handler: F) -> Self
    where
        F: Fn(Asked) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(64).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let known = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            // Dropped with the task, and the connections with it.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(connection(stream, handler.clone(), Arc::clone(&known)));
            }
        });
        Self { address, seen, task }
    }

    /// Ends at once, like a process that is killed.
    pub async fn kill(mut self) -> SocketAddr {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.address
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn connection<F, Fut>(stream: TcpStream, handler: F, seen: Arc<Mutex<Vec<Seen>>>)
where
    F: Fn(Asked) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    stream.set_nodelay(true).unwrap();
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut calls = tokio::task::JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (handler, seen) = (handler.clone(), Arc::clone(&seen));
        calls.spawn(async move {
            let (head, body) = request.into_parts();
            // A router asks other cells' for their instances; this one has nothing to tell.
            if head.uri.path().starts_with("/cellmesh.control.v1.") {
                return;
            }
            let Some(message) = message(body).await else { return };
            let call = Seen { headers: head.headers, message };
            let number = {
                let mut seen = seen.lock().unwrap();
                seen.push(call.clone());
                seen.len() - 1
            };
            handler(Asked { number, seen: call, respond }).await;
        });
    }
}

async fn message(mut body: RecvStream) -> Option<Bytes> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        let _ = body.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
    }
    Some(Bytes::from(bytes).split_off(5))
}

/// A router with the switch of its map.
pub struct Started {
    pub router: Router,
    pub maps: watch::Sender<Arc<CellMap>>,
}

impl Started {
    pub fn front(&self) -> SocketAddr {
        self.router.addresses().front
    }

    pub fn peer(&self) -> SocketAddr {
        self.router.addresses().peer
    }

    pub async fn caller(&self) -> Caller {
        Caller::connect(self.front()).await.unwrap()
    }

    /// A caller that sees frames. Its streams have the smallest usual window.
    pub async fn raw(&self) -> h2::client::SendRequest<Bytes> {
        let stream = TcpStream::connect(self.front()).await.unwrap();
        let mut builder = h2::client::Builder::new();
        let (sender, connection) = builder.initial_connection_window_size(8 << 20).handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub async fn peer_caller(&self) -> Caller {
        Caller::connect(self.peer()).await.unwrap()
    }

    /// Waits until these cells are connected.
    pub async fn reaches(&self, cells: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let live = |name: &&str| {
            let world = self.router.brain().worlds.load().unwrap();
            world.ways().iter().any(|way| way.id == cell(name) && way.is_live())
        };
        while !cells.iter().all(live) {
            assert!(Instant::now() < deadline, "{cells:?} are not connected");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A router's configuration: of cell `a`, with these instances and ways to other cells.
pub fn config(name: &str, instances: &[SocketAddr], peers: &[(&str, SocketAddr)]) -> Config {
    let mut config = Config::new(cell(name));
    config.peer.token = Some(PeerToken::new(TOKEN).unwrap());
    config.router.instances = instances.iter().map(|at| Instance::new(at.to_string())).collect();
    config.router.upstream_connections = 2;
    config.peers.overrides = peers.iter().map(|(cell, at)| ((*cell).to_owned(), at.to_string())).collect();
    config
}

pub async fn start_with(config: Config, map: CellMap) -> Started {
    let (maps, receiver) = watch::channel(Arc::new(map));
    let router = Router::start(Parts { config, table: table(), maps: receiver, log: None }).await.unwrap();
    Started { router, maps }
}

/// A router of cell `a`, connected to everything.
pub async fn start(instances: &[&Upstream], peers: &[(&str, &Upstream)]) -> Started {
    let instances: Vec<SocketAddr> = instances.iter().map(|upstream| upstream.address).collect();
    let ways: Vec<(&str, SocketAddr)> = peers.iter().map(|(cell, upstream)| (*cell, upstream.address)).collect();
    let started = start_with(config("a", &instances, &ways), map()).await;
    let mut cells: Vec<&str> = ways.iter().map(|(cell, _)| *cell).collect();
    if !instances.is_empty() {
        cells.push("a");
    }
    started.reaches(&cells).await;
    started
}

/// Calls a method of the shelf.
pub async fn call(caller: &mut Caller, method: &str, message: &[u8], extra: &[(&str, &str)]) -> Answer {
    caller.unary(&format!("{SHELF}/{method}"), message, extra).await.unwrap()
}

/// The text of an Echo.
#[track_caller]
pub fn echoed(answer: &Answer) -> String {
    assert_eq!(answer.code(), Some(tonic::Code::Ok), "{:?}", answer.status());
    let body = &answer.body[5..];
    assert_eq!(body[0], 1 << 3 | 2, "an Echo begins with its text");
    String::from_utf8(body[2..2 + usize::from(body[1])].to_vec()).unwrap()
}

/// Code and reason of an error of the mesh.
#[track_caller]
pub fn refused(answer: &Answer) -> (tonic::Code, String) {
    let info = answer.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {:?} {:?}", answer.http, answer.trailers));
    assert_eq!(info.domain, "cellmesh");
    (answer.code().unwrap(), info.reason)
}
