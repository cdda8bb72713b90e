//! What the router answers itself: the control API, health of the whole mesh, reflection.

mod mesh;

use crate::{brain::Brain, worker::Common, world::World};
use cell_map::{CellId, CellMap, UserKey};
use futures_util::StreamExt as _;
use mesh_layers::{MeshError, Reason};
use mesh_policy::PolicyTable;
use mesh_proto::control_v1::{
    self as pb, Check, CheckMeshRequest, CheckMeshResponse, ExplainKeyRequest, ExplainKeyResponse, WatchMeshRequest,
    WatchMeshResponse,
    control_service_server::{ControlService, ControlServiceServer},
    map_service_server::MapServiceServer,
};
use mesh_routing::decide::Source;
use service_runtime::Maps;
use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::Arc,
};
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::Routes};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

/// Services that the router answers itself, as paths begin with them.
pub const SERVICES: [&str; 5] = [
    "/cellmesh.control.v1.ControlService/",
    "/cellmesh.control.v1.MapService/",
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// The control API.
#[derive(Clone, Debug)]
pub struct Control {
    common: Arc<Common>,
    watched: Watched,
    drain: CancellationToken,
}

/// What the control API tells of as it changes.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The map in force.
    pub maps: watch::Receiver<Arc<CellMap>>,
    /// The instances of all cells.
    pub instances: watch::Receiver<Arc<BTreeMap<CellId, Vec<pb::Instance>>>>,
    /// The restrictions in force.
    pub restrictions: watch::Receiver<Arc<pb::Restrictions>>,
}

/// All of the router's own services, and what tells their health. Their streams end when the drain begins, which would wait for them.
///
/// # Errors
/// If the descriptor sets are not usable for reflection.
pub fn routes(
    common: Arc<Common>,
    watched: Watched,
    table: &PolicyTable,
    drain: CancellationToken,
) -> Result<(Routes, Health), tonic_reflection::server::Error> {
    let reporter = HealthReporter::new();
    let service = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(table.file_descriptor_set_bytes())
            .register_encoded_file_descriptor_set(mesh_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(service)
        .add_service(MapServiceServer::new(Maps::new(watched.maps.clone(), drain.clone())))
        .add_service(ControlServiceServer::new(Control { common, watched, drain }))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .prepare();
    Ok((routes, Health { reporter, told: HashMap::new() }))
}

/// Health of each service of the mesh, and of the whole as `""`.
#[derive(Debug)]
pub struct Health {
    reporter: HealthReporter,
    /// What was told last: watchers hear of changes only.
    told: HashMap<String, bool>,
}

impl Health {
    /// Tells the health of the whole, and of all services by `serves`.
    pub async fn tell(&mut self, table: &PolicyTable, whole: bool, serves: impl Fn(&str) -> bool) {
        for service in table.services().chain([""]) {
            let serving = if service.is_empty() { whole } else { serves(service) };
            if self.told.get(service) == Some(&serving) {
                continue;
            }
            self.told.insert(service.to_owned(), serving);
            let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
            self.reporter.set_service_status(service, status).await;
        }
    }
}

impl Control {
    fn brain(&self) -> &Brain {
        &self.common.brain
    }

    fn world(&self) -> Result<Arc<World>, Status> {
        let none = || MeshError::new(Reason::Unavailable, "there is no cell map yet").into();
        self.brain().worlds.load().ok_or_else(none)
    }
}

#[tonic::async_trait]
impl ControlService for Control {
    type WatchMeshStream = Pin<Box<dyn Stream<Item = Result<WatchMeshResponse, Status>> + Send>>;

    async fn watch_mesh(&self, request: Request<WatchMeshRequest>) -> Result<Response<Self::WatchMeshStream>, Status> {
        let here = self.brain().worlds.here().clone();
        let stream = mesh::stream(here, self.watched.clone(), request.into_inner());
        Ok(Response::new(Box::pin(stream.take_until(self.drain.clone().cancelled_owned()))))
    }

    async fn explain_key(&self, request: Request<ExplainKeyRequest>) -> Result<Response<ExplainKeyResponse>, Status> {
        let text = request.into_inner().key;
        let key = UserKey::from_text(&text)
            .map_err(|error| MeshError::bad_request(format!("key: {error}")).violation("key", &error.to_string()))?;
        let world = self.world()?;
        let (claim, home) = (self.brain().claim(&world, key.as_bytes()), world.map.home(key.as_bytes()));
        let decided_by = match claim.source {
            Source::Map(by) => by.as_str(),
            Source::Learnt => "learnt",
        };
        let learnt = self.brain().redirect(key.as_bytes()).map(|redirect| redirect.cell.to_string());
        let cell = claim.cell.map(|cell| world.map.cell_at(cell));
        Ok(Response::new(ExplainKeyResponse {
            bucket: home.bucket.get().into(),
            cell: cell.map(|cell| cell.id.to_string()).or(learnt).unwrap_or_default(),
            region: cell.map(|cell| cell.region.to_string()).unwrap_or_default(),
            decided_by: decided_by.to_owned(),
            user_epoch: claim.epochs.user.get(),
            map_epoch: world.map.epoch().get(),
            incarnation: world.map.incarnation().get(),
            reserved: world.map.is_reserved(home.bucket),
            asked_cell: self.brain().worlds.here().to_string(),
        }))
    }

    async fn check_mesh(&self, _: Request<CheckMeshRequest>) -> Result<Response<CheckMeshResponse>, Status> {
        Ok(Response::new(CheckMeshResponse { checks: checks(self.brain()) }))
    }
}

fn checks(brain: &Brain) -> Vec<Check> {
    let here = brain.worlds.here();
    let check = |name: String, ok: bool, why: &str, fix: &str| {
        let text = |text: &str| if ok { String::new() } else { text.to_owned() };
        Check { name, ok, why: text(why), fix: text(fix) }
    };
    let Some(world) = brain.worlds.load() else {
        let fix = "publish a map, or correct the key map.file of the router's configuration";
        return vec![check("cell map loaded".into(), false, "no map was ever read", fix)];
    };
    let in_map = world.here.is_some();
    let mut checks = vec![
        check(format!("cell map loaded, epoch {}", world.map.epoch()), true, "", ""),
        check(
            format!("cell {here} in the map"),
            in_map,
            "the map does not have this router's cell: no user is at home here",
            "add the cell to the map, or correct the key cell of the router's configuration",
        ),
    ];
    let instances = &brain.worlds.instances().endpoints;
    if instances.is_empty() {
        let fix = "name this cell's services in the key router.instances";
        checks.push(check(format!("instance of {here}"), false, "none is configured", fix));
    }
    for endpoint in instances {
        checks.push(check(
            format!("instance {} of {here} connected", endpoint.address),
            endpoint.is_live(),
            "no connection stands: calls of this cell's users fail if no other instance hosts the same and is connected",
            "start cell-services there, and see that its peer listener has this address",
        ));
    }
    for way in world.ways().iter().filter(|way| way.id != *here) {
        checks.push(check(
            format!("cell {} reachable", way.id),
            way.is_live(),
            "no connection to its routers stands: calls of its users fail through this door",
            "see that its router runs, that the map has its peer_endpoints, and that the link is up",
        ));
    }
    checks
}
