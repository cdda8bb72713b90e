//! Changes of the map by operators, where its file is kept.

use crate::{
    config::{Config, OperatorConfig},
    context::Context,
};
use cell_map::{MapEpoch, WantedCells, WantedError, told_changes};
use map_store::{Applied, ApplyError, FileStore, StoreError};
use mesh_layers::{CallContext, MeshError, Reason};
use mesh_proto::control_v1::{
    self as pb, ApplyCellsRequest, ApplyCellsResponse, map_admin_service_server::MapAdminService,
};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status, async_trait};

/// When a caller comes again whom another publisher was faster than.
const AGAIN: Duration = Duration::from_millis(100);

/// `cellmesh.control.v1.MapAdminService`.
#[derive(Clone, Debug)]
pub(crate) struct MapAdmin {
    context: Context,
    operator: OperatorConfig,
    store: FileStore,
}

impl MapAdmin {
    /// Serves where the map's file is nobody's copy.
    pub(crate) fn of(context: &Context, config: &Config) -> Option<Self> {
        let keeps = config.map.upstream.is_empty() && !config.map.file.as_os_str().is_empty();
        keeps.then(|| Self {
            context: context.clone(),
            operator: config.operator.clone(),
            store: FileStore::open(&config.map.file),
        })
    }

    /// Blocks on the disk.
    fn apply(&self, request: &ApplyCellsRequest) -> Result<Applied, MeshError> {
        let wanted = request.wanted.as_ref().ok_or_else(|| refused(WantedError::of("", "it is missing")))?;
        let wanted = WantedCells::try_from(wanted).map_err(refused)?;
        if wanted.global_cell != self.context.cell {
            // The map would be kept where no call that changes it leads any more.
            let why =
                format!("the map is kept in cell \"{}\": another global cell is named in its file", self.context.cell);
            return Err(refused(WantedError::of("global_cell", why)));
        }
        let expected = (request.expected_epoch != 0).then(|| MapEpoch::new(request.expected_epoch));
        self.store.apply(&wanted, None, expected, request.dry_run).map_err(|error| match error {
            ApplyError::Wanted(faults) => refused(faults),
            ApplyError::Store(error) => failed(&error),
        })
    }
}

/// BAD_REQUEST with the fields at fault.
fn refused(faults: WantedError) -> MeshError {
    let path = |field: String| if field.is_empty() { "wanted".to_owned() } else { format!("wanted.{field}") };
    let message = format!("the wanted cells make no map: {faults}");
    MeshError::bad_request(message).violations(faults.into_faults().into_iter().map(|(field, why)| (path(field), why)))
}

fn failed(error: &StoreError) -> MeshError {
    let reason = match error {
        StoreError::Unexpected { .. } | StoreError::Published(_) | StoreError::Locked { .. } => Reason::Contended,
        StoreError::Io { .. } | StoreError::ShuttingDown => Reason::Unavailable,
        _ => Reason::FailedPrecondition,
    };
    let told = MeshError::new(reason, error.to_string());
    if reason == Reason::FailedPrecondition { told } else { told.retry_after(AGAIN) }
}

#[async_trait]
impl MapAdminService for MapAdmin {
    async fn apply_cells(&self, request: Request<ApplyCellsRequest>) -> Result<Response<ApplyCellsResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let this = self.clone();
        let ended = || Status::from(MeshError::new(Reason::Unavailable, "the process is shutting down"));
        let token = spawn_blocking(move || this.operator.token()).await.map_err(|_| ended())?;
        let token = token.map_err(|why| {
            let message = format!("the map is not changed by calls here, for there is no operator token: {why}");
            MeshError::new(Reason::FailedPrecondition, message)
        })?;
        token.require(&metadata.into_headers())?;
        self.context.require_global().map_err(|global| {
            let message = format!("the map is changed in the global cell, which is \"{global}\"");
            MeshError::new(Reason::FailedPrecondition, message)
        })?;
        if !request.dry_run {
            // Whatever becomes of it from here on, it may have taken effect.
            CallContext::with_current(CallContext::note_fenced_commit);
        }
        let this = self.clone();
        let applied = spawn_blocking(move || this.apply(&request).map(|applied| (applied, request.dry_run)));
        let (Applied { before, after }, dry_run) = applied.await.map_err(|_| ended())??;
        let changes = told_changes(before.as_ref(), &after);
        if !dry_run && !changes.is_empty() {
            tracing::info!(map.epoch = after.epoch().get(), ?changes, "the cell map was changed by an operator");
        }
        let version = before.as_ref().map(pb::MapVersion::from);
        Ok(Response::new(ApplyCellsResponse { before: version, after: Some((&after).into()), changes }))
    }
}
