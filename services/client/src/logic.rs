//! The shop's logic inside the client, and the data it looks at.

pub mod campaign;
pub mod catalog;
pub mod coupon;
pub mod follow;
pub mod preview;
pub mod quote;
pub mod redemption;

use client_sdk::{FeedMessage, Piece, Position};
use shop_logic::{CouponCode, Line, Lines, Quantity, Sku};
use shop_proto::trade_v1::OrderLine;

/// An entry of global data, or up to where the entries before it go: whoever answers by them can say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<T> {
    /// An entry as it is now.
    Is(T),
    /// The data's sequence.
    UpTo(u64),
}

/// A message of a feed of global data. All of them tell the same of themselves.
struct Told<T> {
    position: Position,
    elapsed_ms: u64,
    behind_ms: u64,
    complete: bool,
    /// The change, with entries that may be unreadable; none in a heartbeat.
    change: Option<Piece<Result<T, String>>>,
}

impl<T> Told<T> {
    fn message(self) -> Result<FeedMessage<Entry<T>>, String> {
        let Self { position, elapsed_ms, behind_ms, complete, change } = self;
        let Some(Piece { position, snapshot_start, snapshot_end, items }) = change else {
            return Ok(FeedMessage::heartbeat(elapsed_ms, position).behind_ms(behind_ms));
        };
        let entries = items.into_iter().map(|item| item.map(Entry::Is));
        let items = entries.chain([Ok(Entry::UpTo(position.sequence))]).collect::<Result<_, _>>()?;
        let piece = Piece { position, snapshot_start, snapshot_end, items };
        Ok(FeedMessage::piece(elapsed_ms, piece).complete(complete).behind_ms(behind_ms))
    }
}

/// The lines of a request; none if the server would refuse them.
fn lines(lines: &[OrderLine]) -> Option<Lines> {
    // Counted first: a message may hold very many.
    if lines.len() > Lines::MAX {
        return None;
    }
    let line =
        |line: &OrderLine| Some(Line { sku: Sku::new(&line.sku).ok()?, quantity: Quantity::new(line.quantity).ok()? });
    Lines::new(lines.iter().map(line).collect::<Option<_>>()?).ok()
}

/// The coupon of a request, if it has one; nothing if the server would refuse it.
fn coupon(code: &str) -> Option<Option<CouponCode>> {
    if code.is_empty() { Some(None) } else { CouponCode::new(code).ok().map(Some) }
}
