//! What stands before a service starts: map, database, health, reflection.

use crate::{
    config::Config,
    error::RuntimeError,
    metrics::Metrics,
    readiness::Readiness,
    service::{Parts, Service},
    status,
};
use map_store::MapWatch;
use mesh_policy::PolicyTable;
use std::{collections::BTreeSet, sync::Arc};
use storage::{Clock, Db, DbConfig, Standing, TxKind, TxObserver, TxOutcome, UserData, check_participants};
use tonic_health::ServingStatus;

/// Counts transactions, and notes in the running call what they did to it.
struct Observer(Metrics);

impl TxObserver for Observer {
    fn finished(&self, kind: TxKind, outcome: TxOutcome<'_>) {
        self.0.transaction(kind.as_str(), outcome.as_str());
        let writes = matches!(kind, TxKind::Fenced | TxKind::Idempotent | TxKind::Register | TxKind::Global);
        status::note(outcome, writes);
    }

    fn committed(&self, _transactions: usize) {
        self.0.commit();
    }

    fn stood(&self, standing: &Standing) {
        let Standing { user, epochs, position } = standing;
        mesh_layers::CallContext::with_current(|call| call.note_standing(user, epochs.user, *position));
    }

    fn traceparent(&self) -> Option<String> {
        mesh_layers::trace::current_traceparent()
    }
}

/// Opens the database, with every service's tables, this cell's ownership rows, and a participant for each table that
/// holds users' data.
pub(crate) async fn database(
    config: &Config,
    services: &[Box<dyn Service>],
    maps: &MapWatch,
    metrics: &Metrics,
    clock: Option<Clock>,
) -> Result<Db, RuntimeError> {
    let path = &config.database.path;
    if path.as_os_str().is_empty() {
        return Err(RuntimeError::Value("key \"database.path\" is missing".into()));
    }
    let fault = |error| RuntimeError::Database { path: path.display().to_string(), error };
    let mut settings = DbConfig::new(path, config.cell.clone());
    settings.settings.observer = Some(Arc::new(Observer(metrics.clone())));
    if let Some(clock) = clock {
        settings.settings.clock = clock;
    }
    let migrations: Vec<_> = services.iter().flat_map(|service| service.migrations()).collect();
    let db = Db::open(settings, &migrations).await.map_err(fault)?;
    db.bootstrap_ownership(&maps.current(), &config.cell).await.map_err(fault)?;
    let participants: Vec<_> = services.iter().flat_map(|service| service.participants()).collect();
    let participants: Vec<&dyn UserData> = participants.iter().map(|participant| &**participant).collect();
    check_participants(&db, &participants).await.map_err(fault)?.map_err(RuntimeError::Participants)?;
    Ok(db)
}

/// Serves `grpc.health.v1`: every service, and the process as "", is SERVING while the process is ready. Returns the
/// task that keeps it so; it ends when the process drains.
pub(crate) fn health(parts: &mut Parts, readiness: &Readiness) -> impl Future<Output = ()> + Send + use<> {
    let names: BTreeSet<&'static str> = parts.names.iter().copied().chain([""]).collect();
    let (reporter, server) = tonic_health::server::health_reporter();
    parts.serve(server);
    let (mut ready, readiness) = (readiness.watch(), readiness.clone());
    async move {
        loop {
            let last = readiness.is_draining();
            let status = if *ready.borrow_and_update() { ServingStatus::Serving } else { ServingStatus::NotServing };
            for name in &names {
                reporter.set_service_status(name, status).await;
            }
            if last || ready.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Serves reflection, v1 and v1alpha, of everything that is served.
pub(crate) fn reflection(parts: &mut Parts, policies: &PolicyTable) -> Result<(), RuntimeError> {
    let names = parts.names.clone();
    let builder = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(policies.file_descriptor_set_bytes())
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // What statuses carry, so that grpcurl prints reasons in clear.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
        names.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let fault = |error: tonic_reflection::server::Error| RuntimeError::Policy(error.to_string());
    parts.serve(builder().build_v1().map_err(fault)?);
    parts.serve(builder().build_v1alpha().map_err(fault)?);
    Ok(())
}
