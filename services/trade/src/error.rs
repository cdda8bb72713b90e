//! What may go wrong in trade, and what the caller is told.

use crate::DOMAIN;
use mesh_layers::error::{MeshError, Reason, refusal};
use replication::ReplicationError;
use shop_logic::{
    InvalidError, Money, MoneyError, OpaqueId, PreviewError, PriceError, Sku, Violations, campaign::CouponRefusal,
};
use tonic::{Code, Status};

/// Why trade says no. Every one of them leaves stock, wallet and ledger untouched; all but [`Self::Stored`],
/// [`Self::Replication`], [`Self::Product`], [`Self::Campaign`] and [`Self::CopyMissing`] are the caller's side and not worth repeating unchanged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed.
    #[error("{0}")]
    Invalid(Violations),
    /// No such order of this user.
    #[error("order \"{0}\" does not exist")]
    OrderNotFound(OpaqueId),
    /// The lines have no price.
    #[error(transparent)]
    Price(#[from] PriceError),
    /// The order is not in the currency of wallets.
    #[error("order is in {order}, wallets hold {wallet}")]
    Currency {
        /// Of the order.
        order: &'static str,
        /// Of wallets.
        wallet: &'static str,
    },
    /// This cell has not enough left.
    #[error("cell has {available} of product \"{sku}\" left")]
    SoldOutHere {
        /// Which product.
        sku: Sku,
        /// How many it has.
        available: i64,
    },
    /// The wallet holds too little.
    #[error("wallet holds less than {needed}")]
    InsufficientFunds {
        /// The order's total.
        needed: Money,
    },
    /// The wallet would hold too much.
    #[error("wallet may hold at most {max}")]
    WalletFull {
        /// The most.
        max: Money,
    },
    /// The preview token does not hold.
    #[error(transparent)]
    Preview(#[from] PreviewError),
    /// The coupon cannot be used.
    #[error(transparent)]
    Coupon(#[from] CouponRefusal),
    /// This cell has received no catalogue or no campaigns yet. Repeat later.
    #[error("this cell has not received the {what} yet")]
    CopyMissing {
        /// What is missing.
        what: &'static str,
    },
    /// A piece of a stream that trade follows does not fit here. Told to no caller.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    /// A product of the catalogue's stream cannot be sold. Told to no caller.
    #[error("product \"{sku}\" of the catalogue: {source}")]
    Product {
        /// Which, or what stands in its place.
        sku: String,
        /// What is wrong with it.
        source: InvalidError,
    },
    /// A campaign of the campaigns' stream makes no sense. Told to no caller.
    #[error("campaign of the stream: {0}")]
    Campaign(Violations),
    /// A stored value is not what trade writes.
    #[error("stored {what} is damaged")]
    Stored {
        /// What it should be.
        what: &'static str,
    },
}

impl From<Violations> for Error {
    fn from(violations: Violations) -> Self {
        Self::Invalid(violations)
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let no = |reason, info: Vec<(&str, String)>| {
            refusal(Code::FailedPrecondition, DOMAIN, reason, message.clone(), info)
        };
        match error {
            Error::Invalid(violations) => MeshError::bad_request(message).violations(violations).into(),
            Error::OrderNotFound(_) => MeshError::new(Reason::NotFound, message).into(),
            Error::Price(PriceError::UnknownSku(sku)) => {
                refusal(Code::NotFound, DOMAIN, "UNKNOWN_SKU", message, [("sku", sku.to_string())])
            }
            Error::Price(PriceError::Money { source: MoneyError::Overflow, .. }) => no("AMOUNT_TOO_LARGE", vec![]),
            Error::Price(PriceError::Money { source: MoneyError::CurrencyMismatch(..), .. })
            | Error::Currency { .. } => no("CURRENCY_MISMATCH", vec![]),
            Error::SoldOutHere { sku, available } => {
                no("SOLD_OUT_HERE", vec![("sku", sku.to_string()), ("available", available.to_string())])
            }
            Error::InsufficientFunds { .. } => no("INSUFFICIENT_FUNDS", vec![]),
            Error::WalletFull { .. } => no("WALLET_FULL", vec![]),
            Error::Preview(PreviewError::Mismatch) => no("PREVIEW_MISMATCH", vec![]),
            Error::Preview(PreviewError::Expired { expire_time_ms }) => {
                no("PREVIEW_EXPIRED", vec![("expire_time_ms", expire_time_ms.to_string())])
            }
            Error::Preview(PreviewError::Outdated { .. }) => no("PREVIEW_OUTDATED", vec![]),
            Error::Coupon(refusal) => coupon(refusal, &message),
            Error::CopyMissing { .. } => MeshError::new(Reason::Unavailable, message).into(),
            Error::Replication(_) | Error::Product { .. } | Error::Campaign(_) | Error::Stored { .. } => {
                MeshError::internal(message).into()
            }
        }
    }
}

fn coupon(refusal: CouponRefusal, message: &str) -> Status {
    let no = |reason, info: Vec<(&str, String)>| refusal_of(Code::FailedPrecondition, reason, message, info);
    match refusal {
        CouponRefusal::Unknown => refusal_of(Code::NotFound, "UNKNOWN_COUPON", message, vec![]),
        CouponRefusal::Paused => no("COUPON_PAUSED", vec![]),
        CouponRefusal::NotStarted { start_ms } => {
            no("COUPON_NOT_STARTED", vec![("start_time_ms", start_ms.to_string())])
        }
        CouponRefusal::Ended { end_ms } => no("COUPON_ENDED", vec![("end_time_ms", end_ms.to_string())]),
        CouponRefusal::UsedUp { limit } => no("COUPON_USED_UP", vec![("limit", limit.to_string())]),
        CouponRefusal::BelowThreshold { threshold } => {
            let info =
                [("threshold", threshold.minor_units().to_string()), ("currency", threshold.currency().to_string())];
            no("COUPON_BELOW_THRESHOLD", info.into())
        }
        CouponRefusal::NothingOff => no("COUPON_NOTHING_OFF", vec![]),
    }
}

fn refusal_of(code: Code, reason: &str, message: &str, info: Vec<(&str, String)>) -> Status {
    refusal(code, DOMAIN, reason, message, info)
}
