use super::*;
use crate::{
    Currency, Line, Quantity,
    campaign::{BasisPoints, Kind, ProductDiscount, Window},
};
use proptest::{prelude::*, sample::subsequence, strategy::Union};

const NOW: i64 = 1_700_000_000_000;
const SKUS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const CODE: &str = "CODE-1";

fn fen(minor_units: i64) -> Money {
    Money::new(Currency::CNY, minor_units)
}

fn sku(text: &str) -> Sku {
    Sku::new(text).expect("valid")
}

fn code(text: &str) -> CouponCode {
    CouponCode::new(text).expect("valid")
}

fn points(value: i32) -> BasisPoints {
    BasisPoints::new(value).expect("in range")
}

fn terms(id: &str, kind: Kind) -> Terms {
    let id = CampaignId::new(id).expect("valid");
    Terms { id, window: Window::new(NOW - 10, NOW + 10).expect("not empty"), paused: false, kind }
}

fn product(id: &str, skus: &[&str], off: i32) -> Terms {
    terms(
        id,
        Kind::Product(ProductDiscount::new(skus.iter().map(|text| sku(text)).collect(), points(off)).expect("valid")),
    )
}

fn spend(id: &str, threshold: i64, off: i64) -> Terms {
    terms(id, Kind::Spend(SpendDiscount::new(fen(threshold), fen(off)).expect("valid")))
}

fn coupon(id: &str, text: &str, limit: u32, threshold: i64, benefit: Benefit) -> Terms {
    terms(id, Kind::Coupon(Coupon::new(code(text), limit, fen(threshold), benefit).expect("valid")))
}

fn set(of: impl IntoIterator<Item = Terms>) -> Campaigns {
    let mut campaigns = Campaigns::default();
    of.into_iter().for_each(|terms| campaigns.put(terms));
    campaigns
}

fn lines(of: &[(&str, i32)]) -> Lines {
    let line = |&(text, n): &(&str, i32)| Line { sku: sku(text), quantity: Quantity::new(n).expect("valid") };
    Lines::new(of.iter().map(line).collect()).expect("valid")
}

/// The price of some units at list prices by SKU: a 100, b 250, c 1, d 99,999, e 12,345, f 7.
fn list_price(sku: &Sku) -> Option<Money> {
    let prices = [100, 250, 1, 99_999, 12_345, 7];
    SKUS.iter().position(|known| *known == sku.as_str()).map(|at| fen(prices[at]))
}

fn quoted(lines: &Lines, campaigns: &Campaigns, text: Option<&str>, redeemed: u32) -> Quote {
    let code = text.map(code);
    let redeeming = code.as_ref().map(|code| Redeeming { code, redeemed: |_: &CampaignId| redeemed });
    quote(lines, list_price, campaigns, redeeming, NOW).expect("it has a price")
}

fn taken(quote: &Quote) -> Vec<(&str, i64)> {
    quote.discounts().iter().map(|discount| (discount.campaign.as_str(), discount.amount.minor_units())).collect()
}

#[test]
fn discounts_combine_line_then_order_then_coupon() {
    let campaigns = set([
        product("tea-10", &["a"], 1_000),
        product("tea-15", &["a", "b"], 1_500),
        product("tea-15b", &["a"], 1_500),
        spend("small", 300, 20),
        spend("large", 600, 100),
        spend("huge", 60_000, 5_000),
        coupon("tenth", CODE, 1, 500, Benefit::Share(points(1_000))),
    ]);
    // List: 4 × 100 + 1 × 250 = 650. Off: 4 × 15, floor(37.5), 100, then a tenth of 453 rounded down.
    let quote = quoted(&lines(&[("a", 4), ("b", 1)]), &campaigns, Some(CODE), 0);
    assert_eq!(taken(&quote), [("tea-15", 60), ("tea-15", 37), ("large", 100), ("tenth", 45)]);
    assert_eq!((quote.subtotal(), quote.total()), (fen(650), fen(408)));
    assert_eq!(quote.discounts()[1].sku, Some(sku("b")));
    let used = quote.coupon().expect("a code was given").expect("it counts");
    assert_eq!((used.campaign.as_str(), used.per_user_limit, used.amount), ("tenth", 1, fen(45)));
}

#[test]
fn a_threshold_is_reached_by_list_prices() {
    // Without the product's discount the order reaches 100; with it, too.
    let campaigns = set([product("tea-50", &["a"], 5_000), spend("hundred", 100, 30)]);
    assert_eq!(quoted(&lines(&[("a", 1)]), &campaigns, None, 0).total(), fen(20));
}

#[test]
fn a_coupon_that_does_not_count_says_why() {
    let campaigns = set([
        coupon("of-1000", CODE, 2, 1_000, Benefit::Amount(fen(999))),
        Terms { paused: true, ..coupon("p", "PAUSED", 1, 1, Benefit::Share(points(1_000))) },
        Terms {
            window: Window::new(NOW + 1, NOW + 2).expect("valid"),
            ..coupon("l", "LATER", 1, 1, Benefit::Share(points(1)))
        },
        Terms {
            window: Window::new(NOW - 1, NOW).expect("valid"),
            ..coupon("o", "OVER", 1, 1, Benefit::Share(points(1)))
        },
        coupon("n", "NOTHING", 1, 1, Benefit::Share(points(1))),
    ]);
    let says = |text, redeemed| {
        quoted(&lines(&[("a", 2)]), &campaigns, Some(text), redeemed).coupon().expect("given").map(drop)
    };
    assert_eq!(says("NOSUCH", 0), Err(CouponRefusal::Unknown));
    assert_eq!(says(CODE, 0), Err(CouponRefusal::BelowThreshold { threshold: fen(1_000) }));
    assert_eq!(says(CODE, 2), Err(CouponRefusal::UsedUp { limit: 2 }));
    assert_eq!(says("PAUSED", 0), Err(CouponRefusal::Paused));
    assert_eq!(says("LATER", 0), Err(CouponRefusal::NotStarted { start_ms: NOW + 1 }));
    assert_eq!(says("OVER", 0), Err(CouponRefusal::Ended { end_ms: NOW }));
    assert_eq!(says("NOTHING", 0), Err(CouponRefusal::NothingOff), "a hundredth of a percent of 200 is nothing");
    let large = quoted(&lines(&[("a", 10)]), &campaigns, Some(CODE), 1);
    assert_eq!(large.total(), fen(1));
    assert_eq!(large.coupon().expect("given").map(drop), Ok(()));
}

#[test]
fn one_minor_unit_is_always_paid() {
    let campaigns = set([
        product("almost", &["a"], 9_999),
        spend("all-but-one", 100, 99),
        coupon("rest", CODE, 1, 100, Benefit::Amount(fen(99))),
    ]);
    let quote = quoted(&lines(&[("a", 1)]), &campaigns, Some(CODE), 0);
    assert_eq!((quote.total(), taken(&quote)), (fen(1), vec![("almost", 99)]));
    assert_eq!(quote.coupon().expect("given"), Err(CouponRefusal::NothingOff));
}

#[test]
fn a_campaign_in_another_currency_does_not_count() {
    let dollars = |minor_units| Money::new(Currency::new("USD").expect("listed"), minor_units);
    let foreign = Kind::Spend(SpendDiscount::new(dollars(10), dollars(5)).expect("valid"));
    let coupon = Coupon::new(code(CODE), 1, dollars(10), Benefit::Amount(dollars(5))).expect("valid");
    let campaigns = set([terms("foreign", foreign), terms("coupon", Kind::Coupon(coupon))]);
    let quote = quoted(&lines(&[("a", 9)]), &campaigns, Some(CODE), 0);
    assert_eq!(quote.total(), fen(900));
    assert!(matches!(quote.coupon(), Some(Err(CouponRefusal::BelowThreshold { .. }))));
}

#[test]
fn a_campaign_replaces_the_one_with_its_id() {
    let mut campaigns = set([
        product("x", &["a", "b"], 5_000),
        spend("y", 100, 10),
        coupon("z", CODE, 1, 1, Benefit::Share(points(9))),
    ]);
    let empty = Campaigns::default().bytes();
    assert!(campaigns.bytes() > empty);
    for id in ["x", "y", "z"] {
        campaigns.put(Terms { paused: true, ..product(id, &["c"], 1) });
    }
    let quote = quoted(&lines(&[("a", 9), ("b", 1)]), &campaigns, Some(CODE), 0);
    assert_eq!((quote.total(), campaigns.len()), (quote.subtotal(), 3));
    assert_eq!(quote.coupon().expect("given"), Err(CouponRefusal::Unknown));
}

/// Campaigns that touch the orders of [`order`], some of them halted, early or late.
fn campaign() -> impl Strategy<Value = Terms> {
    let skus = (subsequence(SKUS.to_vec(), 1..=3), 1i32..=9_999);
    let spending = (2i64..200_000).prop_flat_map(|from| (Just(from), 1..from));
    let amount = (1i64..500).prop_map(|off| Benefit::Amount(fen(off)));
    let share = (1i32..=9_999).prop_map(|off| Benefit::Share(points(off)));
    let kind = Union::new([
        skus.prop_map(|(skus, off)| product("x", &skus, off).kind).boxed(),
        spending.prop_map(|(from, off)| spend("x", from, off).kind).boxed(),
        (1u32..3, 500i64..50_000, prop_oneof![amount, share])
            .prop_map(|(limit, from, benefit)| coupon("x", CODE, limit, from, benefit).kind)
            .boxed(),
    ]);
    let window = (-2i64..=1, 1i64..=3);
    let window = window.prop_map(|(start, long)| Window::new(NOW + start, NOW + start + long).expect("not empty"));
    let parts = (kind, window, prop::bool::weighted(0.2));
    parts.prop_map(|(kind, window, paused)| Terms { window, paused, ..terms("x", kind) })
}

/// Up to twelve campaigns with ids of their own, and one coupon at most: the service keeps codes apart.
fn campaigns() -> impl Strategy<Value = Vec<Terms>> {
    prop::collection::vec(campaign(), 0..12).prop_map(|mut all| {
        let mut coupons = 0;
        all.retain(|terms| {
            !matches!(terms.kind, Kind::Coupon(_)) || {
                coupons += 1;
                coupons == 1
            }
        });
        let id = |at| CampaignId::new(&format!("campaign-{at:02}")).expect("valid");
        all.into_iter().enumerate().map(|(at, terms)| Terms { id: id(at), ..terms }).collect()
    })
}

fn order() -> impl Strategy<Value = Vec<(&'static str, i32)>> {
    subsequence(SKUS.to_vec(), 1..=6)
        .prop_flat_map(|skus| {
            let quantities = prop::collection::vec(prop_oneof![1i32..5, 1i32..=1000], skus.len());
            (Just(skus), quantities)
        })
        .prop_map(|(skus, quantities)| skus.into_iter().zip(quantities).collect())
}

proptest! {
    /// By arithmetic of its own: the total is what is left of the lines, and somebody always pays something.
    #[test]
    fn total_is_lines_less_discounts_and_never_nothing(
        of in order(),
        all in campaigns(),
        with in any::<bool>(),
        redeemed in 0u32..3,
    ) {
        let quote = quoted(&lines(&of), &set(all), with.then_some(CODE), redeemed);
        let of_line = |line: &PricedLine| i128::from(line.unit_price.minor_units()) * i128::from(line.quantity.get());
        let sum: i128 = quote.lines().iter().map(of_line).sum();
        let off: i128 = quote.discounts().iter().map(|discount| i128::from(discount.amount.minor_units())).sum();
        prop_assert_eq!(i128::from(quote.subtotal().minor_units()), sum);
        prop_assert_eq!(i128::from(quote.total().minor_units()), sum - off);
        prop_assert!(quote.total().minor_units() >= 1);
        prop_assert!(quote.discounts().iter().all(|discount| discount.amount.minor_units() > 0));
        let last = quote.discounts().last().map(|last| (last.campaign.clone(), last.amount));
        if let Some(Ok(used)) = quote.coupon() {
            prop_assert_eq!(last, Some((used.campaign.clone(), used.amount)));
        }
        prop_assert_eq!(quote.coupon().is_some(), with);
    }

    #[test]
    fn the_order_of_lines_and_campaigns_does_not_matter(
        (of, turned) in order().prop_flat_map(|of| (Just(of.clone()), Just(of).prop_shuffle())),
        (all, shuffled) in campaigns().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        redeemed in 0u32..3,
    ) {
        let one = quoted(&lines(&of), &set(all), Some(CODE), redeemed);
        let other = quoted(&lines(&turned), &set(shuffled), Some(CODE), redeemed);
        prop_assert_eq!((one.total(), one.coupon()), (other.total(), other.coupon()));
        let sorted = |quote: &Quote| {
            let mut all: Vec<_> = quote.discounts().to_vec();
            all.sort_by(|a, b| (&a.campaign, &a.sku).cmp(&(&b.campaign, &b.sku)));
            all
        };
        prop_assert_eq!(sorted(&one), sorted(&other));
    }

    #[test]
    fn more_campaigns_never_raise_a_price(of in order(), all in campaigns(), fewer in any::<u16>(), redeemed in 0u32..3) {
        let some = all.iter().enumerate().filter(|(at, _)| fewer >> at & 1 == 1).map(|(_, terms)| terms.clone());
        let few = quoted(&lines(&of), &set(some.collect::<Vec<_>>()), Some(CODE), redeemed).total();
        let many = quoted(&lines(&of), &set(all), Some(CODE), redeemed).total();
        prop_assert!(many.minor_units() <= few.minor_units(), "{many} > {few}");
    }

    #[test]
    fn what_is_paused_or_out_of_its_window_never_counts(of in order(), all in campaigns(), redeemed in 0u32..3) {
        let in_force = |terms: &Terms| !terms.paused && terms.window.start_ms() <= NOW && NOW < terms.window.end_ms();
        let alive: Vec<_> = all.iter().filter(|terms| in_force(terms)).cloned().collect();
        let quoted = |campaigns: Vec<Terms>| quoted(&lines(&of), &set(campaigns), Some(CODE), redeemed);
        let (every, alive) = (quoted(all), quoted(alive));
        prop_assert_eq!((every.total(), every.discounts()), (alive.total(), alive.discounts()));
    }

    /// The index against a search through all campaigns.
    #[test]
    fn the_index_finds_the_best(of in order(), all in campaigns()) {
        let quote = quoted(&lines(&of), &set(all.clone()), None, 0);
        let of_line = |line: &PricedLine| {
            let unit = line.unit_price.minor_units();
            let best = all.iter().filter(|terms| terms.in_force(NOW)).filter_map(|terms| match &terms.kind {
                Kind::Product(discount) if discount.skus().contains(&line.sku) => {
                    Some(unit * i64::from(discount.off().get()) / 10_000)
                }
                _ => None,
            });
            best.max().unwrap_or(0) * i64::from(line.quantity.get())
        };
        let lines_off: i64 = quote.lines().iter().map(of_line).sum();
        let spent = all.iter().filter(|terms| terms.in_force(NOW)).filter_map(|terms| match &terms.kind {
            Kind::Spend(discount) if quote.subtotal().minor_units() >= discount.threshold().minor_units() => {
                Some(discount.amount_off().minor_units())
            }
            _ => None,
        });
        let expected = quote.subtotal().minor_units() - lines_off - spent.max().unwrap_or(0);
        prop_assert_eq!(quote.total().minor_units(), expected.max(1));
    }
}
