//! List prices, from the catalogue.

use super::{Entry, Told};
use crate::catalog::catalog_replication_service_methods::Watch;
use client_sdk::{Feed, FeedMessage, GlobalFeed, Piece, Position};
use shop_logic::{InvalidError, Money, Sku};
use shop_proto::catalog_v1::{CatalogChange, Product, WatchRequest, WatchResponse, unit_price};
use std::collections::HashMap;

/// What products cost. Cloned for each change of the catalogue: some 100 bytes a product.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    of: HashMap<Sku, Money>,
    bytes: usize,
    version: u64,
}

impl Prices {
    /// Price of one; none if the product is not in the catalogue.
    #[must_use]
    pub fn of(&self, sku: &Sku) -> Option<Money> {
        self.of.get(sku).copied()
    }

    /// Catalogue version of the prices.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }
}

/// The catalogue's prices, streamed from the nearest cell.
#[derive(Clone, Copy, Debug)]
pub struct CatalogFeed;

impl Feed for CatalogFeed {
    type Stream = Watch;
    type Item = Entry<(Sku, Money)>;
    type Snapshot = Prices;

    fn read(message: WatchResponse) -> Result<FeedMessage<Self::Item>, String> {
        let WatchResponse { change, incarnation, sequence, elapsed_ms, complete, behind_ms } = message;
        let position = Position { incarnation, sequence };
        Told { position, elapsed_ms, behind_ms, complete, change: change.as_ref().map(piece) }.message()
    }

    fn apply(prices: &mut Prices, entry: Self::Item) {
        match entry {
            Entry::UpTo(version) => prices.version = version,
            Entry::Is((sku, price)) => {
                let bytes = size_of::<(Sku, Money)>() + 2 * size_of::<usize>() + sku.as_str().len();
                if prices.of.insert(sku, price).is_none() {
                    prices.bytes += bytes;
                }
            }
        }
    }

    fn bytes(prices: &Prices) -> usize {
        prices.bytes
    }
}

impl GlobalFeed for CatalogFeed {
    fn subscribe(from: Option<Position>) -> WatchRequest {
        let Position { incarnation, sequence } = from.unwrap_or_default();
        WatchRequest { incarnation, sequence }
    }
}

fn piece(change: &CatalogChange) -> Piece<Result<(Sku, Money), String>> {
    let price = |product: &Product| {
        let parse = || {
            let price = unit_price(product)?;
            Ok((Sku::new(&product.sku)?, price))
        };
        parse().map_err(|error: InvalidError| format!("product \"{}\": {error}", product.sku))
    };
    Piece {
        position: Position { incarnation: change.incarnation, sequence: change.sequence },
        snapshot_start: change.snapshot_start,
        snapshot_end: change.snapshot_end,
        items: change.products.iter().map(price).collect(),
    }
}
