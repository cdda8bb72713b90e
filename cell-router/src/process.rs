//! The router as a process: its files, its telemetry, its signals.

use crate::{Config, Parts, Router, StartError};
use mesh_policy::{PolicyErrors, PolicyTable};
use service_runtime::{
    Bound, ConfigError, RuntimeError,
    host::{self, ProcessArgs},
    telemetry::{self, TelemetryError},
};
use std::{io, path::PathBuf};

/// Why the process ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A descriptor set cannot be read.
    #[error("key \"router.descriptor_sets\": cannot read \"{}\": {error}", path.display())]
    DescriptorSet {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The descriptor sets hold policies that contradict themselves.
    #[error("policies: {0}")]
    Policy(#[from] PolicyErrors),
    /// Telemetry cannot start.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The router cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Signals or the ready file.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The runtime cannot start.
    #[error("cannot start the runtime: {0}")]
    System(#[from] io::Error),
}

/// Runs until a signal, then drains.
///
/// # Errors
/// If it cannot start.
pub async fn run(config: Config, args: &ProcessArgs) -> Result<(), ProcessError> {
    let telemetry = telemetry::init(&config.telemetry, "cell-router", config.cell.as_str())?;
    let result = serve(config, args, &telemetry).await;
    host::finish(telemetry).await;
    result
}

async fn serve(config: Config, args: &ProcessArgs, telemetry: &telemetry::Telemetry) -> Result<(), ProcessError> {
    let shutdown = host::shutdown(args.exit_with_stdin)?;
    let table = policies(&config.router.descriptor_sets)?;
    let maps = service_runtime::maps(&config.map).await?;
    let grace = config.drain.grace();
    let parts = Parts { config, table, maps: maps.subscribe(), log: Some(telemetry.level()) };
    let router = Router::start(parts).await?;
    let addresses = router.addresses();
    let tls = addresses.tls.map(tracing::field::display);
    tracing::info!(front = %addresses.front, peer = %addresses.peer, admin = %addresses.admin, tls, "router started");
    let bound = Bound { front: addresses.front, peer: addresses.peer, admin: addresses.admin };
    host::announce(args.ready_file.as_deref(), bound, router.ready(), &shutdown).await?;
    shutdown.cancelled().await;
    tracing::info!("draining");
    if !router.drain(grace).await {
        tracing::warn!("calls were cut off at the end of the grace");
    }
    Ok(())
}

fn policies(files: &[PathBuf]) -> Result<PolicyTable, ProcessError> {
    let read =
        |path: &PathBuf| std::fs::read(path).map_err(|error| ProcessError::DescriptorSet { path: path.clone(), error });
    let sets = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    // Changes of the map are routed as everybody's services are: they are made where the map is kept.
    let sets = sets.iter().map(Vec::as_slice).chain([mesh_proto::MAP_ADMIN_DESCRIPTOR_SET]);
    Ok(PolicyTable::from_descriptor_sets(sets)?)
}
