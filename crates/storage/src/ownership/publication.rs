//! Publications: where a user lives now, told to the bucket's home and the map (OWN-19).

use super::{Change, Ownership, StepError};
use crate::{Engine, OutboxEvent, OutboxRow, StorageError, Stream, Tx, db::Infallible, outbox};
use cell_map::{
    BucketEpoch, CellId, UserEpoch, UserKey,
    ownership::{AwayStep, KeyRows, Publication, Step},
};
use prost::Message;
use std::sync::Arc;

const KIND: &str = "cellmesh.ownership.published";

/// A publication as it is stored.
#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(string, tag = "1")]
    cell: String,
    #[prost(uint64, tag = "2")]
    user_epoch: u64,
    #[prost(bool, tag = "3")]
    pin: bool,
}

/// Writes the row for the map's publisher, in the transaction that opened the user.
pub(super) async fn append<E: Engine>(
    tx: &mut Tx<E>,
    key: &UserKey,
    publication: Publication,
) -> Result<(), StorageError> {
    let Publication { cell, epoch, pin } = publication;
    let payload = Stored { cell: cell.as_str().to_owned(), user_epoch: epoch.get(), pin }.encode_to_vec();
    let traceparent = tx.traceparent();
    let now = tx.now_ms();
    let event = OutboxEvent::new(KIND, payload);
    outbox::append::<E>(tx.conn(), Stream::Ownership, key.as_bytes(), epoch, event, traceparent, now).await?;
    tx.count_event();
    Ok(())
}

/// The publication in a row of [`Stream::Ownership`], and whose it is.
///
/// # Errors
/// If the row is none or damaged.
pub fn published(row: &OutboxRow) -> Result<(UserKey, Publication), StorageError> {
    let damaged = |why: String| StorageError::Corrupt(format!("outbox row {}: {why}", row.id));
    let Some(key) = row.user.clone().filter(|_| row.kind == KIND) else {
        return Err(damaged(format!("kind \"{}\" is no publication", row.kind)));
    };
    let stored = Stored::decode(&*row.payload).map_err(|error| damaged(error.to_string()))?;
    let cell = CellId::new(&stored.cell).map_err(|error| damaged(error.to_string()))?;
    Ok((key, Publication { cell, epoch: UserEpoch::new(stored.user_epoch), pin: stored.pin }))
}

impl<E: Engine> Ownership<E> {
    /// A publication looks for its bucket's home and asks here, because a claim of the bucket epoch `asked` named this
    /// cell (0 at first). If this is the home, its `away` row is written.
    ///
    /// # Errors
    /// If the database failed.
    pub async fn learn(
        &self,
        key: &UserKey,
        publication: &Publication,
        asked: BucketEpoch,
    ) -> Result<AwayStep, StorageError> {
        let publication = publication.clone();
        let step = self.db.user_step(key, Arc::new([]), move |me, rows| {
            let step = publication.away_step(me, rows, asked);
            let mut rows = KeyRows::clone(rows);
            if let AwayStep::Here(Step::Write(away)) = &step {
                rows.away = Some(away.clone());
            }
            Ok::<_, Infallible>(Change::new(rows, step))
        });
        step.await.map_err(|error| match error {
            StepError::Storage(error) => error,
            StepError::Refused(never) => match never {},
        })
    }
}
