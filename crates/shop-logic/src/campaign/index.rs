//! Campaigns by what an order asks for: its products, its sum, its code. A price looks at those that may touch it, never
//! at all of them.

use super::{Coupon, Kind, SpendDiscount, Terms};
use crate::{CampaignId, CouponCode, Sku};
use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// A set of campaigns.
#[derive(Clone, Debug, Default)]
pub struct Campaigns {
    by_id: HashMap<CampaignId, Arc<Terms>>,
    by_sku: HashMap<Sku, Ranked>,
    spend: Ranked,
    by_code: HashMap<CouponCode, BTreeSet<CampaignId>>,
    bytes: usize,
}

/// Campaigns, the best first: by what they take off, then by id.
type Ranked = Vec<(Reverse<i64>, Arc<Terms>)>;

fn rank(ranked: &Ranked, worth: i64, id: &CampaignId) -> Result<usize, usize> {
    ranked.binary_search_by(|(other, terms)| (other, &terms.id).cmp(&(&Reverse(worth), id)))
}

fn insert(ranked: &mut Ranked, worth: i64, terms: &Arc<Terms>) {
    if let Err(at) = rank(ranked, worth, &terms.id) {
        ranked.insert(at, (Reverse(worth), Arc::clone(terms)));
    }
}

fn remove(ranked: &mut Ranked, worth: i64, id: &CampaignId) {
    if let Ok(at) = rank(ranked, worth, id) {
        ranked.remove(at);
    }
}

impl Campaigns {
    /// Adds a campaign, in the place of one with its id.
    pub fn put(&mut self, terms: Terms) {
        let terms = Arc::new(terms);
        if let Some(old) = self.by_id.insert(terms.id.clone(), Arc::clone(&terms)) {
            self.forget(&old);
        }
        self.bytes += bytes(&terms);
        match &terms.kind {
            Kind::Product(discount) => {
                for sku in discount.skus() {
                    insert(self.by_sku.entry(sku.clone()).or_default(), discount.off().get().into(), &terms);
                }
            }
            Kind::Spend(discount) => insert(&mut self.spend, discount.amount_off().minor_units(), &terms),
            Kind::Coupon(coupon) => {
                self.by_code.entry(coupon.code().clone()).or_default().insert(terms.id.clone());
            }
        }
    }

    fn forget(&mut self, old: &Terms) {
        self.bytes -= bytes(old);
        match &old.kind {
            Kind::Product(discount) => {
                for sku in discount.skus() {
                    if let Some(ranked) = self.by_sku.get_mut(sku) {
                        remove(ranked, discount.off().get().into(), &old.id);
                    }
                }
            }
            Kind::Spend(discount) => remove(&mut self.spend, discount.amount_off().minor_units(), &old.id),
            Kind::Coupon(coupon) => {
                if let Some(ids) = self.by_code.get_mut(coupon.code()) {
                    ids.remove(&old.id);
                }
            }
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// About how many bytes it takes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The campaign whose coupon has a code.
    #[must_use]
    pub fn with_code(&self, code: &CouponCode) -> Option<&CampaignId> {
        self.by_code.get(code)?.first()
    }

    /// The best discount of a product that is in force.
    pub(super) fn of_product(&self, sku: &Sku, now_ms: i64) -> Option<(&CampaignId, super::BasisPoints)> {
        self.by_sku.get(sku)?.iter().find_map(|(_, terms)| match &terms.kind {
            Kind::Product(discount) if terms.in_force(now_ms) => Some((&terms.id, discount.off())),
            _ => None,
        })
    }

    /// The best spend discount in force that fits.
    pub(super) fn of_spending(
        &self,
        fits: impl Fn(SpendDiscount) -> bool,
        now_ms: i64,
    ) -> Option<(&CampaignId, SpendDiscount)> {
        self.spend.iter().find_map(|(_, terms)| match &terms.kind {
            Kind::Spend(discount) if terms.in_force(now_ms) && fits(*discount) => Some((&terms.id, *discount)),
            _ => None,
        })
    }

    /// The coupon with a code. The service keeps codes apart; if it did not, the smallest id has it.
    pub(super) fn of_code(&self, code: &CouponCode) -> Option<(&Terms, &Coupon)> {
        let terms = self.by_id.get(self.with_code(code)?)?;
        match &terms.kind {
            Kind::Coupon(coupon) => Some((terms, coupon)),
            _ => None,
        }
    }
}

/// About what a campaign takes: itself, and for each entry of a table a key and a pointer.
fn bytes(terms: &Terms) -> usize {
    const ENTRY: usize = 64;
    let keys = match &terms.kind {
        Kind::Product(discount) => discount.skus().iter().map(|sku| 2 * ENTRY + sku.as_str().len()).sum(),
        Kind::Spend(_) => ENTRY,
        Kind::Coupon(coupon) => 2 * ENTRY + coupon.code().as_str().len(),
    };
    size_of::<Terms>() + ENTRY + terms.id.as_str().len() + keys
}
