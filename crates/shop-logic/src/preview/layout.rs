//! The bytes of a token.
//!
//! Version, key id, catalogue's and campaigns' version, expiry, binding, currency; number of lines and the list price of each
//! by ascending SKU; number of discounts and of each the line (or none), the amount and the campaign; how many orders of a
//! user the coupon serves (0: there is none, else the last discount is its); the digest. Numbers are big-endian.

use super::{Asked, PreviewTerms, bind};
use crate::{
    CampaignId, Currency, Lines, Money, Sku,
    campaign::{CouponUse, Discount, Quote},
    price,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Layout of the token; part of what is signed. Version 1 knew no discounts.
pub(super) const VERSION: u8 = 2;
/// Stands in the place of a line for the whole order.
const NO_LINE: u8 = u8::MAX;
const MAC: usize = blake3::OUT_LEN;
const BINDING: usize = 16;
const HEAD: usize = 1 + 4 + 8 + 8 + 8 + BINDING + 3 + 1 + 1 + 4;
/// One for each line, one for the order, one for the coupon.
const MAX_DISCOUNTS: usize = Lines::MAX + 2;
/// Longest discount: line, amount, length of the id, id.
const DISCOUNT: usize = 1 + 8 + 1 + 64;
/// Longest token in base64; longer text is not even decoded.
const MAX_TEXT: usize = (HEAD + 8 * Lines::MAX + DISCOUNT * MAX_DISCOUNTS + MAC).div_ceil(3) * 4;

/// A digest without key of what a preview was asked for: tells others from it, proves nothing.
pub(super) fn binding(asked: &Asked<'_>) -> [u8; BINDING] {
    let mut hasher = blake3::Hasher::new();
    bind(&mut hasher, asked);
    let mut binding = [0; BINDING];
    hasher.finalize_xof().fill(&mut binding);
    binding
}

/// A token with the digest that `sign` makes of what is signed.
pub(super) fn text(
    key_id: u32,
    asked: &Asked<'_>,
    quote: &Quote,
    terms: PreviewTerms,
    sign: impl FnOnce(&[u8]) -> blake3::Hash,
) -> String {
    let PreviewTerms { catalog_version, campaign_version, expire_time_ms } = terms;
    let count =
        |len: usize| -> u8 { u8::try_from(len).expect("lines and discounts are at most 52, ids at most 64 bytes") };
    let by_sku = asked.lines.by_sku();
    let mut token = Vec::with_capacity(HEAD + 8 * by_sku.len() + MAC + DISCOUNT);
    token.push(VERSION);
    token.extend(key_id.to_be_bytes());
    token.extend(catalog_version.to_be_bytes());
    token.extend(campaign_version.to_be_bytes());
    token.extend(expire_time_ms.to_be_bytes());
    token.extend(binding(asked));
    token.extend(quote.total().currency().code().as_bytes());
    token.push(count(by_sku.len()));
    for &at in &by_sku {
        token.extend(quote.lines()[at].unit_price.minor_units().to_be_bytes());
    }
    token.push(count(quote.discounts().len()));
    for Discount { campaign, sku, amount } in quote.discounts() {
        let place = |of: &Sku| by_sku.iter().position(|&at| quote.lines()[at].sku == *of);
        token.push(sku.as_ref().and_then(place).map_or(NO_LINE, count));
        token.extend(amount.minor_units().to_be_bytes());
        token.push(count(campaign.as_str().len()));
        token.extend(campaign.as_str().as_bytes());
    }
    let coupon = quote.coupon().and_then(Result::ok);
    token.extend(coupon.map_or(0, |used| used.per_user_limit).to_be_bytes());
    let mac = sign(&token);
    token.extend(mac.as_bytes());
    URL_SAFE_NO_PAD.encode(token)
}

/// The bytes of a text, if it may be a token.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(Some(text).filter(|text| text.len() <= MAX_TEXT)?).ok()
}

/// Why bytes are no token.
pub(super) enum Flaw {
    /// Made by another version.
    Layout { found: u8 },
    /// No token at all.
    Malformed,
}

/// A token, believed in nothing yet.
pub(super) struct Token<'a> {
    pub signed: &'a [u8],
    pub key_id: u32,
    pub terms: PreviewTerms,
    pub binding: &'a [u8; BINDING],
    currency: Currency,
    prices: &'a [[u8; 8]],
    discounts: Vec<(u8, i64, CampaignId)>,
    per_user_limit: u32,
    pub mac: blake3::Hash,
}

impl<'a> Token<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Flaw> {
        match bytes.first() {
            Some(&found @ 1) => Err(Flaw::Layout { found }),
            Some(&VERSION) => Self::read(bytes).ok_or(Flaw::Malformed),
            _ => Err(Flaw::Malformed),
        }
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (signed, mac) = bytes.split_last_chunk::<MAC>()?;
        let mut rest = signed.get(1..)?;
        let key_id = u32::from_be_bytes(*take(&mut rest)?);
        let terms = PreviewTerms {
            catalog_version: u64::from_be_bytes(*take(&mut rest)?),
            campaign_version: u64::from_be_bytes(*take(&mut rest)?),
            expire_time_ms: i64::from_be_bytes(*take(&mut rest)?),
        };
        let binding = take(&mut rest)?;
        let currency = Currency::new(str::from_utf8(take::<3>(&mut rest)?).ok()?).ok()?;
        let &[count] = take(&mut rest)?;
        let (prices, []) = part(&mut rest, 8 * usize::from(count))?.as_chunks() else { return None };
        let &[count] = take(&mut rest)?;
        let discounts = (0..count).map(|_| discount(&mut rest)).collect::<Option<_>>()?;
        let per_user_limit = u32::from_be_bytes(*take(&mut rest)?);
        let mac = blake3::Hash::from_bytes(*mac);
        let token = Self { signed, key_id, terms, binding, currency, prices, discounts, per_user_limit, mac };
        rest.is_empty().then_some(token)
    }

    /// What it says, about these lines.
    pub fn quote(&self, lines: &Lines) -> Option<Quote> {
        let by_sku = lines.by_sku();
        if by_sku.len() != self.prices.len() {
            return None;
        }
        let mut of_line = vec![0; by_sku.len()];
        for (&at, bytes) in by_sku.iter().zip(self.prices) {
            of_line[at] = i64::from_be_bytes(*bytes);
        }
        let mut of_line = of_line.into_iter();
        let order = price(lines, |_| of_line.next().map(|minor_units| Money::new(self.currency, minor_units))).ok()?;
        let discount = |(line, amount, campaign): &(u8, i64, CampaignId)| {
            let sku = match *line {
                NO_LINE => None,
                line => Some(lines.as_slice()[*by_sku.get(usize::from(line))?].sku.clone()),
            };
            Some(Discount { campaign: campaign.clone(), sku, amount: Money::new(self.currency, *amount) })
        };
        let mut discounts = self.discounts.iter().map(discount).collect::<Option<Vec<_>>>()?;
        // Those of lines in the sequence of these lines: a token serves any.
        discounts.sort_by_key(|discount| discount.sku.as_ref().map_or(usize::MAX, |sku| lines.place(sku)));
        let coupon = match self.per_user_limit {
            0 => None,
            per_user_limit => {
                let Discount { campaign, amount, .. } = discounts.last()?;
                Some(CouponUse { campaign: campaign.clone(), per_user_limit, amount: *amount })
            }
        };
        Quote::of(order, discounts, coupon).ok()
    }
}

fn discount(rest: &mut &[u8]) -> Option<(u8, i64, CampaignId)> {
    let &[line] = take(rest)?;
    let amount = i64::from_be_bytes(*take(rest)?);
    let &[len] = take(rest)?;
    let id = str::from_utf8(part(rest, len.into())?).ok()?;
    Some((line, amount, CampaignId::new(id).ok()?))
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(head)
}

fn part<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}
