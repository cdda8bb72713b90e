//! Starting a process's services, and ending them.

mod supervise;

use crate::{
    admin::Admin,
    bootstrap,
    config::{Config, ListenConfig},
    context::{self, Clock, Context},
    error::RuntimeError,
    maps::{self, MapAdmin, Maps},
    mesh::{Hosted, MeshChannel, RouterAddress},
    metrics::Metrics,
    outbox,
    readiness::Readiness,
    routes::{self, Stack},
    server::{Server, ServerOptions},
    service::{Parts, Service},
    telemetry::LogLevel,
};
use map_store::MapWatch;
use mesh_layers::{Listener, budget::ByteBudget, layer::limit::Limit};
use mesh_policy::PolicyTable;
use mesh_proto::control_v1::{map_admin_service_server::MapAdminServiceServer, map_service_server::MapServiceServer};
use serde::Serialize;
use std::{net::SocketAddr, sync::Arc};
use storage::SealKeys;
use supervise::Supervised;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing_appender::non_blocking::ErrorCounter;

/// Where a process listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// For anyone.
    pub front: SocketAddr,
    /// For the mesh's own processes.
    pub peer: SocketAddr,
    /// Plain HTTP.
    pub admin: SocketAddr,
}

/// Running services. Dropping it drains them in the background.
#[derive(Debug)]
pub struct Running {
    bound: Bound,
    context: Context,
    shutdown: CancellationToken,
    ended: Option<JoinHandle<Result<(), RuntimeError>>>,
}

impl Running {
    /// The bound addresses.
    #[must_use]
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// What the services were given.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The services with all their layers, for callers within this process.
    #[must_use]
    pub fn hosted(&self) -> Hosted {
        Hosted(self.context.mesh.clone())
    }

    /// Begins the drain.
    pub fn shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Waits until the process is ready. Cancel-safe.
    pub async fn ready(&self) {
        // The sender lives in the context, so this ends only with `true`.
        let _ = self.context.readiness.watch().wait_for(|ready| *ready).await;
    }

    /// Waits until everything has ended, after a drain.
    ///
    /// # Errors
    /// If something ended that must not.
    pub async fn wait(mut self) -> Result<(), RuntimeError> {
        match self.ended.take() {
            Some(ended) => ended.await.unwrap_or(Err(RuntimeError::Ended("the supervisor"))),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_some() {
            self.shutdown.cancel();
        }
    }
}

/// Starts services in this process. They drain when `shutdown` is cancelled: not ready, GOAWAY, running calls end,
/// the database closes.
///
/// # Errors
/// Whatever an operator must mend: configuration, map, database, addresses, a service that does not start.
pub async fn run(
    services: Vec<Box<dyn Service>>,
    config: Config,
    shutdown: CancellationToken,
) -> Result<Running, RuntimeError> {
    run_with(services, config, shutdown, Overrides::default()).await
}

/// What else than the configured a process may start with.
#[derive(Default)]
pub struct Overrides {
    /// The log filter that `/loglevel` changes; without one the process does not own its log.
    pub level: Option<LogLevel>,
    /// Counts log lines that were lost, for `/metrics`.
    pub dropped_lines: Option<ErrorCounter>,
    /// A map from elsewhere than `map.file`.
    pub map: Option<MapWatch>,
    /// Another clock than the system's.
    pub clock: Option<Clock>,
}

/// [`run`] with overrides.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    services: Vec<Box<dyn Service>>,
    config: Config,
    shutdown: CancellationToken,
    overrides: Overrides,
) -> Result<Running, RuntimeError> {
    let Overrides { level, dropped_lines, map, clock } = overrides;
    let metrics = Metrics::new(&config.cell);
    if let Some(dropped) = dropped_lines {
        metrics.watch_log(dropped);
    }
    let readiness = Readiness::default();
    let started = readiness.gate("start");
    let sets = services.iter().map(|service| service.descriptor_set()).chain([mesh_proto::FILE_DESCRIPTOR_SET]);
    let policies = PolicyTable::from_descriptor_sets(sets);
    let policies = Arc::new(policies.map_err(|errors| RuntimeError::Policy(errors.to_string()))?);
    let token = config.peer.token().map_err(RuntimeError::Value)?;
    let maps = match map {
        Some(map) => map,
        None => maps::maps(&config.map).await?,
    };
    let db = bootstrap::database(&config, &services, &maps, &metrics, clock).await?;

    let secrets = context::secrets(&config).map_err(RuntimeError::Value)?;
    let seal = SealKeys::new(&secrets).map_err(|error| RuntimeError::Value(format!("key \"seal.keys\": {error}")))?;
    let router = router(&config, token.as_ref());
    let mesh = MeshChannel::new(config.cell.clone(), Arc::clone(&policies), maps.clone(), router.as_ref());
    let mesh = mesh.map_err(|error| RuntimeError::Value(format!("key \"services.router\": {error}")))?;
    let context = Context {
        cell: config.cell.clone(),
        db: db.clone(),
        map: maps,
        seal,
        mesh: mesh.clone(),
        readiness: readiness.clone(),
        metrics: metrics.clone(),
        shutdown: CancellationToken::new(),
        clock: Arc::new({
            let db = db.clone();
            move || db.now_ms()
        }),
        pulse: Arc::default(),
        secrets: secrets.into(),
        sections: config.sections.clone(),
    };

    let mut parts = Parts::default();
    for service in &services {
        let name = service.name();
        let started = service.start(&context, &mut parts);
        started.map_err(|error| RuntimeError::Service { service: name, error })?;
    }
    // What is served for others only is not called from within.
    let names = parts.names.clone();
    parts.serve(MapServiceServer::new(Maps::new(context.map.subscribe(), context.shutdown.clone())));
    if let Some(admin) = MapAdmin::of(&context, &config) {
        parts.serve(MapAdminServiceServer::new(admin));
    }
    let health = bootstrap::health(&mut parts, &readiness);
    bootstrap::reflection(&mut parts, &policies)?;
    let tasks = std::mem::take(&mut parts.tasks);
    let consumers = std::mem::take(&mut parts.consumers);

    let limits = config.limits.clone();
    let methods = Arc::new(routes::methods(&policies, &limits));
    let stack = Stack {
        cell: config.cell.clone(),
        routes: parts.into_routes().prepare(),
        calls: Limit::new(limits.calls).with_streams(limits.server_streams, Arc::clone(&methods)),
        methods,
        budget: ByteBudget::new(limits.budget_bytes),
        metrics: metrics.clone(),
        limits,
    };
    mesh.host(stack.inside(mesh.token()), names);

    let ListenConfig { front, peer, admin } = config.listen;
    let (front, peer, admin) = (bind("front", front).await?, bind("peer", peer).await?, bind("admin", admin).await?);
    let options = |listener: Listener| ServerOptions {
        listener,
        limits: stack.limits.on(listener),
        budget: stack.budget.clone(),
        metrics: metrics.clone(),
    };
    let system = |error| RuntimeError::System { what: "serve", error };
    let front = Server::start(front, stack.on(Listener::Front, None), options(Listener::Front)).map_err(system)?;
    let peer = Server::start(peer, stack.on(Listener::Peer, token), options(Listener::Peer)).map_err(system)?;
    let bound = Bound { front: front.address(), peer: peer.address(), admin: admin.local_addr().map_err(system)? };

    let mut supervised = Supervised::new(context.clone(), [front, peer], config.drain.clone());
    let routes = Admin { readiness, metrics: metrics.clone(), level }.routes();
    supervised.serve_admin(admin, routes);
    supervised.spawn("health", health);
    supervised.spawn("outbox", outbox::dispatch(db, consumers, metrics, context.shutdown.clone()));
    for (name, task) in tasks {
        supervised.spawn(name, task);
    }
    started.open();
    tracing::info!(cell = %config.cell, front = %bound.front, peer = %bound.peer, admin = %bound.admin, "started");
    let ended = tokio::spawn(supervised.until(shutdown.clone()));
    Ok(Running { bound, context, shutdown, ended: Some(ended) })
}

fn router(config: &Config, token: Option<&mesh_layers::trust::PeerToken>) -> Option<RouterAddress> {
    let services = &config.services;
    match token {
        Some(token) if !services.router_peer.is_empty() => {
            Some(RouterAddress::Peer(services.router_peer.clone(), token.clone()))
        }
        _ if !services.router.is_empty() => Some(RouterAddress::Front(services.router.clone())),
        _ => None,
    }
}

/// Binds one of a process's listeners.
///
/// # Errors
/// If the address is taken or not this machine's.
pub async fn bind(listener: &'static str, address: SocketAddr) -> Result<TcpListener, RuntimeError> {
    TcpListener::bind(address).await.map_err(|error| RuntimeError::Listen { listener, address, error })
}
