//! The stream of how many orders of a user each coupon served.
//!
//! Redemptions are told in the order of their last change, by the user's own positions, and never go. What is new since a
//! known position is one message; a snapshot comes in pieces.

use crate::{
    Error,
    store::{self, Redemption},
};
use cell_map::UserKey;
use service_runtime::{At, Found, UserFeed};
use storage::{BoxFuture, Tx, WorkError};

/// Most redemptions in one message.
const PIECE: usize = 1000;

/// How far one receiver has been told what a user redeemed.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    user: UserKey,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Has what was redeemed there; position 0: nothing.
    Has(At),
    /// Inside a snapshot: was told all up to this position and campaign.
    Snapshot(u64, String),
}

/// What one message tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) snapshot_start: bool,
    pub(crate) snapshot_end: bool,
    pub(crate) redemptions: Vec<Redemption>,
}

impl Feed {
    /// Of a receiver who has what the user had redeemed there; position 0: nothing.
    pub(crate) const fn new(user: UserKey, has: At) -> Self {
        Self { user, state: State::Has(has) }
    }

    async fn read(&mut self, tx: &mut Tx) -> Result<(Option<Change>, At, bool), WorkError<Error>> {
        let now = At::of(tx).await?;
        let (told, start) = match &self.state {
            State::Snapshot(position, campaign) => ((*position, campaign.clone()), false),
            // Another epoch or a position that this home never had: from the beginning.
            State::Has(At { user_epoch, position })
                if *position > 0 && *user_epoch == now.user_epoch && *position <= now.position =>
            {
                // No id is empty: these are the redemptions at later positions.
                let redemptions = store::redemptions(tx.conn(), &self.user, (position + 1, ""), PIECE).await?;
                if redemptions.len() < PIECE {
                    self.state = State::Has(now);
                    let change = Change { redemptions, ..Change::default() };
                    return Ok(((change != Change::default()).then_some(change), now, false));
                }
                ((0, String::new()), true)
            }
            State::Has(_) => ((0, String::new()), true),
        };
        // A snapshot ends with the piece that leaves nothing behind it: what changes meanwhile is told once more.
        let redemptions = store::redemptions(tx.conn(), &self.user, (told.0, &told.1), PIECE).await?;
        let last = redemptions.last().filter(|_| redemptions.len() == PIECE);
        let (at, more, state) = match last {
            None => (now, false, State::Has(now)),
            Some(last) => (At::default(), true, State::Snapshot(last.position, last.campaign.clone())),
        };
        self.state = state;
        Ok((Some(Change { snapshot_start: start, snapshot_end: !more, redemptions }), at, more))
    }
}

impl UserFeed for Feed {
    type Item = Change;
    type Error = Error;

    fn next(mut self, tx: &mut Tx) -> BoxFuture<'_, Result<Found<Self>, WorkError<Error>>> {
        Box::pin(async move {
            let (item, at, more) = self.read(tx).await?;
            Ok(Found { feed: self, item, at, more })
        })
    }
}
