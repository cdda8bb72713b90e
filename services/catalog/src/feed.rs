//! The stream of the catalogue's changes, read from this cell's tables.

use crate::{
    Error,
    domain::Product,
    store::{self, POSITION},
};
use replication::{Log, Position};
use service_runtime::{Context, status};
use tonic::Status;

/// This cell's changes.
pub type Feed = replication::Feed<Catalogue>;

/// The catalogue as its own change log. A product is at most as large as a request to write it (64 KiB), so a piece stays
/// below 4 MiB.
pub struct Catalogue(pub Context);

impl Log for Catalogue {
    type Item = Product;
    type Error = Status;

    async fn read(&self, after: u64, limit: usize) -> Result<Option<(Position, Vec<Product>)>, Status> {
        let read = self.0.db.global_read(move |tx| {
            Box::pin(async move {
                let Some(standing) = POSITION.standing(tx).await? else { return Ok(None) };
                Ok(Some((standing.position, store::after(tx.conn(), after, limit as i64).await?)))
            })
        });
        read.await.map_err(status::<Error>)
    }

    fn sequence(product: &Product) -> u64 {
        product.version
    }
}
