//! A mesh of three cells, as a router tells of it.

use crate::{
    depot::Depot,
    server::{Asked, Server},
};
use cell_map::{BucketEpoch, Cell, CellId, CellMap, Incarnation, MapDraft, OwnerEpochs, RegionId, UserEpoch};
use client_sdk::{Mesh, MeshBuilder, State};
use mesh_layers::frame;
use mesh_proto::control_v1::{
    CellInstances, Instance, Instances, MethodRestriction, Restrictions, WatchMeshRequest, WatchMeshResponse,
};
use prost::Message;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

pub const SERVICE: &str = "depot.v1.Depot";

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

/// The `n`th user who is at home in this cell by [`map`].
pub fn user(home: &str, n: usize) -> String {
    let map = map();
    let at_home = |user: &String| map.home(user.as_bytes()).cell.id == cell(home);
    (1..).map(|n| format!("user-{n}")).filter(at_home).nth(n).unwrap()
}

/// What a router tells.
#[derive(Clone)]
pub struct Told {
    pub map: Option<Arc<CellMap>>,
    pub instances: Vec<(&'static str, SocketAddr)>,
    /// Routers of cell `a`.
    pub routers: Vec<SocketAddr>,
    pub methods: Vec<MethodRestriction>,
    /// It goes on beating; else it falls silent.
    pub beats: bool,
    /// What it says of how long the stream has been open; `None`: the truth.
    pub elapsed_ms: Option<u64>,
}

impl Told {
    pub fn new(instances: &[(&'static str, &Server)]) -> Self {
        let instances = instances.iter().map(|(cell, server)| (*cell, server.address)).collect();
        Self {
            map: Some(Arc::new(map())),
            instances,
            routers: Vec::new(),
            methods: Vec::new(),
            beats: true,
            elapsed_ms: None,
        }
    }

    fn message(&self, request: &WatchMeshRequest, start: Instant) -> WatchMeshResponse {
        let mut cells: Vec<CellInstances> = Vec::new();
        for (cell, address) in &self.instances {
            let instance = Instance { address: address.to_string(), services: vec![SERVICE.to_owned()] };
            match cells.iter_mut().find(|known| known.cell == *cell) {
                Some(known) => known.instances.push(instance),
                None => cells.push(CellInstances {
                    cell: (*cell).to_owned(),
                    instances: vec![instance],
                    routers: Vec::new(),
                }),
            }
        }
        if let Some(known) = cells.iter_mut().find(|known| known.cell == "a") {
            known.routers = self.routers.iter().map(SocketAddr::to_string).collect();
        }
        let news = self.map.as_ref().filter(|map| {
            (map.incarnation().get(), map.epoch().get()) != (request.known_incarnation, request.known_epoch)
        });
        let elapsed = u64::try_from(start.elapsed().as_millis()).unwrap();
        WatchMeshResponse {
            map: news.map(|map| (&**map).into()),
            instances: Some(Instances { cells }),
            restrictions: Some(Restrictions { methods: self.methods.clone(), logics: Vec::new() }),
            cell: "a".to_owned(),
            elapsed_ms: self.elapsed_ms.unwrap_or(elapsed),
        }
    }
}

/// A router of cell `a`, which tells, and does with other calls what the test says.
pub struct Router {
    pub server: Server,
    pub told: watch::Sender<Told>,
}

impl Router {
    /// Answers other calls with "router".
    pub async fn start(told: Told) -> Self {
        Self::with(told, |asked| async move { asked.with("cellmesh-cell", "a").echo("router") }).await
    }

    pub async fn with<F, Fut>(told: Told, handler: F) -> Self
    where
        F: Fn(Asked) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), told, handler).await
    }

    pub async fn at<F, Fut>(address: SocketAddr, told: Told, handler: F) -> Self
    where
        F: Fn(Asked) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (told, receiver) = watch::channel(told);
        let server = Server::start_at(address, move |asked| {
            let (handler, receiver) = (handler.clone(), receiver.clone());
            async move {
                match asked.seen.path.as_str() {
                    "/cellmesh.control.v1.ControlService/WatchMesh" => tell(asked, receiver).await,
                    _ => handler(asked).await,
                }
            }
        });
        Self { server: server.await, told }
    }
}

async fn tell(mut asked: Asked, mut told: watch::Receiver<Told>) {
    let mut request = WatchMeshRequest::decode(asked.seen.message.clone()).unwrap();
    let start = Instant::now();
    let response = asked.head();
    let Ok(mut stream) = asked.respond.send_response(response, false) else { return };
    loop {
        let now = told.borrow_and_update().clone();
        if !now.beats {
            return std::future::pending().await;
        }
        let message = now.message(&request, start);
        if let Some(map) = &message.map {
            (request.known_incarnation, request.known_epoch) = (map.incarnation, map.epoch);
        }
        if stream.send_data(frame::encode(&message.encode_to_vec()), false).is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(300)) => {}
            changed = told.changed() => if changed.is_err() { return },
        }
    }
}

/// A client's mesh.
pub fn builder(router: &Router) -> MeshBuilder {
    Mesh::builder().seeds([router.server.address.to_string()])
}

/// A mesh that knows the world.
pub async fn mesh(router: &Router) -> (Mesh, Depot) {
    ready(builder(router)).await
}

pub async fn ready(builder: MeshBuilder) -> (Mesh, Depot) {
    let mesh = builder.build().unwrap();
    within(mesh.ready()).await.unwrap();
    assert_eq!(mesh.state(), State::Ready);
    let depot = Depot::new(&mesh);
    (mesh, depot)
}

/// Waits, but not for ever.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it took more than 30 s")
}

/// Asks until the answer is yes.
pub async fn eventually(mut asked: impl AsyncFnMut() -> bool) {
    within(async {
        while !asked().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// An address where nobody listens.
pub async fn nowhere() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}
