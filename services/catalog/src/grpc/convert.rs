//! From catalog's types to messages and, for products of the stream, back.

use crate::domain::{Allotment, Product};
use cell_map::CellId;
use replication::{Piece, Position, Told};
use shop_logic::{Currency, InvalidError, Money, Sku, Title, Violations};
use shop_proto::catalog_v1 as pb;
use std::collections::HashSet;

/// Most cells a product may be allotted to.
const MAX_ALLOTMENTS: usize = 256;
/// Most units of a product in one cell: sums over all cells stay far from 64 bits.
const MAX_ALLOTTED: i64 = 1_000_000_000_000;

impl From<&Product> for pb::Product {
    fn from(product: &Product) -> Self {
        let price = product.unit_price;
        let allotment = |share: &Allotment| pb::Allotment { cell: share.cell.to_string(), quantity: share.quantity };
        Self {
            sku: product.sku.to_string(),
            title: product.title.to_string(),
            unit_price: Some(pb::Money {
                currency_code: price.currency().code().to_owned(),
                minor_units: price.minor_units(),
            }),
            version: product.version,
            allotments: product.allotments.iter().map(allotment).collect(),
        }
    }
}

/// A piece of the catalogue as a message.
pub(super) fn change(piece: &Piece<Product>) -> pb::CatalogChange {
    pb::CatalogChange {
        incarnation: piece.position.incarnation,
        sequence: piece.position.sequence,
        snapshot_start: piece.snapshot_start,
        snapshot_end: piece.snapshot_end,
        products: piece.items.iter().map(Into::into).collect(),
    }
}

/// A message of the writer's stream.
pub(crate) fn message_from(message: &pb::SubscribeResponse) -> Result<Told<Product>, Violations> {
    Ok(Told {
        piece: message.change.as_ref().map(piece_from).transpose()?,
        position: Position { incarnation: message.incarnation, sequence: message.sequence },
        elapsed_ms: message.elapsed_ms,
        complete: message.complete,
        behind_ms: message.behind_ms,
    })
}

fn piece_from(change: &pb::CatalogChange) -> Result<Piece<Product>, Violations> {
    let mut violations = Violations::new();
    let items = change.products.iter().filter_map(|product| product_from(product, &mut violations)).collect();
    Ok(Piece {
        position: Position { incarnation: change.incarnation, sequence: change.sequence },
        snapshot_start: change.snapshot_start,
        snapshot_end: change.snapshot_end,
        items: violations.finish(Some(items))?,
    })
}

/// A product of a request or of the stream; what is wrong with it goes into `violations`.
pub(super) fn product_from(product: &pb::Product, violations: &mut Violations) -> Option<Product> {
    let sku = violations.take("product.sku", Sku::new(&product.sku));
    let title = violations.take("product.title", Title::new(&product.title));
    let unit_price = unit_price(product.unit_price.as_ref(), violations);
    let allotments = allotments(&product.allotments, violations);
    Some(Product {
        sku: sku?,
        title: title?,
        unit_price: unit_price?,
        version: product.version,
        allotments: allotments?,
    })
}

fn unit_price(price: Option<&pb::Money>, violations: &mut Violations) -> Option<Money> {
    let price = violations.take("product.unit_price", price.ok_or(InvalidError::Missing))?;
    let currency = violations.take("product.unit_price.currency_code", Currency::new(&price.currency_code));
    let minor_units = InvalidError::range(price.minor_units, 1..=i64::MAX);
    let minor_units = violations.take("product.unit_price.minor_units", minor_units);
    Some(Money::new(currency?, minor_units?))
}

fn allotments(shares: &[pb::Allotment], violations: &mut Violations) -> Option<Vec<Allotment>> {
    if shares.len() > MAX_ALLOTMENTS {
        let error = InvalidError::TooLong { len: shares.len(), unit: "entries", max: MAX_ALLOTMENTS };
        violations.note("product.allotments", &error);
        return None;
    }
    let mut seen = HashSet::with_capacity(shares.len());
    let mut parsed = Vec::with_capacity(shares.len());
    for (at, share) in shares.iter().enumerate() {
        let field = format!("product.allotments[{at}]");
        let cell = violations.take(format!("{field}.cell"), CellId::new(&share.cell));
        let quantity = InvalidError::range(share.quantity, 0..=MAX_ALLOTTED);
        let quantity = violations.take(format!("{field}.quantity"), quantity);
        let Some((cell, quantity)) = cell.zip(quantity) else { continue };
        if seen.insert(cell.clone()) {
            parsed.push(Allotment { cell, quantity });
        } else {
            violations.note(format!("{field}.cell"), &InvalidError::Repeated(share.cell.clone()));
        }
    }
    parsed.sort_by(|a, b| a.cell.cmp(&b.cell));
    (parsed.len() == shares.len()).then_some(parsed)
}
