//! Keeps this cell's catalogue: as its writer in the global cell, as a copy of it everywhere else.

use crate::{
    Error,
    domain::Product,
    feed::Feed,
    grpc::piece_from,
    seed,
    store::{self, POSITION},
};
use futures_util::StreamExt as _;
use replication::{Batch, Pieces, Position, Replica};
use service_runtime::{Context, CopyError, Gate};
use shop_proto::catalog_v1::{
    CatalogChange, SubscribeRequest, catalog_replication_service_client::CatalogReplicationServiceClient,
};

type Result<T> = std::result::Result<T, CopyError<Error>>;

/// This cell's catalogue.
pub(crate) struct Keeper {
    pub(crate) context: Context,
    pub(crate) feed: Feed,
    /// Whether the demo's products are written where they are missing.
    pub(crate) seeded: bool,
    /// Opened when there is a catalogue to serve.
    pub(crate) gate: Gate,
}

impl Replica for Keeper {
    type Item = Product;
    type Error = CopyError<Error>;

    const NAME: &'static str = "catalogue";

    async fn position(&mut self) -> Result<Option<Position>> {
        let standing = self.context.db.global_read(|tx| Box::pin(async move { Ok(POSITION.standing(tx).await?) }));
        let standing = standing.await?;
        if standing.is_some_and(|standing| standing.writer) {
            self.context.db.global(|tx| Box::pin(async move { Ok(POSITION.end_history(tx).await?) })).await?;
        }
        Ok(standing.map(|standing| standing.position))
    }

    async fn open(&mut self, Position { incarnation, sequence }: Position) -> Result<Pieces<Product, Self::Error>> {
        let mut client = CatalogReplicationServiceClient::new(self.context.mesh.clone());
        let stream = client.subscribe(SubscribeRequest { incarnation, sequence }).await?.into_inner();
        let piece = |change: CatalogChange| piece_from(&change).map_err(|faults| CopyError::Item(faults.into()));
        Ok(stream.map(move |message| message?.change.map(piece).transpose()).boxed())
    }

    async fn apply(&mut self, batch: Batch<Product>) -> Result<()> {
        Ok(self.context.db.global(move |tx| Box::pin(async move { store::apply(tx, &batch).await })).await?)
    }

    fn applied(&mut self) {
        self.feed.changed();
        self.gate.open();
    }

    fn is_writer(&self) -> bool {
        self.context.require_global().is_ok()
    }

    async fn begin(&mut self) -> Result<Position> {
        let products = if self.seeded { seed::products(&self.context.map.load()) } else { Vec::new() };
        let begin = self.context.db.global(move |tx| {
            Box::pin(async move {
                let position = POSITION.begin_history(tx).await?;
                seed::write(tx, products).await?;
                Ok(position)
            })
        });
        Ok(begin.await?)
    }
}
