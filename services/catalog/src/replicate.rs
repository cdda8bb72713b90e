//! Keeps this cell's catalogue: as its writer in the global cell, as a copy of it everywhere else.

use crate::{Error, domain::Product, feed::Feed, grpc::product_from, seed, store};
use service_runtime::Context;
use shop_logic::{Assembler, Piece, Position, ReplicationError, Violations};
use shop_proto::catalog_v1::{
    CatalogChange, SubscribeRequest, catalog_replication_service_client::CatalogReplicationServiceClient,
};
use std::time::Duration;
use storage::TxError;
use tokio::time::{sleep, timeout};
use tonic::Status;

/// Longest silence of a stream that sends heartbeats each 3 s.
const SILENCE: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often the map is looked at for another global cell.
const LOOK: Duration = Duration::from_secs(1);
/// Most products of a snapshot: it is held in memory until complete and applied in one transaction, which has 5 s.
const MAX_PRODUCTS: usize = 10_000;

/// Why a stream was given up. It is opened anew after a pause.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("global cell's stream: {} ({:?})", .0.message(), .0.code())]
    Stream(#[from] Status),
    #[error("global cell's stream was silent for {} s", SILENCE.as_secs())]
    Silence,
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    #[error("product of the global cell: {0}")]
    Product(Violations),
    #[error(transparent)]
    Storage(#[from] TxError<Error>),
}

/// Keeps the catalogue until the process ends. `on_ready` is called whenever there is one to serve.
pub(crate) async fn run(context: Context, feed: Feed, seeded: bool, mut on_ready: impl FnMut() + Send) {
    let mut pause = FIRST_PAUSE;
    loop {
        let kept = if feed.is_global() {
            write(&context, &feed, seeded, &mut on_ready).await
        } else {
            follow(&context, &feed, &mut on_ready, &mut pause).await
        };
        match kept {
            Ok(()) => tracing::debug!("catalogue's source changed or its stream ended"),
            Err(error) => tracing::warn!(%error, pause_ms = pause.as_millis(), "catalogue is not kept up to date"),
        }
        // Half to all of the pause, so that cells do not come back all at once.
        sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Takes the catalogue's writing over and waits until another cell is to do it.
async fn write(context: &Context, feed: &Feed, seeded: bool, on_ready: &mut impl FnMut()) -> Result<(), FollowError> {
    let now_ms = context.now_ms();
    let products = if seeded { seed::products(&context.map.load()) } else { Vec::new() };
    let begin = context.db.global(move |tx| {
        Box::pin(async move {
            let position = store::begin_history(tx.conn(), now_ms).await?;
            seed::write(tx.conn(), products, now_ms).await?;
            Ok(position)
        })
    });
    let position = begin.await?;
    tracing::info!(position.incarnation, position.sequence, "this cell writes the catalogue");
    feed.changed();
    on_ready();
    while feed.is_global() {
        sleep(LOOK).await;
    }
    Ok(())
}

/// Follows one stream of the global cell to its end.
async fn follow(
    context: &Context,
    feed: &Feed,
    on_ready: &mut impl FnMut(),
    pause: &mut Duration,
) -> Result<(), FollowError> {
    let read = context.db.global_read(|tx| Box::pin(async move { store::position(tx.conn()).await }));
    let standing = read.await?;
    if standing.is_some_and(|standing| standing.writer) {
        context.db.global(|tx| Box::pin(async move { store::end_history(tx.conn()).await })).await?;
    }
    let applied = standing.map(|standing| standing.position);
    if applied.is_some() {
        on_ready();
    }
    let applied = applied.unwrap_or_default();
    let from = SubscribeRequest { incarnation: applied.incarnation, sequence: applied.sequence };
    let mut client = CatalogReplicationServiceClient::new(context.mesh.clone());
    let mut stream = client.subscribe(from).await?.into_inner();
    let mut assembler = Assembler::new(applied, MAX_PRODUCTS);
    while !feed.is_global() {
        let message = timeout(SILENCE, stream.message()).await.map_err(|_| FollowError::Silence)??;
        let Some(message) = message else { return Ok(()) };
        *pause = FIRST_PAUSE;
        let Some(change) = message.change else { continue };
        let Some(batch) = assembler.take(piece(&change)?)? else { continue };
        let (products, position) = (batch.items.len(), batch.position);
        let write = context.db.global(move |tx| Box::pin(async move { store::apply(tx.conn(), &batch).await }));
        write.await?;
        tracing::debug!(products, position.incarnation, position.sequence, "catalogue applied");
        feed.changed();
        on_ready();
    }
    Ok(())
}

fn piece(change: &CatalogChange) -> Result<Piece<Product>, FollowError> {
    let mut violations = Violations::new();
    let items = change.products.iter().filter_map(|product| product_from(product, &mut violations)).collect();
    Ok(Piece {
        position: Position { incarnation: change.incarnation, sequence: change.sequence },
        snapshot_start: change.snapshot_start,
        snapshot_end: change.snapshot_end,
        items: violations.finish(Some(items)).map_err(FollowError::Product)?,
    })
}
