//! A campaign as a row.

use super::{Result, stored};
use shop_logic::{
    Campaign, CampaignId, CouponCode, Currency, Money, Sku, Title,
    campaign::{BasisPoints, Benefit, Coupon, Kind, ProductDiscount, SpendDiscount, Terms, Window},
};
use sqlx::{Decode, Row as _, Sqlite, Type, sqlite::SqliteRow};

/// The columns of [`read`].
pub(super) const COLUMNS: &str = "campaign_id, title, start_ms, end_ms, paused, version, kind, skus, basis_points_off,
   currency, threshold_minor, amount_off_minor, code, per_user_limit";

/// What a kind needs of the columns that not all kinds have.
#[derive(Debug, Default)]
pub(super) struct KindColumns<'k> {
    pub kind: &'static str,
    pub skus: Option<String>,
    pub basis_points_off: Option<i64>,
    pub currency: Option<&'static str>,
    pub threshold_minor: Option<i64>,
    pub amount_off_minor: Option<i64>,
    pub code: Option<&'k str>,
    pub per_user_limit: Option<i64>,
}

impl<'k> From<&'k Kind> for KindColumns<'k> {
    fn from(kind: &'k Kind) -> Self {
        let none = KindColumns::default();
        match kind {
            Kind::Product(discount) => KindColumns {
                kind: "product",
                skus: Some(json(discount.skus().iter().map(Sku::as_str))),
                basis_points_off: Some(discount.off().get().into()),
                ..none
            },
            Kind::Spend(discount) => KindColumns {
                kind: "spend",
                currency: Some(discount.threshold().currency().code()),
                threshold_minor: Some(discount.threshold().minor_units()),
                amount_off_minor: Some(discount.amount_off().minor_units()),
                ..none
            },
            Kind::Coupon(coupon) => {
                let (amount, share) = match coupon.benefit() {
                    Benefit::Amount(amount) => (Some(amount.minor_units()), None),
                    Benefit::Share(points) => (None, Some(points.get().into())),
                };
                KindColumns {
                    kind: "coupon",
                    basis_points_off: share,
                    currency: Some(coupon.threshold().currency().code()),
                    threshold_minor: Some(coupon.threshold().minor_units()),
                    amount_off_minor: amount,
                    code: Some(coupon.code().as_str()),
                    per_user_limit: Some(coupon.per_user_limit().into()),
                    ..none
                }
            }
        }
    }
}

/// A list as one parameter or value, so that a statement's text does not depend on its length.
pub(super) fn json<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    serde_json::to_string(&texts.collect::<Vec<_>>()).expect("a list of texts is always JSON")
}

/// A campaign of a row with all [`COLUMNS`].
pub(super) fn read(row: &SqliteRow) -> Result<Campaign> {
    let window = Window::new(row.try_get("start_ms")?, row.try_get("end_ms")?);
    Ok(Campaign {
        terms: Terms {
            id: stored("campaign id", CampaignId::new(row.try_get("campaign_id")?))?,
            window: stored("window", window)?,
            paused: row.try_get::<i64, _>("paused")? != 0,
            kind: kind(row)?,
        },
        title: stored("title", Title::new(row.try_get("title")?))?,
        version: stored("version", u64::try_from(row.try_get::<i64, _>("version")?))?,
    })
}

fn kind(row: &SqliteRow) -> Result<Kind> {
    match row.try_get("kind")? {
        "product" => {
            let skus: Vec<String> = stored("products", serde_json::from_str(column(row, "skus")?))?;
            let skus: std::result::Result<_, _> = skus.iter().map(|sku| Sku::new(sku)).collect();
            Ok(Kind::Product(stored("products", ProductDiscount::new(stored("SKU", skus)?, share(row)?))?))
        }
        "spend" => {
            let discount = SpendDiscount::new(money(row, "threshold_minor")?, money(row, "amount_off_minor")?);
            Ok(Kind::Spend(stored("discount", discount)?))
        }
        _ => {
            let code = stored("coupon code", CouponCode::new(column(row, "code")?))?;
            let limit = stored("coupon limit", u32::try_from(column::<i64>(row, "per_user_limit")?))?;
            let benefit = match row.try_get::<Option<i64>, _>("amount_off_minor")? {
                Some(_) => Benefit::Amount(money(row, "amount_off_minor")?),
                None => Benefit::Share(share(row)?),
            };
            Ok(Kind::Coupon(stored("coupon", Coupon::new(code, limit, money(row, "threshold_minor")?, benefit))?))
        }
    }
}

/// A value that this kind of campaign has.
fn column<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(row: &'r SqliteRow, name: &'static str) -> Result<T> {
    stored(name, row.try_get::<Option<T>, _>(name)?.ok_or(()))
}

fn share(row: &SqliteRow) -> Result<BasisPoints> {
    let points = stored("share", i32::try_from(column::<i64>(row, "basis_points_off")?))?;
    stored("share", BasisPoints::new(points))
}

fn money(row: &SqliteRow, minor_units: &'static str) -> Result<Money> {
    let currency = stored("currency", Currency::new(column(row, "currency")?))?;
    Ok(Money::new(currency, column(row, minor_units)?))
}
