//! Random campaigns and orders.

use crate::campaigns::campaign;
use rand::{Rng, RngExt as _};
use shop_proto::{
    campaign_v1::{
        Campaign, CampaignState, Coupon, Money, ProductDiscount, SpendDiscount, campaign::Kind, coupon::Benefit,
    },
    trade_v1::OrderLine,
};

/// Random campaigns: with those that are over, to come or halted, and one coupon for each code.
pub fn campaign_number(rng: &mut impl Rng, n: usize) -> Campaign {
    let fen = |minor_units| Some(Money { currency_code: "CNY".into(), minor_units });
    let kind = match rng.random_range(0..3) {
        0 => {
            let mut skus: Vec<_> = (0..12).filter(|_| rng.random_bool(0.3)).map(|sku| format!("sku-{sku}")).collect();
            skus.push("sku-x".into());
            Kind::ProductDiscount(ProductDiscount { skus, basis_points_off: rng.random_range(1..10_000) })
        }
        1 => {
            let threshold = rng.random_range(2..200_000);
            let amount_off = fen(rng.random_range(1..threshold));
            Kind::SpendDiscount(SpendDiscount { threshold: fen(threshold), amount_off })
        }
        _ => {
            let threshold = rng.random_range(2..50_000);
            let amount = Benefit::AmountOff(fen(rng.random_range(1..threshold)).expect("there"));
            let share = Benefit::BasisPointsOff(rng.random_range(1..10_000));
            Kind::Coupon(Coupon {
                code: format!("CODE-{n}"),
                per_user_limit: rng.random_range(1..4),
                threshold: fen(threshold),
                benefit: Some(if rng.random_bool(0.5) { amount } else { share }),
            })
        }
    };
    let (now, hour) = (1_000 * i64::from(u32::try_from(seconds()).expect("this century")), 3_600_000);
    let (start_time_ms, end_time_ms) = match rng.random_range(0..8) {
        0 => (now - 2 * hour, now - hour),
        1 => (now + hour, now + 2 * hour),
        _ => (now - hour, now + hour),
    };
    let state = if rng.random_bool(0.1) { CampaignState::Paused } else { CampaignState::Active };
    let kind = Some(kind);
    Campaign { start_time_ms, end_time_ms, state: state.into(), kind, ..campaign(&format!("campaign-{n:02}")) }
}

pub fn seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

pub fn order_lines(rng: &mut impl Rng) -> Vec<OrderLine> {
    let mut lines: Vec<_> = (0..12).filter(|_| rng.random_bool(0.25)).collect();
    lines.push(12);
    let line = |sku| OrderLine { sku: format!("sku-{sku}"), quantity: rng.random_range(1..30) };
    lines.into_iter().map(line).collect()
}
