//! Services in this process.

use cell_map::CellId;
use mesh_layers::layer::{Request, Response};
use std::{convert::Infallible, fmt, sync::Arc};
use tower::util::BoxCloneSyncService;

/// Services of a cell that run in this process: calls to them need no socket. They bring their layers. Made by
/// `client_sdk::tonic::colocated`.
#[derive(Clone)]
pub struct Colocated(Arc<Inner>);

struct Inner {
    cell: CellId,
    services: Vec<String>,
    service: Inside,
}

/// A service with its layers.
pub(crate) type Inside = BoxCloneSyncService<Request, Response, Infallible>;

impl Colocated {
    pub(crate) fn of(cell: CellId, services: Vec<String>, service: Inside) -> Self {
        Self(Arc::new(Inner { cell, services, service }))
    }

    /// The cell that they serve.
    pub(crate) fn cell(&self) -> &CellId {
        &self.0.cell
    }

    /// Their full names.
    pub(crate) fn services(&self) -> &[String] {
        &self.0.services
    }

    pub(crate) fn service(&self) -> Inside {
        self.0.service.clone()
    }
}

impl fmt::Debug for Colocated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Colocated").field("cell", &self.0.cell).field("services", &self.0.services).finish()
    }
}
