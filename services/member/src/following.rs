//! The stream of whom a user follows.
//!
//! Edges are told in the order of their last change, by the user's own positions. So a snapshot and the changes after a
//! known position are the same walk from another beginning. A position is continued under the very epoch it was told in,
//! and only by a message with everything since then: half of it would be a set that never was. Else a snapshot is sent.

use crate::{
    Error, MAX_BATCH_FOLLOW,
    store::{self, Edge},
};
use cell_map::UserKey;
use service_runtime::{At, Found, UserFeed};
use shop_logic::FollowChange;
use storage::{BoxFuture, Tx, WorkError};

/// Most edges in one message. More than one write changes, so that whoever keeps up needs no snapshot.
const PIECE: usize = 2 * MAX_BATCH_FOLLOW;

/// How far one receiver has been told whom a user follows.
#[derive(Clone, Debug)]
pub struct Feed {
    user: UserKey,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Has nothing.
    Nothing,
    /// Has whom the user followed there.
    Has(At),
    /// Inside a snapshot that began there: was told every edge up to this position and id.
    Snapshot { began: At, told: (u64, String) },
}

impl Feed {
    /// Of a receiver who has whom the user followed there; position 0: nothing.
    #[must_use]
    pub const fn new(user: UserKey, has: At) -> Self {
        let state = if has.position == 0 { State::Nothing } else { State::Has(has) };
        Self { user, state }
    }

    async fn read(&mut self, tx: &mut Tx) -> Result<(Option<FollowChange>, At, bool), WorkError<Error>> {
        let now = At::of(tx).await?;
        let floor = store::floor(tx.conn(), &self.user).await?;
        match self.state.clone() {
            State::Has(has) if continues(has, now, floor) => {
                // No id is empty: these are the edges at later positions.
                let edges = store::changes(tx.conn(), &self.user, (has.position + 1, ""), PIECE + 1).await?;
                if edges.len() <= PIECE {
                    self.state = State::Has(now);
                    let change = change(edges, 0);
                    return Ok(((change != FollowChange::default()).then_some(change), now, false));
                }
            }
            // Some edges that went since it began may be forgotten before they were told.
            State::Snapshot { began, told }
                if began.user_epoch == now.user_epoch && (floor <= began.position || floor < told.0) =>
            {
                return self.snapshot(tx, began, told, now, false).await;
            }
            State::Nothing | State::Has(_) | State::Snapshot { .. } => {}
        }
        self.snapshot(tx, now, (0, String::new()), now, true).await
    }

    /// A piece of a snapshot. It ends with the piece that leaves nothing behind it, so that an edge which changes
    /// meanwhile is told once more.
    async fn snapshot(
        &mut self,
        tx: &mut Tx,
        began: At,
        told: (u64, String),
        now: At,
        start: bool,
    ) -> Result<(Option<FollowChange>, At, bool), WorkError<Error>> {
        let edges = store::changes(tx.conn(), &self.user, (told.0, &told.1), PIECE).await?;
        let more = edges.len() == PIECE;
        let (at, state) = match edges.last().filter(|_| more) {
            None => (now, State::Has(now)),
            Some(last) => (At::default(), State::Snapshot { began, told: (last.position, last.target.clone()) }),
        };
        self.state = state;
        let change = FollowChange { snapshot_start: start, snapshot_end: !more, ..change(edges, began.position) };
        Ok((Some(change), at, more))
    }
}

/// Whether a receiver can be told the rest: what he has is of this history, and nothing of the rest is forgotten.
fn continues(has: At, now: At, floor: u64) -> bool {
    has.user_epoch == now.user_epoch && (floor..=now.position).contains(&has.position)
}

/// What a receiver is told of edges. Of those that went up to a position he never heard.
fn change(edges: Vec<Edge>, unheard: u64) -> FollowChange {
    let mut change = FollowChange::default();
    for Edge { position, target, following } in edges {
        if following {
            change.followed.push(target);
        } else if position > unheard {
            change.unfollowed.push(target);
        }
    }
    change
}

impl UserFeed for Feed {
    type Item = FollowChange;
    type Error = Error;

    fn next(mut self, tx: &mut Tx) -> BoxFuture<'_, Result<Found<Self>, WorkError<Error>>> {
        Box::pin(async move {
            let (item, at, more) = self.read(tx).await?;
            Ok(Found { feed: self, item, at, more })
        })
    }
}
