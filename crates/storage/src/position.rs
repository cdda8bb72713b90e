//! Where a user's data stands: how often it was written, in all its homes together (OWN-15).
//!
//! Each fenced write counts once, in its own transaction; a move carries the count along. So of two positions of one
//! user the higher one shows all that the lower one shows, and within one user epoch a reader who was told a position
//! knows what he must see.

use crate::{Engine, Mode, StorageError, Tx};
use cell_map::{OwnerEpochs, UserKey};

/// Where a user's data stood in a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whose.
    pub user: UserKey,
    /// The epochs under which this cell owns him.
    pub epochs: OwnerEpochs,
    /// In a write, its own; in a read, that of its snapshot; of a stored answer, the present one.
    pub position: u64,
}

impl<E: Engine> Tx<E> {
    /// The user's position: in a read, as of its snapshot, 0 if nothing was ever written; in a write, the one that its
    /// commit makes visible, so that rows can bear it. 0 if the transaction is global.
    ///
    /// # Errors
    /// If the database failed.
    pub async fn position(&mut self) -> Result<u64, StorageError> {
        let Some(standing) = self.standing() else { return Ok(0) };
        if self.mode() == Mode::Read || self.is_counted() {
            return Ok(standing.position);
        }
        let user = standing.user.clone();
        let position = E::next_position(self.conn(), &user).await?;
        self.set_counted(position);
        Ok(position)
    }

    /// Reads the position anew, without counting.
    pub(crate) async fn read_position(&mut self) -> Result<(), StorageError> {
        let Some(standing) = self.standing() else { return Ok(()) };
        let user = standing.user.as_bytes().into();
        let found = self.query("SELECT position FROM user_position WHERE user_key = ?", vec![user]).await?.pop();
        let position = found.map_or(Ok(0), |mut row| row.unsigned())?;
        self.set_counted(position);
        Ok(())
    }
}
