//! Campaigns as messages, and back: one way for the service that writes them and for all who follow it.

use super::{self as pb, campaign, coupon};
use shop_logic::{
    Campaign, CampaignId, CouponCode, Currency, InvalidError, Money, Sku, Title, Violations,
    campaign::{BasisPoints, Benefit, Coupon, Kind, ProductDiscount, SpendDiscount, Terms, Window},
};

impl From<Money> for pb::Money {
    fn from(money: Money) -> Self {
        Self { currency_code: money.currency().code().to_owned(), minor_units: money.minor_units() }
    }
}

impl From<&Campaign> for pb::Campaign {
    fn from(Campaign { terms, title, version }: &Campaign) -> Self {
        let state = if terms.paused { pb::CampaignState::Paused } else { pb::CampaignState::Active };
        Self {
            campaign_id: terms.id.to_string(),
            title: title.to_string(),
            start_time_ms: terms.window.start_ms(),
            end_time_ms: terms.window.end_ms(),
            state: state.into(),
            version: *version,
            kind: Some((&terms.kind).into()),
        }
    }
}

impl From<&Kind> for campaign::Kind {
    fn from(kind: &Kind) -> Self {
        match kind {
            Kind::Product(discount) => Self::ProductDiscount(pb::ProductDiscount {
                skus: discount.skus().iter().map(ToString::to_string).collect(),
                basis_points_off: discount.off().get().into(),
            }),
            Kind::Spend(discount) => Self::SpendDiscount(pb::SpendDiscount {
                threshold: Some(discount.threshold().into()),
                amount_off: Some(discount.amount_off().into()),
            }),
            Kind::Coupon(coupon) => Self::Coupon(pb::Coupon {
                code: coupon.code().to_string(),
                per_user_limit: i32::try_from(coupon.per_user_limit()).unwrap_or(i32::MAX),
                threshold: Some(coupon.threshold().into()),
                benefit: Some(match coupon.benefit() {
                    Benefit::Amount(amount) => coupon::Benefit::AmountOff(amount.into()),
                    Benefit::Share(points) => coupon::Benefit::BasisPointsOff(points.get().into()),
                }),
            }),
        }
    }
}

/// A campaign of a request or of the stream; what is wrong with it goes into `violations`, by its path from `campaign`.
pub fn campaign_from(campaign: &pb::Campaign, violations: &mut Violations) -> Option<Campaign> {
    let id = violations.take("campaign.campaign_id", CampaignId::new(&campaign.campaign_id));
    let title = violations.take("campaign.title", Title::new(&campaign.title));
    let window = Window::new(campaign.start_time_ms, campaign.end_time_ms);
    let window = violations.take("campaign.end_time_ms", window);
    let paused = violations.take("campaign.state", paused(campaign.state));
    let kind = violations.take("campaign.kind", campaign.kind.as_ref().ok_or(InvalidError::Missing));
    let kind = kind.and_then(|kind| kind_from(kind, violations));
    let terms = Terms { id: id?, window: window?, paused: paused?, kind: kind? };
    Some(Campaign { terms, title: title?, version: campaign.version })
}

/// Whether a state is that of a halted campaign.
///
/// # Errors
/// If it is none that a campaign can be in.
pub fn paused(state: i32) -> Result<bool, InvalidError> {
    match pb::CampaignState::try_from(state) {
        Ok(pb::CampaignState::Active) => Ok(false),
        Ok(pb::CampaignState::Paused) => Ok(true),
        Ok(pb::CampaignState::Unspecified) => Err(InvalidError::Missing),
        Err(_) => Err(InvalidError::Range { value: state.into(), min: 1, max: 2 }),
    }
}

fn kind_from(kind: &campaign::Kind, violations: &mut Violations) -> Option<Kind> {
    match kind {
        campaign::Kind::ProductDiscount(discount) => product_from(discount, violations).map(Kind::Product),
        campaign::Kind::SpendDiscount(discount) => spend_from(discount, violations).map(Kind::Spend),
        campaign::Kind::Coupon(coupon) => coupon_from(coupon, violations).map(Kind::Coupon),
    }
}

fn product_from(discount: &pb::ProductDiscount, violations: &mut Violations) -> Option<ProductDiscount> {
    let off = "campaign.product_discount.basis_points_off";
    let off = violations.take(off, BasisPoints::new(discount.basis_points_off));
    // Counted first: a message may hold very many, and each bad one would be described.
    let skus = "campaign.product_discount.skus";
    violations.take(skus, InvalidError::count(discount.skus.len(), ProductDiscount::MAX_SKUS))?;
    let each = discount.skus.iter().enumerate();
    let each: Vec<_> = each.map(|(at, sku)| violations.take(format!("{skus}[{at}]"), Sku::new(sku))).collect();
    let each = each.into_iter().collect::<Option<_>>()?;
    violations.take(skus, ProductDiscount::new(each, off?))
}

fn spend_from(discount: &pb::SpendDiscount, violations: &mut Violations) -> Option<SpendDiscount> {
    let threshold = money(discount.threshold.as_ref(), "campaign.spend_discount.threshold", violations);
    let field = "campaign.spend_discount.amount_off";
    let amount = money(discount.amount_off.as_ref(), field, violations);
    violations.take(field, SpendDiscount::new(threshold?, amount?))
}

fn coupon_from(coupon: &pb::Coupon, violations: &mut Violations) -> Option<Coupon> {
    let code = violations.take("campaign.coupon.code", CouponCode::new(&coupon.code));
    let limit = violations.take("campaign.coupon.per_user_limit", Coupon::per_user(coupon.per_user_limit));
    let threshold = money(coupon.threshold.as_ref(), "campaign.coupon.threshold", violations);
    let amount = "campaign.coupon.amount_off";
    let benefit = match &coupon.benefit {
        Some(coupon::Benefit::AmountOff(off)) => money(Some(off), amount, violations).map(Benefit::Amount),
        Some(coupon::Benefit::BasisPointsOff(points)) => {
            violations.take("campaign.coupon.basis_points_off", BasisPoints::new(*points)).map(Benefit::Share)
        }
        None => violations.take("campaign.coupon.benefit", Err(InvalidError::Missing)),
    };
    // Only an amount can be at odds with the threshold.
    violations.take(amount, Coupon::new(code?, limit?, threshold?, benefit?))
}

/// An amount of more than nothing.
fn money(money: Option<&pb::Money>, field: &str, violations: &mut Violations) -> Option<Money> {
    let money = violations.take(field, money.ok_or(InvalidError::Missing))?;
    let currency = violations.take(format!("{field}.currency_code"), Currency::new(&money.currency_code));
    let minor_units = InvalidError::range(money.minor_units, 1..=i64::MAX);
    let minor_units = violations.take(format!("{field}.minor_units"), minor_units);
    Some(Money::new(currency?, minor_units?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yuan(minor_units: i64) -> pb::Money {
        pb::Money { currency_code: "CNY".into(), minor_units }
    }

    fn of(kind: Option<campaign::Kind>) -> pb::Campaign {
        pb::Campaign {
            campaign_id: "autumn".into(),
            title: "Autumn".into(),
            start_time_ms: 5,
            end_time_ms: 9,
            state: pb::CampaignState::Paused.into(),
            version: 7,
            kind,
        }
    }

    fn coupon(benefit: Option<coupon::Benefit>) -> Option<campaign::Kind> {
        let threshold = Some(yuan(100));
        Some(campaign::Kind::Coupon(pb::Coupon { code: "WELCOME-10".into(), per_user_limit: 2, threshold, benefit }))
    }

    #[test]
    fn a_campaign_comes_back_as_it_was_told() {
        let skus = vec!["tea".to_owned(), "cup".to_owned()];
        for kind in [
            Some(campaign::Kind::ProductDiscount(pb::ProductDiscount { skus, basis_points_off: 1_500 })),
            Some(campaign::Kind::SpendDiscount(pb::SpendDiscount {
                threshold: Some(yuan(100)),
                amount_off: Some(yuan(99)),
            })),
            coupon(Some(coupon::Benefit::AmountOff(yuan(50)))),
            coupon(Some(coupon::Benefit::BasisPointsOff(1))),
        ] {
            let (told, mut violations) = (of(kind), Violations::new());
            let campaign = campaign_from(&told, &mut violations).unwrap_or_else(|| panic!("{violations}"));
            assert_eq!(pb::Campaign::from(&campaign), told);
        }
    }

    #[test]
    fn all_faults_of_a_campaign_are_told_with_their_fields() {
        let faults = |campaign: pb::Campaign| {
            let mut violations = Violations::new();
            assert_eq!(campaign_from(&campaign, &mut violations), None);
            violations.into_iter().map(|(field, _)| field).collect::<Vec<_>>()
        };
        assert_eq!(
            faults(pb::Campaign::default()),
            ["campaign_id", "title", "end_time_ms", "state", "kind"].map(|field| format!("campaign.{field}"))
        );
        assert_eq!(faults(of(coupon(None))), ["campaign.coupon.benefit"]);
        let too_much = coupon(Some(coupon::Benefit::AmountOff(yuan(100))));
        assert_eq!(faults(of(too_much)), ["campaign.coupon.amount_off"]);
        let spend = pb::SpendDiscount { threshold: None, amount_off: Some(yuan(0)) };
        assert_eq!(
            faults(of(Some(campaign::Kind::SpendDiscount(spend)))),
            ["campaign.spend_discount.threshold", "campaign.spend_discount.amount_off.minor_units"]
        );
        let products = pb::ProductDiscount { skus: vec!["tea".into(), "T".into()], basis_points_off: 10_000 };
        assert_eq!(
            faults(of(Some(campaign::Kind::ProductDiscount(products)))),
            ["campaign.product_discount.basis_points_off", "campaign.product_discount.skus[1]"]
        );
        let state = pb::Campaign { state: 9, ..of(coupon(Some(coupon::Benefit::BasisPointsOff(1)))) };
        assert_eq!(faults(state), ["campaign.state"]);
    }
}
