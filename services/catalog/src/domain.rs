//! What a product is, before any table or message.

use cell_map::CellId;
use shop_logic::{Money, Sku, Title};

/// A product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its id.
    pub sku: Sku,
    /// Its title.
    pub title: Title,
    /// Price of one, more than 0.
    pub unit_price: Money,
    /// Catalogue version (sequence) at its last change; 0 before it is written.
    pub version: u64,
    /// How many of it each cell may sell; each cell once.
    pub allotments: Vec<Allotment>,
}

/// A cell's share of a product's stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allotment {
    /// The cell.
    pub cell: CellId,
    /// How many it may sell in all, from 0.
    pub quantity: i64,
}
