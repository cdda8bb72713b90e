//! Keeps the products sold here in step with the cell's catalogue.

use crate::{
    Error,
    store::{self, Offer, POSITION},
};
use cell_map::CellId;
use futures_util::StreamExt as _;
use replication::{Batch, Messages, Piece, Position, Replica, Told};
use service_runtime::{Context, CopyError, Gate};
use shop_logic::{InvalidError, Sku};
use shop_proto::catalog_v1::{
    CatalogChange, Product, WatchRequest, WatchResponse,
    catalog_replication_service_client::CatalogReplicationServiceClient, unit_price,
};

type Result<T> = std::result::Result<T, CopyError<Error>>;

/// The products sold here.
pub(crate) struct Products {
    pub(crate) context: Context,
    /// Opened when there are products to sell.
    pub(crate) gate: Gate,
}

impl Replica for Products {
    type Item = Offer;
    type Error = CopyError<Error>;

    const NAME: &'static str = "products on sale";

    async fn position(&mut self) -> Result<Option<Position>> {
        Ok(POSITION.follow_from(&self.context.db).await?)
    }

    async fn open(&mut self, Position { incarnation, sequence }: Position) -> Result<Messages<Offer, Self::Error>> {
        let mut client = CatalogReplicationServiceClient::new(self.context.mesh.clone());
        let request = self.context.as_follower(WatchRequest { incarnation, sequence });
        let stream = client.watch(request).await?.into_inner();
        let cell = self.context.cell.clone();
        Ok(stream.map(move |message| told(&message?, &cell).map_err(CopyError::Item)).boxed())
    }

    async fn apply(&mut self, batch: Batch<Offer>) -> Result<()> {
        Ok(self.context.db.global(move |tx| Box::pin(async move { store::apply(tx, &batch).await })).await?)
    }

    fn applied(&mut self) {
        self.gate.open();
    }
}

fn told(message: &WatchResponse, cell: &CellId) -> std::result::Result<Told<Offer>, Error> {
    Ok(Told {
        piece: message.change.as_ref().map(|change| piece(change, cell)).transpose()?,
        position: Position { incarnation: message.incarnation, sequence: message.sequence },
        elapsed_ms: message.elapsed_ms,
        complete: message.complete,
        behind_ms: message.behind_ms,
    })
}

fn piece(change: &CatalogChange, cell: &CellId) -> std::result::Result<Piece<Offer>, Error> {
    Ok(Piece {
        position: Position { incarnation: change.incarnation, sequence: change.sequence },
        snapshot_start: change.snapshot_start,
        snapshot_end: change.snapshot_end,
        items: change.products.iter().map(|product| offer(product, cell)).collect::<std::result::Result<_, _>>()?,
    })
}

/// A product as this cell sells it: with its own allotment, 0 if it has none.
fn offer(product: &Product, cell: &CellId) -> std::result::Result<Offer, Error> {
    let allotment = product.allotments.iter().find(|allotment| allotment.cell == cell.as_str());
    let allotted = allotment.map_or(0, |allotment| allotment.quantity);
    let parse = || {
        let unit_price = unit_price(product)?;
        Ok(Offer {
            sku: Sku::new(&product.sku)?,
            unit_price,
            version: product.version,
            allotted: InvalidError::range(allotted, 0..=i64::MAX)?,
        })
    };
    parse().map_err(|source| Error::Product { sku: product.sku.chars().take(80).collect(), source })
}
