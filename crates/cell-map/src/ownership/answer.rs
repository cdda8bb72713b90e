//! What a cell answers (`ownership.md`, table; OWN-8, OWN-10).

use super::{AwayRow, BucketRow, BucketState, KeyRows, UserRow, UserState};
use crate::{CellId, OwnerEpochs, UserEpoch};

/// A database's answer to a request for a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The user is at home.
    Serve {
        /// Epochs of this home.
        epochs: OwnerEpochs,
        /// Only if the user has data here already: his bucket is moving and he has no row of his own, so that he must not
        /// come into being behind the mover's back. Without data the answer is [`Answer::Moving`] (OWN-14).
        only_with_data: bool,
    },
    /// Nobody can say at the moment: try again.
    Moving,
    /// Another cell is the home.
    WrongCell {
        /// Which.
        owner: CellId,
        /// The claim's epochs, never lower than those of the request (OWN-8).
        epochs: OwnerEpochs,
    },
}

impl OwnerEpochs {
    /// Whether a request with these epochs knows more than a database whose claim has `mine`. One user_epoch has one owner,
    /// so the bucket's epoch decides only for users that never moved on their own.
    #[must_use]
    pub fn newer_than(self, mine: Self) -> bool {
        self.user > mine.user || (self.user == mine.user && mine.user == UserEpoch::ZERO && self.bucket > mine.bucket)
    }
}

impl BucketRow {
    /// Whether ids may be minted in the bucket (OWN-10).
    #[must_use]
    pub fn mintable(&self) -> bool {
        self.state == BucketState::Home
    }
}

impl KeyRows {
    /// Whether a newly minted key may be taken into use: its bucket is mintable and nobody was ever known by it (OWN-10).
    #[must_use]
    pub fn registrable(&self) -> bool {
        self.bucket.mintable() && self.user.is_none() && self.away.is_none()
    }
}

/// What the cell `me` answers to a request for a key whose rows are `rows` and which carried the epochs `asked`.
///
/// Of a user row and an `away` row the higher user_epoch counts, on a tie the user row; then the bucket.
#[must_use]
pub fn answer(me: &CellId, rows: &KeyRows, asked: OwnerEpochs) -> Answer {
    let bucket = &rows.bucket;
    let answer = match (&rows.user, &rows.away) {
        (Some(user), Some(away)) if away.epoch > user.epoch => of_away(bucket, away),
        (Some(user), _) => of_user(bucket, user),
        (None, Some(away)) => of_away(bucket, away),
        (None, None) => of_bucket(bucket),
    };
    match answer {
        // A claim older than the request's, or one that names this very cell, is hearsay: the truth is on its way.
        (epochs, _) if asked.newer_than(epochs) => Answer::Moving,
        (_, Answer::WrongCell { owner, .. }) if owner == *me => Answer::Moving,
        (_, answer) => answer,
    }
}

fn of_user(bucket: &BucketRow, user: &UserRow) -> (OwnerEpochs, Answer) {
    let epochs = OwnerEpochs::new(user.epoch, bucket.epoch);
    let wrong = |owner: &CellId| Answer::WrongCell { owner: owner.clone(), epochs };
    let answer = match &user.state {
        UserState::Home => Answer::Serve { epochs, only_with_data: false },
        UserState::Frozen => Answer::Moving,
        UserState::Importing { from } => wrong(from),
        UserState::MovedTo { cell } => wrong(cell),
    };
    (epochs, answer)
}

fn of_away(bucket: &BucketRow, away: &AwayRow) -> (OwnerEpochs, Answer) {
    let epochs = OwnerEpochs::new(away.epoch, bucket.epoch);
    (epochs, Answer::WrongCell { owner: away.cell.clone(), epochs })
}

fn of_bucket(bucket: &BucketRow) -> (OwnerEpochs, Answer) {
    let epochs = OwnerEpochs::new(UserEpoch::ZERO, bucket.epoch);
    let answer = match &bucket.state {
        BucketState::Home | BucketState::Reserved => Answer::Serve { epochs, only_with_data: false },
        BucketState::Moving { .. } => Answer::Serve { epochs, only_with_data: true },
        BucketState::Gone { to } => Answer::WrongCell { owner: to.clone(), epochs },
    };
    (epochs, answer)
}
