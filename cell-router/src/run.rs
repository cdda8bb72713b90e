//! The router as a whole: starting, running and draining.

mod listen;
mod worker;

use crate::{
    brain::Brain,
    config::{Config, check_instances},
    control::{self, Health, Watched},
    directory::{self, Directory},
    method::{Defaults, Methods},
    metrics::RouterMetrics,
    relay::StreamRelay,
    restrictions::Restrictions,
    tls::Tls,
    trace::Tracing,
    worker::Common,
    world::Worlds,
};
use cell_map::CellMap;
use mesh_layers::budget::ByteBudget;
use mesh_policy::{PolicyErrors, PolicyTable};
use service_runtime::{
    admin::{self, Admin},
    metrics::Metrics,
    readiness::{Gate, Readiness},
    telemetry::LogLevel,
};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// How often readiness is looked at.
const READINESS: Duration = Duration::from_millis(50);

/// What keeps a router from being ready.
const GATE: &str = "instances of this cell";

/// Longest wait for a worker to drop what did not end in time.
const CUT_OFF: Duration = Duration::from_secs(2);

/// Why a router does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A key of the configuration is wrong.
    #[error("{0}")]
    Config(String),
    /// A listener cannot be opened.
    #[error("cannot listen on {address} (key \"{key}\"): {error}")]
    Listen {
        /// Which listener.
        key: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The descriptor sets hold policies that contradict themselves.
    #[error("policies: {0}")]
    Policy(#[from] PolicyErrors),
    /// Reflection refuses the descriptor sets.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A worker thread cannot be started.
    #[error("cannot start a worker thread: {0}")]
    Thread(io::Error),
}

/// What a router is made of.
#[derive(Debug)]
pub struct Parts {
    /// Its configuration. Descriptor sets and map are given apart, so their files are not read.
    pub config: Config,
    /// Policies of the methods that are routed.
    pub table: PolicyTable,
    /// Maps as they come.
    pub maps: watch::Receiver<Arc<CellMap>>,
    /// The process's log filter, if it owns its log.
    pub log: Option<LogLevel>,
}

/// A running router. Dropping it stops it at once; see [`Router::drain`].
#[derive(Debug)]
pub struct Router {
    addresses: Addresses,
    readiness: Readiness,
    common: Arc<Common>,
    workers: Vec<worker::Thread>,
    drain: CancellationToken,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    notice: Duration,
}

/// Where a router listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For anyone.
    pub front: SocketAddr,
    /// For peers.
    pub peer: SocketAddr,
    /// For operators.
    pub admin: SocketAddr,
    /// For anyone, with TLS; none if it is not configured.
    pub tls: Option<SocketAddr>,
}

impl Router {
    /// Starts a router; it is bound when this returns, and ready when it says so.
    ///
    /// # Errors
    /// If the configuration is wrong or something cannot be bound.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let Parts { config, table, maps, log } = parts;
        let common = Arc::new(common(&config, &table)?);
        common.brain.take_map(Arc::clone(&maps.borrow()));
        let fronts = config.peers.checked_fronts().map_err(StartError::Config)?;
        let directory =
            Arc::new(Directory::new(config.cell.clone(), &config.router.instances, table.services(), fronts));
        let restrictions =
            Arc::new(Restrictions::open(config.router.restrictions.clone()).map_err(StartError::Config)?);
        let watched = Watched { maps: maps.clone(), instances: directory.watch(), restrictions: restrictions.watch() };
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let (own, health) = control::routes(Arc::clone(&common), watched, &table, drain.clone())?;
        let count = config.router.workers.max(1);
        let front = listen::open("listen.front", config.listen.front, count)?;
        let peer = listen::open("listen.peer", config.listen.peer, count)?;
        let admin = listen::open("listen.admin", config.listen.admin, 1)?;
        let tls = Tls::open(&config.tls).map_err(StartError::Config)?;
        let (tls_address, mut doors) = match &tls {
            None => (None, Vec::new()),
            Some((address, tls)) => {
                let door = listen::open("tls.listen", *address, count)?;
                (Some(door.address), door.sockets.into_iter().map(|socket| (socket, Arc::clone(tls))).collect())
            }
        };
        let addresses = Addresses { front: front.address, peer: peer.address, admin: admin.address, tls: tls_address };
        let worlds = watch::Sender::new(0);
        let relay = StreamRelay::new(own);
        let workers = front.sockets.into_iter().zip(peer.sockets).enumerate().map(|(number, (front, peer))| {
            let start = worker::Start {
                number,
                common: Arc::clone(&common),
                relay: relay.clone(),
                front,
                peer,
                door: doors.pop(),
                worlds: worlds.subscribe(),
                drain: drain.clone(),
                stop: stop.clone(),
            };
            worker::spawn(start).map_err(StartError::Thread)
        });
        let workers = workers.collect::<Result<Vec<_>, _>>()?;
        let readiness = Readiness::default();
        let gate = readiness.gate(GATE);
        let metrics = Metrics::new(&config.cell);
        metrics.register(|registry| registry.register_collector(Box::new(RouterMetrics(Arc::clone(&common)))));
        let routes = Admin { readiness: readiness.clone(), metrics, level: log }.routes();
        let mut tasks = vec![
            tokio::spawn(directory::follow(directory, Arc::clone(&common), worlds.subscribe())),
            tokio::spawn(async move { restrictions.follow().await }),
            tokio::spawn(follow_maps(Arc::clone(&common), maps, worlds)),
            tokio::spawn(follow_readiness(Arc::clone(&common), table, readiness.clone(), gate, health)),
        ];
        if let Some((_, tls)) = tls {
            tasks.push(tokio::spawn(tls.follow()));
        }
        for socket in admin.sockets {
            let fault = |error| StartError::Listen { key: "listen.admin", address: addresses.admin, error };
            let listener = TcpListener::from_std(socket).map_err(fault)?;
            let (routes, stop) = (routes.clone(), stop.clone());
            tasks.push(tokio::spawn(async move {
                if let Err(error) = admin::serve(listener, routes, stop).await {
                    tracing::error!(%error, "the admin listener failed");
                }
            }));
        }
        let notice = Duration::from_millis(config.drain.notice_ms);
        Ok(Self { addresses, readiness, common, workers, drain, stop, tasks, notice })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Whether calls are served.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness.is_ready()
    }

    /// Waits until calls are served. Cancel-safe.
    pub fn ready(&self) -> impl Future<Output = ()> + use<> {
        let mut ready = self.readiness.watch();
        async move {
            // The sender lives as long as the router.
            let _ = ready.wait_for(|ready| *ready).await;
        }
    }

    /// Readiness as `/readyz` shows it.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// What it knows and counts.
    #[must_use]
    pub fn brain(&self) -> &Brain {
        &self.common.brain
    }

    /// Drains: not ready any more, no new calls, and the end when the running ones have ended or the grace is over. True if
    /// none was cut off.
    pub async fn drain(mut self, grace: Duration) -> bool {
        self.readiness.drain();
        tokio::time::sleep(self.notice).await;
        self.drain.cancel();
        let mut clean = true;
        let deadline = tokio::time::Instant::now() + grace;
        for worker in &mut self.workers {
            clean &= tokio::time::timeout_at(deadline, worker.ended()).await.is_ok();
        }
        self.stop.cancel();
        // What was cut off ends its spans while the workers' tasks are dropped: before telemetry is flushed.
        for worker in &mut self.workers {
            clean &= tokio::time::timeout(CUT_OFF, worker.ended()).await.is_ok();
        }
        clean
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.drain.cancel();
        self.stop.cancel();
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn common(config: &Config, table: &PolicyTable) -> Result<Common, StartError> {
    let defaults = Defaults {
        default_deadline: config.default_deadline(),
        max_deadline: config.max_deadline(),
        max_message: config.limits.message_bytes,
    };
    let overrides = config.peers.checked_overrides().map_err(StartError::Config)?;
    let instances = &config.router.instances;
    check_instances(instances, table.services()).map_err(StartError::Config)?;
    let worlds = Worlds::new(config.cell.clone(), instances.clone(), overrides);
    Ok(Common {
        brain: Brain::new(Methods::new(table, defaults, &worlds), worlds),
        limits: config.limits.clone(),
        router: config.router.clone(),
        token: config.peer.token().map_err(StartError::Config)?,
        budget: ByteBudget::new(config.limits.budget_bytes),
        own_services: control::SERVICES.map(str::to_owned).to_vec(),
        tracing: Tracing::new(!config.telemetry.otlp.is_empty()),
    })
}

/// Takes each new map into force and tells the workers.
async fn follow_maps(common: Arc<Common>, mut maps: watch::Receiver<Arc<CellMap>>, worlds: watch::Sender<u64>) {
    maps.mark_changed();
    while maps.changed().await.is_ok() {
        let map = Arc::clone(&maps.borrow_and_update());
        tracing::info!(epoch = map.epoch().get(), incarnation = map.incarnation().get(), "cell map in force");
        common.brain.take_map(map);
        worlds.send_modify(|version| *version += 1);
    }
    // No map can come any more; workers keep the last.
    std::future::pending::<()>().await;
}

/// Opens and closes readiness, and tells health, as instances come and go.
///
/// The router becomes ready when every service that has an instance here is there. Then it stays so as long as any instance
/// is: one that goes away takes its own services along, whose health says so, and not those of the others.
async fn follow_readiness(
    common: Arc<Common>,
    table: PolicyTable,
    readiness: Readiness,
    gate: Gate,
    mut health: Health,
) {
    let brain = &common.brain;
    let mut closed = Some(gate);
    let mut changes = readiness.watch();
    loop {
        let ready = if closed.is_some() { brain.is_complete() } else { brain.is_ready() };
        let draining = readiness.is_draining();
        health.tell(&table, ready && !draining, |service| !draining && brain.serves(service)).await;
        match (ready, closed.take()) {
            (true, Some(gate)) => gate.open(),
            (false, None) => {
                closed = Some(readiness.gate(GATE));
                tracing::warn!("no instance of this cell is connected");
            }
            (_, same) => closed = same,
        }
        tokio::select! {
            () = tokio::time::sleep(READINESS) => {}
            // A drain is told at once. The sender lives as long as the readiness.
            _ = changes.changed() => {}
        }
    }
}
