//! Preview tokens: they hold the price a caller was shown until it expires.
//!
//! A token is the prices and discounts in clear text and a keyed BLAKE3 digest over everything the preview promised: user,
//! lines, coupon code, list prices, discounts, versions and expiry. It needs no row and works in any cell that has the keys
//! (OWN-2). What stands in clear text anybody can check ([`check_preview`]); whether it is true, only [`PreviewKeys::open`]
//! says.

mod check;
mod layout;

#[cfg(test)]
mod tests;

pub use check::{PreviewStanding, check_preview};

use crate::{CouponCode, Lines, campaign::Quote};
use layout::{Flaw, Token};

/// What a preview rests on, and how long it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviewTerms {
    /// Catalogue version of the list prices.
    pub catalog_version: u64,
    /// Campaigns' version of the discounts.
    pub campaign_version: u64,
    /// When it expires, in milliseconds since the Unix epoch.
    pub expire_time_ms: i64,
}

/// What a preview was asked for; a token serves nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Canonical key bytes of the user.
    pub user: &'a [u8],
    /// The lines, in any sequence.
    pub lines: &'a Lines,
    /// The coupon code, if one was given.
    pub coupon: Option<&'a CouponCode>,
}

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
    /// The lines at the previewed prices, with the previewed discounts.
    pub quote: Quote,
    /// What it rests on and how long.
    pub terms: PreviewTerms,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreviewError {
    /// It was made for another user, other lines or another coupon, with an unknown key, or tampered with.
    #[error("preview token does not belong to this user, these lines and this coupon")]
    Mismatch,
    /// It was made by an earlier version of the shop. A new preview helps.
    #[error("preview token has layout {found}, allowed is {allowed}")]
    Outdated {
        /// Its layout.
        found: u8,
        /// The layout in use.
        allowed: u8,
    },
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

    /// Seals what was quoted to the one who asked.
    #[must_use]
    pub fn seal(&self, asked: &Asked<'_>, quote: &Quote, terms: PreviewTerms) -> String {
        let key = self.0.first().expect("a key ring is never empty");
        layout::text(key.id, asked, quote, terms, |signed| digest(key, signed, asked))
    }

    /// Opens a token for the one who asked at `now_ms`. Authenticity is checked before anything else the token says is
    /// believed, but for its layout and key.
    ///
    /// # Errors
    /// If it is not his or has expired.
    pub fn open(&self, token: &str, asked: &Asked<'_>, now_ms: i64) -> Result<Preview, PreviewError> {
        let bytes = layout::bytes(token).ok_or(PreviewError::Mismatch)?;
        let token = Token::parse(&bytes).map_err(|flaw| match flaw {
            Flaw::Layout { found } => PreviewError::Outdated { found, allowed: layout::VERSION },
            Flaw::Malformed => PreviewError::Mismatch,
        })?;
        let key = self.0.iter().find(|key| key.id == token.key_id).ok_or(PreviewError::Mismatch)?;
        // blake3::Hash compares in constant time.
        if digest(key, token.signed, asked) != token.mac {
            return Err(PreviewError::Mismatch);
        }
        let PreviewTerms { expire_time_ms, .. } = token.terms;
        if now_ms >= expire_time_ms {
            return Err(PreviewError::Expired { expire_time_ms });
        }
        let quote = token.quote(asked.lines).ok_or(PreviewError::Mismatch)?;
        Ok(Preview { quote, terms: token.terms })
    }
}

/// Keyed digest of a token's clear text for the one who asked.
fn digest(key: &PreviewKey, signed: &[u8], asked: &Asked<'_>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(&key.key);
    part(&mut hasher, signed);
    bind(&mut hasher, asked);
    hasher.finalize()
}

/// Every variable part is preceded by its length, so no two inputs run into each other.
fn part(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

/// What was asked for, in whatever sequence.
fn bind(hasher: &mut blake3::Hasher, asked: &Asked<'_>) {
    part(hasher, asked.user);
    part(hasher, asked.coupon.map_or("", CouponCode::as_str).as_bytes());
    for at in asked.lines.by_sku() {
        let line = &asked.lines.as_slice()[at];
        part(hasher, line.sku.as_str().as_bytes());
        part(hasher, &line.quantity.get().to_be_bytes());
    }
}
