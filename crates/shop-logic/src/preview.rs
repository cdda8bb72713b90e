//! Preview tokens: they hold the prices a caller was shown until they expire.
//!
//! A token is the prices in clear text and a keyed BLAKE3 digest over everything the preview promised: user, lines,
//! prices, total, catalogue version and expiry. It needs no row and works in any cell that has the keys (OWN-2).

use crate::{Currency, Lines, Money, PriceError, PricedOrder, price};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Layout of the token; part of the digest.
const VERSION: u8 = 1;
/// Version, key id, catalogue version, expiry, currency, number of lines.
const HEAD: usize = 1 + 4 + 8 + 8 + 3 + 1;
const MAC: usize = blake3::OUT_LEN;
/// Longest token in base64; longer text is not even decoded.
const MAX_TEXT: usize = (HEAD + 8 * Lines::MAX + MAC).div_ceil(3) * 4;
/// One key, known by its id to every cell.
#[derive(Clone)]
pub struct PreviewKey {
    id: u32,
    key: [u8; blake3::KEY_LEN],
}

impl PreviewKey {
    /// What these keys are for, where they are derived from secrets that serve other purposes too.
    pub const PURPOSE: &str = "shop.cellmesh 2026-11 preview token v1";

    /// The key with this id. The secret must serve nothing else, see [`Self::PURPOSE`].
    #[must_use]
    pub const fn new(id: u32, key: [u8; blake3::KEY_LEN]) -> Self {
        Self { id, key }
    }
}

/// The keys in force: the first seals, all open, so that keys can be rotated while tokens are about.
#[derive(Clone)]
pub struct PreviewKeys(Vec<PreviewKey>);

/// What an opened token promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// The lines at the previewed prices.
    pub order: PricedOrder,
    /// Catalogue version of the prices.
    pub catalog_version: u64,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreviewError {
    /// It was made for another user or other lines, with an unknown key, or tampered with.
    #[error("preview token does not belong to this user and these lines")]
    Mismatch,
    /// It is too old.
    #[error("preview token expired at {expire_time_ms} ms since the Unix epoch")]
    Expired {
        /// When it expired, in milliseconds since the Unix epoch.
        expire_time_ms: i64,
    },
}

impl PreviewKeys {
    /// These keys, the sealing one first. `None` if there is none.
    #[must_use]
    pub fn new(keys: Vec<PreviewKey>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// Seals a priced order for a user (canonical key bytes) until `expire_time_ms`.
    #[must_use]
    pub fn seal(
        &self,
        user: &[u8],
        lines: &Lines,
        order: &PricedOrder,
        catalog_version: u64,
        expire_time_ms: i64,
    ) -> String {
        let key = self.0.first().expect("a key ring is never empty");
        let mut token = Vec::with_capacity(HEAD + 8 * order.lines().len() + MAC);
        token.push(VERSION);
        token.extend(key.id.to_be_bytes());
        token.extend(catalog_version.to_be_bytes());
        token.extend(expire_time_ms.to_be_bytes());
        token.extend(order.total().currency().code().as_bytes());
        token.push(u8::try_from(order.lines().len()).expect("an order has at most 50 lines"));
        for at in lines.by_sku() {
            token.extend(order.lines()[at].unit_price.minor_units().to_be_bytes());
        }
        let mac = digest(key, &token, user, lines, order.total());
        token.extend(mac.as_bytes());
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Opens a token for this user and these lines (in any sequence) at `now_ms`. Authenticity is checked before
    /// anything else the token says is believed.
    ///
    /// # Errors
    /// If it is not theirs or has expired.
    pub fn open(&self, token: &str, user: &[u8], lines: &Lines, now_ms: i64) -> Result<Preview, PreviewError> {
        if token.len() > MAX_TEXT {
            return Err(PreviewError::Mismatch);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| PreviewError::Mismatch)?;
        let parsed = Parsed::of(&bytes).ok_or(PreviewError::Mismatch)?;
        let key = self.0.iter().find(|key| key.id == parsed.key_id).ok_or(PreviewError::Mismatch)?;
        let order = parsed.order(lines).ok_or(PreviewError::Mismatch)?;
        // blake3::Hash compares in constant time.
        if digest(key, parsed.signed, user, lines, order.total()) != parsed.mac {
            return Err(PreviewError::Mismatch);
        }
        if now_ms >= parsed.expire_time_ms {
            return Err(PreviewError::Expired { expire_time_ms: parsed.expire_time_ms });
        }
        Ok(Preview { order, catalog_version: parsed.catalog_version })
    }
}

/// Keyed digest; every variable part is preceded by its length, so no two inputs run into each other.
fn digest(key: &PreviewKey, head: &[u8], user: &[u8], lines: &Lines, total: Money) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(&key.key);
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    part(head);
    part(user);
    part(&total.minor_units().to_be_bytes());
    for at in lines.by_sku() {
        let line = &lines.as_slice()[at];
        part(line.sku.as_str().as_bytes());
        part(&line.quantity.get().to_be_bytes());
    }
    hasher.finalize()
}

struct Parsed<'a> {
    signed: &'a [u8],
    key_id: u32,
    catalog_version: u64,
    expire_time_ms: i64,
    currency: Currency,
    prices: &'a [[u8; 8]],
    mac: blake3::Hash,
}

impl<'a> Parsed<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (signed, mac) = bytes.split_last_chunk::<MAC>()?;
        let ([version], rest) = signed.split_first_chunk()?;
        let (key_id, rest) = rest.split_first_chunk()?;
        let (catalog_version, rest) = rest.split_first_chunk()?;
        let (expire_time_ms, rest) = rest.split_first_chunk()?;
        let (currency, rest) = rest.split_first_chunk::<3>()?;
        let ([count], rest) = rest.split_first_chunk()?;
        let (prices, []) = rest.as_chunks::<8>() else { return None };
        if *version != VERSION || usize::from(*count) != prices.len() {
            return None;
        }
        Some(Self {
            signed,
            key_id: u32::from_be_bytes(*key_id),
            catalog_version: u64::from_be_bytes(*catalog_version),
            expire_time_ms: i64::from_be_bytes(*expire_time_ms),
            currency: Currency::new(str::from_utf8(currency).ok()?).ok()?,
            prices,
            mac: blake3::Hash::from_bytes(*mac),
        })
    }

    /// The lines at the token's prices; `None` if they cannot be what was sealed.
    fn order(&self, lines: &Lines) -> Option<PricedOrder> {
        if self.prices.len() != lines.as_slice().len() {
            return None;
        }
        let mut unit_prices = vec![Money::zero(self.currency); self.prices.len()];
        for (at, minor_units) in lines.by_sku().into_iter().zip(self.prices) {
            unit_prices[at] = Money::new(self.currency, i64::from_be_bytes(*minor_units));
        }
        let mut unit_prices = unit_prices.into_iter();
        let order: Result<PricedOrder, PriceError> = price(lines, |_| unit_prices.next());
        order.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Line, Quantity, Sku};
    use proptest::prelude::*;

    const NOW: i64 = 1_700_000_000_000;

    fn keys(ids: &[u32]) -> PreviewKeys {
        PreviewKeys::new(ids.iter().map(|id| PreviewKey::new(*id, [*id as u8; 32])).collect()).expect("not empty")
    }

    fn lines(of: &[(&str, i32)]) -> Lines {
        let line = |(sku, n): &(&str, i32)| Line {
            sku: Sku::new(sku).expect("valid"),
            quantity: Quantity::new(*n).expect("valid"),
        };
        Lines::new(of.iter().map(line).collect()).expect("valid")
    }

    fn priced(lines: &Lines) -> PricedOrder {
        price(lines, |sku| Some(Money::new(Currency::CNY, 100 + i64::from(sku.as_str().as_bytes()[0])))).expect("small")
    }

    #[test]
    fn a_token_holds_its_prices_in_any_sequence_of_lines() {
        let asked = lines(&[("tea", 2), ("cup", 1)]);
        let token = keys(&[1]).seal(b"u", &asked, &priced(&asked), 7, NOW + 1);
        let swapped = lines(&[("cup", 1), ("tea", 2)]);
        let opened = keys(&[1]).open(&token, b"u", &swapped, NOW).expect("valid");
        assert_eq!(opened, Preview { order: priced(&swapped), catalog_version: 7 });
    }

    #[test]
    fn a_token_serves_one_user_and_one_set_of_lines() {
        let asked = lines(&[("tea", 2), ("cup", 1)]);
        let token = keys(&[1]).seal(b"u", &asked, &priced(&asked), 7, NOW + 1);
        let refused =
            |user: &[u8], lines: &Lines| keys(&[1]).open(&token, user, lines, NOW) == Err(PreviewError::Mismatch);
        assert!(refused(b"v", &asked), "another user");
        assert!(refused(b"u", &lines(&[("tea", 3), ("cup", 1)])), "another quantity");
        assert!(refused(b"u", &lines(&[("tea", 2)])), "a line less");
        assert!(refused(b"u", &lines(&[("tea", 2), ("cap", 1)])), "another product");
    }

    #[test]
    fn a_token_expires() {
        let asked = lines(&[("tea", 1)]);
        let token = keys(&[1]).seal(b"u", &asked, &priced(&asked), 7, NOW);
        let expired = Err(PreviewError::Expired { expire_time_ms: NOW });
        assert_eq!(keys(&[1]).open(&token, b"u", &asked, NOW), expired);
        assert!(keys(&[1]).open(&token, b"u", &asked, NOW - 1).is_ok());
    }

    #[test]
    fn keys_rotate() {
        let asked = lines(&[("tea", 1)]);
        let old = keys(&[1]).seal(b"u", &asked, &priced(&asked), 7, NOW + 1);
        assert!(keys(&[2, 1]).open(&old, b"u", &asked, NOW).is_ok(), "the old key still opens");
        assert_eq!(keys(&[2]).open(&old, b"u", &asked, NOW), Err(PreviewError::Mismatch), "a dropped key does not");
        let new = keys(&[2, 1]).seal(b"u", &asked, &priced(&asked), 7, NOW + 1);
        assert!(keys(&[2]).open(&new, b"u", &asked, NOW).is_ok(), "the first key seals");
    }

    #[test]
    fn the_layout_never_drifts() {
        let asked = lines(&[("tea", 2), ("cup", 1)]);
        let token = keys(&[1]).seal(b"user-1", &asked, &priced(&asked), 7, NOW);
        assert_eq!(token, GOLDEN);
    }
    const GOLDEN: &str =
        "AQAAAAEAAAAAAAAABwAAAYvP5WgAQ05ZAgAAAAAAAADHAAAAAAAAANixvd2K0Hjppbj6anyo_IrJ3CtVmXNxABng9F3iaJbHcQ";

    proptest! {
        #[test]
        fn a_changed_token_is_refused(at in 0usize..98, to in prop::char::range('0', 'z')) {
            let asked = lines(&[("tea", 2), ("cup", 1)]);
            let token = keys(&[1]).seal(b"u", &asked, &priced(&asked), 7, NOW + 1);
            let mut changed: Vec<char> = token.chars().collect();
            changed[at] = to;
            let changed: String = changed.into_iter().collect();
            prop_assume!(changed != token);
            prop_assert_eq!(keys(&[1]).open(&changed, b"u", &asked, NOW), Err(PreviewError::Mismatch));
        }

        #[test]
        fn hostile_text_is_refused(text in "\\PC{0,200}") {
            prop_assert_eq!(keys(&[1]).open(&text, b"u", &lines(&[("tea", 1)]), NOW), Err(PreviewError::Mismatch));
        }
    }
}
