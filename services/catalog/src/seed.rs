//! A small catalogue for the demo.

use crate::{
    domain::{Allotment, Product},
    store,
};
use cell_map::CellMap;
use shop_logic::{Currency, Money, Sku, Title};
use storage::Tx;

/// SKU, title, price in fen, units for each cell.
const PRODUCTS: [(&str, &str, i64, i64); 20] = [
    ("tea-longjing", "Longjing green tea, 100 g", 12_800, 1_000_000),
    ("tea-puer", "Ripe Pu'er tea cake, 357 g", 23_800, 1_000_000),
    ("tea-tieguanyin", "Tieguanyin oolong tea, 125 g", 9_900, 1_000_000),
    ("tea-jasmine", "Jasmine pearls, 100 g", 6_800, 1_000_000),
    ("cup-celadon", "Longquan celadon cup", 8_500, 1_000_000),
    ("teapot-yixing", "Yixing clay teapot, 180 ml", 49_900, 1_000_000),
    ("gaiwan-white", "White porcelain gaiwan", 7_900, 1_000_000),
    ("noodles-biangbiang", "Biangbiang noodles, 5 portions", 3_990, 1_000_000),
    ("sauce-soy", "Naturally brewed soy sauce, 500 ml", 1_890, 1_000_000),
    ("vinegar-shanxi", "Shanxi aged vinegar, 500 ml", 2_290, 1_000_000),
    ("pepper-sichuan", "Hanyuan Sichuan pepper, 50 g", 1_990, 1_000_000),
    ("chili-crisp", "Chili crisp, 280 g", 1_290, 1_000_000),
    ("rice-wuchang", "Wuchang rice, 5 kg", 8_990, 1_000_000),
    ("honey-acacia", "Acacia honey, 500 g", 4_590, 1_000_000),
    ("umbrella-oilpaper", "Oil-paper umbrella", 15_900, 1_000_000),
    ("fan-silk", "Suzhou silk fan", 13_900, 1_000_000),
    ("brush-huzhou", "Huzhou writing brush", 5_900, 1_000_000),
    ("ink-huizhou", "Huizhou ink stick", 11_900, 1_000_000),
    ("paper-xuan", "Xuan paper, 50 sheets", 8_800, 1_000_000),
    // Few on purpose: to watch a cell sell out.
    ("moon-cake-limited", "Limited moon cake box", 29_900, 100),
];

/// The demo's products, with a share for each cell of the map.
pub(crate) fn products(map: &CellMap) -> Vec<Product> {
    let product = |(sku, title, fen, units): &(&str, &str, i64, i64)| Product {
        sku: Sku::new(sku).expect("the seed's SKUs are valid"),
        title: Title::new(title).expect("the seed's titles are valid"),
        unit_price: Money::new(Currency::CNY, *fen),
        version: 0,
        allotments: map.cells().iter().map(|cell| Allotment { cell: cell.id.clone(), quantity: *units }).collect(),
    };
    PRODUCTS.iter().map(product).collect()
}

/// Writes those products that are not there; one that is there stays as it is, whatever was changed in it.
pub(crate) async fn write(tx: &mut Tx, products: &[Product]) -> store::Result<()> {
    let skus: Vec<Sku> = products.iter().map(|product| product.sku.clone()).collect();
    let there = store::find(tx.conn(), &skus).await?;
    for product in products.iter().filter(|product| !there.contains_key(&product.sku)) {
        store::create(tx, product).await?;
    }
    Ok(())
}
