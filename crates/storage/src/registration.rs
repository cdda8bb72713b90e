//! Registration of a user whose key this cell mints (OWN-10).

use crate::{
    BoxFuture, Db, Engine, IdempotencyKey, Mode, Outcome, Refusal, Standing, Tx, TxError, TxKind, WorkError,
    engine::BucketLock,
    idempotency::{NOBODY, store, stored},
    run::{Ended, run},
};
use cell_map::{BucketId, OwnerEpochs, UserEpoch, UserKey};
use prost::Message;

/// Draws before giving up: a map that lags behind the database may offer a few buckets that are no longer ours, not
/// this many in a row.
const MAX_DRAWS: u32 = 64;

impl<E: Engine> Db<E> {
    /// Registers a new user: draws keys from `mint` until one falls into a bucket where this cell may mint and belongs
    /// to nobody, and runs `work` with it in the same transaction. The request id is good for the whole cell, since
    /// there is no user yet to whom it could belong.
    ///
    /// `mint` gives `None` when it has no bucket to draw for.
    ///
    /// # Errors
    /// [`Refusal::NoHome`] if no drawn key was free; else as [`idempotent`](Self::idempotent).
    pub async fn register<T, B, M, F>(
        &self,
        key: IdempotencyKey,
        mut mint: M,
        work: F,
    ) -> Result<Outcome<T>, TxError<B>>
    where
        T: Message + Default + 'static,
        B: Send + 'static,
        M: FnMut() -> Option<UserKey> + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<E>, UserKey) -> BoxFuture<'t, Result<T, WorkError<B>>> + Send + 'static,
    {
        let claim = self.claim(NOBODY, &key)?;
        run(&self.inner, TxKind::Register, Mode::Write, move |tx| {
            Box::pin(async move {
                tx.hold(claim);
                if let Some(answer) = stored(tx, NOBODY, &key).await? {
                    return Ok(Ended::Replay(Outcome::Replayed(answer)));
                }
                let user = draw(tx, &mut mint).await?;
                let answer = work(tx, user).await?;
                store(tx, NOBODY.to_vec(), key, &answer).await?;
                tx.position().await?;
                Ok(Ended::Commit(Outcome::Fresh(answer)))
            })
        })
        .await
    }
}

async fn draw<E: Engine, B>(
    tx: &mut Tx<E>,
    mint: &mut (impl FnMut() -> Option<UserKey> + Send),
) -> Result<UserKey, TxError<B>> {
    for _ in 0..MAX_DRAWS {
        let Some(user) = mint() else { break };
        let bucket = BucketId::of(&user);
        let rows = tx.key_rows(BucketLock::Shared, bucket, &user).await?;
        if rows.registrable() {
            let epochs = OwnerEpochs::new(UserEpoch::ZERO, rows.bucket.epoch);
            tx.set_standing(Standing { user: user.clone(), epochs, position: 0 });
            return Ok(user);
        }
    }
    Err(Refusal::NoHome.into())
}
