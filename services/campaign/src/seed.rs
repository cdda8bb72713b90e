//! A few campaigns for the demo.

use crate::store;
use shop_logic::{
    Campaign, CampaignId, CouponCode, Currency, Money, Sku, Title,
    campaign::{BasisPoints, Benefit, Coupon, Kind, ProductDiscount, SpendDiscount, Terms, Window},
};
use storage::Tx;

/// From 2020 to 2100, in milliseconds since the Unix epoch: the demo runs at any time.
const WINDOW_MS: (i64, i64) = (1_577_836_800_000, 4_102_444_800_000);

/// The demo's campaigns: a discount of some products, one of large orders, and a coupon.
pub(crate) fn campaigns() -> Vec<Campaign> {
    let yuan = |yuan: i64| Money::new(Currency::CNY, yuan * 100);
    let points = |points| BasisPoints::new(points).expect("the seed's shares are valid");
    let skus = ["tea-longjing", "tea-puer", "tea-tieguanyin", "tea-jasmine"];
    let skus = skus.map(|sku| Sku::new(sku).expect("the seed's SKUs are valid")).to_vec();
    let tea = ProductDiscount::new(skus, points(1_500)).expect("the seed's products stand once");
    let spend = SpendDiscount::new(yuan(300), yuan(40)).expect("the seed's amounts are below their thresholds");
    let code = CouponCode::new("WELCOME-10").expect("the seed's codes are valid");
    let coupon = Coupon::new(code, 1, yuan(50), Benefit::Share(points(1_000))).expect("a share fits any threshold");
    vec![
        campaign("tea-week", "Tea week: 15 % off", Kind::Product(tea)),
        campaign("spend-300", "40 off orders from 300 on", Kind::Spend(spend)),
        campaign("welcome", "10 % off the first order", Kind::Coupon(coupon)),
    ]
}

fn campaign(id: &str, title: &str, kind: Kind) -> Campaign {
    let (start_ms, end_ms) = WINDOW_MS;
    let terms = Terms {
        id: CampaignId::new(id).expect("the seed's ids are valid"),
        window: Window::new(start_ms, end_ms).expect("2100 is after 2020"),
        paused: false,
        kind,
    };
    Campaign { terms, title: Title::new(title).expect("the seed's titles are valid"), version: 0 }
}

/// Writes those campaigns that are not there; one that is there stays as it is, whatever was changed in it.
pub(crate) async fn write(tx: &mut Tx, campaigns: &[Campaign]) -> store::Result<()> {
    let ids: Vec<CampaignId> = campaigns.iter().map(|campaign| campaign.terms.id.clone()).collect();
    let there = store::find(tx.conn(), &ids).await?;
    for campaign in campaigns.iter().filter(|campaign| !there.contains_key(&campaign.terms.id)) {
        store::create(tx, campaign).await?;
    }
    Ok(())
}
