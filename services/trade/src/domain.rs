//! What an order, a wallet and the ledger are, before any table or message.

mod ledger;
mod order;

pub use ledger::{Account, Entry, EntryKind, Posting};
pub use order::{Basis, Order, Placing, Stock, new_id};
