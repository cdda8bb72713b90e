//! Keeps the products sold here in step with the cell's catalogue.

use crate::{Error, store, store::Offer};
use cell_map::CellId;
use service_runtime::Context;
use shop_logic::{Assembler, Currency, InvalidError, Money, Piece, Position, ReplicationError, Sku};
use shop_proto::catalog_v1::{
    CatalogChange, Product, WatchRequest, catalog_replication_service_client::CatalogReplicationServiceClient,
};
use std::time::Duration;
use storage::TxError;
use tokio::time::{sleep, timeout};
use tonic::Status;

/// Longest silence of a stream that sends heartbeats each 3 s.
const SILENCE: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Most products of a snapshot: it is applied in one transaction, which has 5 s.
const MAX_PRODUCTS: usize = 10_000;

/// Why a stream was given up. It is opened anew after a pause.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("catalogue's stream: {} ({:?})", .0.message(), .0.code())]
    Stream(#[from] Status),
    #[error("catalogue's stream was silent for {} s", SILENCE.as_secs())]
    Silence,
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    #[error("product \"{sku}\" of the catalogue: {source}")]
    Product { sku: String, source: InvalidError },
    #[error(transparent)]
    Storage(#[from] TxError<Error>),
}

/// Follows the catalogue until the process ends. `on_applied` is called after each batch, and once at the start if the
/// database holds products already.
pub(crate) async fn run(context: Context, mut on_applied: impl FnMut() + Send) {
    let mut pause = FIRST_PAUSE;
    loop {
        match follow(&context, &mut on_applied, &mut pause).await {
            Ok(()) => tracing::debug!("catalogue's stream ended"),
            Err(error) => tracing::warn!(%error, pause_ms = pause.as_millis(), "catalogue is not followed"),
        }
        // Half to all of the pause, so that cells do not come back all at once.
        sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Follows one stream to its end.
async fn follow(context: &Context, on_applied: &mut impl FnMut(), pause: &mut Duration) -> Result<(), FollowError> {
    let read = context.db.global_read(|tx| Box::pin(async move { store::position(tx.conn()).await }));
    let applied = read.await?;
    if applied.is_some() {
        on_applied();
    }
    let applied = applied.unwrap_or_default();
    let from = WatchRequest { incarnation: applied.incarnation, sequence: applied.sequence };
    let mut client = CatalogReplicationServiceClient::new(context.mesh.clone());
    let mut stream = client.watch(from).await?.into_inner();
    let mut assembler = Assembler::new(applied, MAX_PRODUCTS);
    loop {
        let message = timeout(SILENCE, stream.message()).await.map_err(|_| FollowError::Silence)??;
        let Some(message) = message else { return Ok(()) };
        *pause = FIRST_PAUSE;
        let Some(change) = message.change else { continue };
        let Some(batch) = assembler.take(piece(&change, &context.cell)?)? else { continue };
        let (products, position) = (batch.items.len(), batch.position);
        let write = context.db.global(move |tx| Box::pin(async move { store::apply(tx.conn(), &batch).await }));
        write.await?;
        tracing::debug!(products, position.incarnation, position.sequence, "catalogue applied");
        on_applied();
    }
}

fn piece(change: &CatalogChange, cell: &CellId) -> Result<Piece<Offer>, FollowError> {
    Ok(Piece {
        position: Position { incarnation: change.incarnation, sequence: change.sequence },
        snapshot_start: change.snapshot_start,
        snapshot_end: change.snapshot_end,
        items: change.products.iter().map(|product| offer(product, cell)).collect::<Result<_, _>>()?,
    })
}

/// A product as this cell sells it: with its own allotment, 0 if it has none.
fn offer(product: &Product, cell: &CellId) -> Result<Offer, FollowError> {
    let allotment = product.allotments.iter().find(|allotment| allotment.cell == cell.as_str());
    let allotted = allotment.map_or(0, |allotment| allotment.quantity);
    let parse = || {
        let price = product.unit_price.as_ref().ok_or(InvalidError::Missing)?;
        let minor_units = InvalidError::range(price.minor_units, 1..=i64::MAX)?;
        Ok(Offer {
            sku: Sku::new(&product.sku)?,
            unit_price: Money::new(Currency::new(&price.currency_code)?, minor_units),
            version: product.version,
            allotted: InvalidError::range(allotted, 0..=i64::MAX)?,
        })
    };
    parse().map_err(|source| FollowError::Product { sku: product.sku.chars().take(80).collect(), source })
}
