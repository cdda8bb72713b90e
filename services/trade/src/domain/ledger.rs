//! Double entry: money never appears, it goes from one account to another.

use shop_logic::{Money, MoneyError};

/// Where money is. All accounts are kept per user, so that his postings move with him (OWN-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// What the user can spend.
    Wallet,
    /// The world outside: where top-ups come from.
    External,
    /// What the shop earned from the user.
    Sales,
}

impl Account {
    /// Its name in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wallet => "wallet",
            Self::External => "external",
            Self::Sales => "sales",
        }
    }
}

/// Why money went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Money put into a wallet.
    TopUp,
    /// An order paid from a wallet.
    Order,
}

impl EntryKind {
    /// Its name in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TopUp => "top_up",
            Self::Order => "order",
        }
    }
}

/// One side of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Of which account.
    pub account: Account,
    /// What is added to it; negative: taken from it.
    pub amount: Money,
}

/// A movement of money. Its two postings sum to zero because both are made from one amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    id: String,
    kind: EntryKind,
    postings: [Posting; 2],
}

impl Entry {
    /// Money from outside into the wallet.
    ///
    /// # Errors
    /// If the amount has no opposite.
    pub fn top_up(id: String, amount: Money) -> Result<Self, MoneyError> {
        Self::transfer(id, EntryKind::TopUp, Account::External, Account::Wallet, amount)
    }

    /// An order's total from the wallet to the shop.
    ///
    /// # Errors
    /// If the amount has no opposite.
    pub fn order(id: String, total: Money) -> Result<Self, MoneyError> {
        Self::transfer(id, EntryKind::Order, Account::Wallet, Account::Sales, total)
    }

    fn transfer(id: String, kind: EntryKind, from: Account, to: Account, amount: Money) -> Result<Self, MoneyError> {
        let postings = [Posting { account: from, amount: amount.negated()? }, Posting { account: to, amount }];
        Ok(Self { id, kind, postings })
    }

    /// Its id, unique for the user.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Why the money went.
    #[must_use]
    pub const fn kind(&self) -> EntryKind {
        self.kind
    }

    /// Both sides.
    #[must_use]
    pub const fn postings(&self) -> &[Posting; 2] {
        &self.postings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shop_logic::Currency;

    proptest! {
        #[test]
        fn every_entry_sums_to_zero(minor_units in 1i64..=i64::MAX) {
            let amount = Money::new(Currency::CNY, minor_units);
            for entry in [Entry::top_up("a".into(), amount), Entry::order("b".into(), amount)] {
                let entry = entry.expect("positive amounts have an opposite");
                let sum: i128 = entry.postings().iter().map(|posting| i128::from(posting.amount.minor_units())).sum();
                prop_assert_eq!(sum, 0);
            }
        }
    }
}
