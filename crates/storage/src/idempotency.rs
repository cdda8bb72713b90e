//! Idempotency keys: a call that is repeated is answered from the first one's stored reply.

use crate::{
    BoxFuture, Db, Engine, FenceRequest, KeyInUse, Mode, StorageError, Tx, TxError, TxKind, WorkError,
    in_flight::Claim,
    run::{Ended, run},
};
use prost::Message;

/// Longest request id in bytes.
const MAX_REQUEST_ID: usize = 255;

/// A request id that cannot be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("request_id has {length} bytes, 1 to {MAX_REQUEST_ID} are allowed")]
pub struct RequestIdError {
    length: usize,
}

/// What makes two calls of one user the same call: method and request id. The request's hash tells a repetition from
/// an id that was used twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub(crate) method: &'static str,
    pub(crate) request_id: String,
    pub(crate) body_hash: [u8; 32],
}

impl IdempotencyKey {
    /// The key of a request. `body` is the request's canonical encoding (a prost message without maps encodes the same
    /// way each time).
    ///
    /// # Errors
    /// If the request id is empty or longer than 255 bytes.
    pub fn new(method: &'static str, request_id: &str, body: &[u8]) -> Result<Self, RequestIdError> {
        let length = request_id.len();
        if !(1..=MAX_REQUEST_ID).contains(&length) {
            return Err(RequestIdError { length });
        }
        Ok(Self { method, request_id: request_id.to_owned(), body_hash: *blake3::hash(body).as_bytes() })
    }

    /// The key of a request message.
    ///
    /// # Errors
    /// If the request id is empty or longer than 255 bytes.
    pub fn of(method: &'static str, request_id: &str, request: &impl Message) -> Result<Self, RequestIdError> {
        Self::new(method, request_id, &request.encode_to_vec())
    }
}

/// An answer, and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// From this call's own transaction.
    Fresh(T),
    /// From the stored answer of an earlier call with the same key.
    Replayed(T),
}

impl<T> Outcome<T> {
    /// The answer, wherever it came from.
    pub fn into_inner(self) -> T {
        match self {
            Self::Fresh(value) | Self::Replayed(value) => value,
        }
    }

    /// Whether it was replayed.
    pub fn is_replayed(&self) -> bool {
        matches!(self, Self::Replayed(_))
    }
}

impl<E: Engine> Db<E> {
    /// Like [`fenced`](Self::fenced), but at most once per key: the answer is stored in the same transaction and
    /// replayed to whoever repeats the call, for [`Settings::idempotency_ttl`](crate::Settings::idempotency_ttl) at
    /// least. Failures are not stored; a repetition tries again.
    ///
    /// # Errors
    /// As [`fenced`](Self::fenced); [`TxError::KeyInUse`] if the key belongs to another request or its first call is
    /// still running.
    pub async fn idempotent<T, B, F>(
        &self,
        request: &FenceRequest<'_>,
        key: IdempotencyKey,
        work: F,
    ) -> Result<Outcome<T>, TxError<B>>
    where
        T: Message + Default + 'static,
        B: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<T, WorkError<B>>> + Send + 'static,
    {
        let claim = self.claim(request.key.as_bytes(), &key)?;
        let (user, asked) = (request.key.clone(), request.asked);
        run(&self.inner, TxKind::Idempotent, Mode::Write, move |tx| {
            Box::pin(async move {
                tx.hold(claim);
                let scope = user.as_bytes().to_vec();
                tx.fence(user, asked).await?;
                once(tx, scope, key, work).await
            })
        })
        .await
    }

    /// Like [`global`](Self::global), but at most once per key, see [`idempotent`](Self::idempotent).
    ///
    /// # Errors
    /// As [`global`](Self::global); [`TxError::KeyInUse`] if the key belongs to another request or its first call is
    /// still running.
    pub async fn global_idempotent<T, B, F>(&self, key: IdempotencyKey, work: F) -> Result<Outcome<T>, TxError<B>>
    where
        T: Message + Default + 'static,
        B: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<T, WorkError<B>>> + Send + 'static,
    {
        let claim = self.claim(NOBODY, &key)?;
        run(&self.inner, TxKind::Global, Mode::Write, move |tx| {
            Box::pin(async move {
                tx.hold(claim);
                once(tx, NOBODY.to_vec(), key, work).await
            })
        })
        .await
    }

    /// Forgets answers whose time is over, at most `limit` of them in one transaction; returns how many.
    ///
    /// # Errors
    /// If the database failed.
    pub async fn sweep_idempotency(&self, limit: u32) -> Result<u64, StorageError> {
        self.upkeep(TxKind::Upkeep, Mode::Write, move |tx| {
            Box::pin(async move {
                let (now, limit) = (tx.now_ms(), i64::from(limit));
                // The inner query is nested once more because MySQL cannot delete from a table it selects from.
                let sql = "DELETE FROM idempotency WHERE (user_key, method, request_id) IN (
                             SELECT user_key, method, request_id FROM (
                               SELECT user_key, method, request_id FROM idempotency
                               WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?) AS expired)";
                Ok(tx.execute(sql, vec![now.into(), limit.into()]).await?)
            })
        })
        .await
    }

    pub(crate) fn claim<B>(&self, user: &[u8], key: &IdempotencyKey) -> Result<Claim, TxError<B>> {
        let claim = self.inner.in_flight.claim(user, key.method, &key.request_id);
        claim.ok_or(TxError::KeyInUse(KeyInUse::InProgress))
    }
}

/// The scope of keys that no user owns: no user's key is empty.
pub(crate) const NOBODY: &[u8] = &[];

/// Runs `work` unless the key has an answer, and stores its answer in the same transaction.
async fn once<E, T, B, F>(
    tx: &mut Tx<E>,
    scope: Vec<u8>,
    key: IdempotencyKey,
    work: F,
) -> Result<Ended<Outcome<T>>, TxError<B>>
where
    E: Engine,
    T: Message + Default,
    F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<T, WorkError<B>>>,
{
    if let Some(answer) = stored(tx, &scope, &key).await? {
        // The first call may have committed after our fence read where the user stood.
        tx.read_position().await?;
        return Ok(Ended::Replay(Outcome::Replayed(answer)));
    }
    let answer = work(tx).await?;
    store(tx, scope, key, &answer).await?;
    tx.position().await?;
    Ok(Ended::Commit(Outcome::Fresh(answer)))
}

/// The stored answer to a key, if it has one.
pub(crate) async fn stored<E: Engine, T: Message + Default, B>(
    tx: &mut Tx<E>,
    scope: &[u8],
    key: &IdempotencyKey,
) -> Result<Option<T>, TxError<B>> {
    let sql = "SELECT body_hash, response FROM idempotency WHERE user_key = ? AND method = ? AND request_id = ?";
    let values = vec![scope.into(), key.method.into(), key.request_id.as_str().into()];
    let Some(mut row) = tx.query(sql, values).await?.pop() else { return Ok(None) };
    if row.blob()? != key.body_hash {
        return Err(TxError::KeyInUse(KeyInUse::Conflict));
    }
    let answer = T::decode(&*row.blob()?)
        .map_err(|error| StorageError::Corrupt(format!("stored answer of method \"{}\": {error}", key.method)))?;
    Ok(Some(answer))
}

/// Stores the answer to a key. That no row exists was seen under the same lock; the primary key holds it anyway.
pub(crate) async fn store<E: Engine>(
    tx: &mut Tx<E>,
    scope: Vec<u8>,
    key: IdempotencyKey,
    answer: &impl Message,
) -> Result<(), StorageError> {
    let now = tx.now_ms();
    let ttl = i64::try_from(tx.shared().settings.idempotency_ttl.as_millis()).unwrap_or(i64::MAX);
    let sql = "INSERT INTO idempotency (user_key, method, request_id, body_hash, response, expires_ms)
               VALUES (?, ?, ?, ?, ?, ?)";
    let values = vec![
        scope.into(),
        key.method.into(),
        key.request_id.into(),
        key.body_hash.to_vec().into(),
        answer.encode_to_vec().into(),
        now.saturating_add(ttl).into(),
    ];
    tx.execute(sql, values).await.map(|_| ())
}
