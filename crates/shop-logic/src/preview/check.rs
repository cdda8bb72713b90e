//! What a token's clear text says, to whoever has no key.

use super::{Asked, layout, layout::Token};

/// How a preview stands by the clear text of its token. A forged token may say anything: that is found out where an order
/// is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreviewStanding {
    /// It was made for this and has not expired.
    Stands {
        /// When it will, in milliseconds since the Unix epoch.
        expire_time_ms: i64,
    },
    /// It was made for this but is too old.
    Expired {
        /// When it expired, in milliseconds since the Unix epoch.
        expire_time_ms: i64,
    },
    /// It was made for another user, other lines or another coupon.
    OtherLines,
    /// It is no token, or none of this version of the shop.
    Malformed,
}

/// How a preview stands for the one who asks, at `now_ms` milliseconds since the Unix epoch.
#[must_use]
pub fn check_preview(token: &str, asked: &Asked<'_>, now_ms: i64) -> PreviewStanding {
    let Some(bytes) = layout::bytes(token) else { return PreviewStanding::Malformed };
    let Ok(token) = Token::parse(&bytes) else { return PreviewStanding::Malformed };
    let expire_time_ms = token.terms.expire_time_ms;
    match () {
        () if *token.binding != layout::binding(asked) => PreviewStanding::OtherLines,
        () if now_ms >= expire_time_ms => PreviewStanding::Expired { expire_time_ms },
        () => PreviewStanding::Stands { expire_time_ms },
    }
}
