//! Purging what a move left behind (OWN-12).

use super::{KeyRows, MoveRefused, UserState};
use crate::UserEpoch;

impl KeyRows {
    /// Whether the user's data here may be deleted, in the transaction that read these rows: it is what the move to
    /// `epoch` left behind, and the user did not come back since (A → B → A).
    ///
    /// # Errors
    /// If the row is not `moved_to` at exactly `epoch`.
    pub fn check_purge(&self, epoch: UserEpoch) -> Result<(), MoveRefused> {
        match &self.user {
            Some(user) if matches!(user.state, UserState::MovedTo { .. }) && user.epoch == epoch => Ok(()),
            _ => Err(MoveRefused::NotLeftBehind { epoch }),
        }
    }
}
