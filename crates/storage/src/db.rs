//! The database of one cell as its services see it.

use crate::{
    BoxFuture, Engine, Migration, Mode, Refusal, Sqlite, Standing, StorageError, Stream, Tx, TxError, TxKind,
    TxObserver, WorkError,
    changes::Changes,
    engine::{BucketLock, Fenced},
    error::LOCKED,
    in_flight::InFlight,
    migration,
    outbox::SweptTo,
    run::{Ended, Way, run, run_as},
    turn::Groups,
    user_data::{OWNERSHIP_TABLES, USER_KEY},
};
use cell_map::{BucketId, CellId, OwnerEpochs, UserKey};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// Longest time a transaction of a starting process takes, and longest wait for that of another one.
const START_LIMIT: Duration = Duration::from_secs(60);
const START_PAUSE: Duration = Duration::from_millis(20);

/// Milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What every engine's database is told.
#[derive(Clone)]
pub struct Settings {
    /// The cell whose data this is. Written into the database at first opening and checked ever after.
    pub cell: CellId,
    /// Longest wait for a connection. Default: 5 s.
    pub queue_limit: Duration,
    /// Longest time for a transaction's work, however patient the caller. Default: 5 s.
    pub time_limit: Duration,
    /// Longest wait for the answer to COMMIT; after it the outcome is unknown. Default: 10 s.
    pub commit_limit: Duration,
    /// Most transactions that share one COMMIT, if they are at work at once. Default: 64; with 1 none does.
    pub group_size: usize,
    /// How long after its BEGIN a shared transaction takes in no more. Default: 10 ms.
    pub group_limit: Duration,
    /// How long the answer to an idempotency key is kept at least. Default: 24 h.
    pub idempotency_ttl: Duration,
    /// Told about every transaction.
    pub observer: Option<Arc<dyn TxObserver>>,
    /// The time. Default: the system's.
    pub clock: Clock,
}

impl Settings {
    /// The defaults, for this cell.
    #[must_use]
    pub fn new(cell: CellId) -> Self {
        Self {
            cell,
            queue_limit: Duration::from_secs(5),
            time_limit: Duration::from_secs(5),
            commit_limit: Duration::from_secs(10),
            group_size: 64,
            group_limit: Duration::from_millis(10),
            idempotency_ttl: Duration::from_secs(24 * 60 * 60),
            observer: None,
            clock: Arc::new(system_clock),
        }
    }
}

fn system_clock() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Whom a transaction is for.
#[derive(Clone, Copy, Debug)]
pub struct FenceRequest<'a> {
    /// The user whose data it touches.
    pub key: &'a UserKey,
    /// The epochs the call was sent with, [`OwnerEpochs::ZERO`] if with none.
    pub asked: OwnerEpochs,
}

/// A cell's database. Cheap to clone; the engine is chosen by the type, [`Sqlite`] unless said otherwise.
pub struct Db<E: Engine = Sqlite> {
    pub(crate) inner: Arc<Inner<E>>,
}

pub(crate) struct Inner<E: Engine> {
    pub(crate) engine: E,
    pub(crate) settings: Settings,
    /// The user-scoped tables.
    pub(crate) user_tables: Arc<[String]>,
    pub(crate) in_flight: InFlight,
    /// Those that share their COMMITs; none if nobody does.
    pub(crate) groups: Option<Arc<Groups<E>>>,
    /// Who wants to hear of whose changes.
    pub(crate) changes: Arc<Changes>,
    /// How many transactions with events were committed by this process.
    pub(crate) events: watch::Sender<u64>,
    /// How far each stream of the outbox was swept.
    pub(crate) swept: Mutex<HashMap<Stream, SweptTo>>,
}

impl<E: Engine> Clone for Db<E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<E: Engine> Db<E> {
    /// Takes an engine into use: applies the migrations that are missing and checks that the database is this cell's.
    ///
    /// # Errors
    /// If a migration fails or was edited, or the database is another cell's.
    pub async fn with_engine(engine: E, settings: Settings, migrations: &[Migration]) -> Result<Self, StorageError> {
        patiently(|| migration::migrate(&engine, migrations)).await?;
        let (user_tables, shares) = look(&engine).await?;
        let groups = (shares && settings.group_size > 1).then(|| Arc::new(Groups::new()));
        let inner = Inner {
            engine,
            settings,
            user_tables,
            in_flight: InFlight::default(),
            groups,
            changes: Arc::default(),
            events: watch::Sender::new(0),
            swept: Mutex::default(),
        };
        let db = Self { inner: Arc::new(inner) };
        patiently(|| db.claim_for_cell()).await?;
        Ok(db)
    }

    /// The cell.
    #[must_use]
    pub fn cell(&self) -> &CellId {
        &self.inner.settings.cell
    }

    /// The time by this database's clock, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        (self.inner.settings.clock)()
    }

    /// The engine, for its own extras and for tests.
    #[must_use]
    pub fn engine(&self) -> &E {
        &self.inner.engine
    }

    /// Runs `work` in one transaction on a user's data, if this cell is the user's home (OWN-4).
    ///
    /// From BEGIN to COMMIT it runs detached: it goes on when the returned future is dropped. A panic or an error of
    /// `work` rolls back. No network call belongs into `work`, nor anything else that waits for another transaction:
    /// several that are at work at once may share one COMMIT, and are all told after it.
    ///
    /// ```ignore
    /// db.fenced(&FenceRequest { key, asked }, |tx| Box::pin(async move {
    ///     sqlx::query("UPDATE wallet SET …").execute(tx.conn()).await?;
    ///     tx.emit(OutboxEvent::new("wallet.topped_up", payload)).await?;
    ///     Ok(())
    /// })).await
    /// ```
    ///
    /// # Errors
    /// If refused by the fence, ended by `work`, or the database failed.
    pub async fn fenced<T, B, F>(&self, request: &FenceRequest<'_>, work: F) -> Result<T, TxError<B>>
    where
        T: Send + 'static,
        B: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<T, WorkError<B>>> + Send + 'static,
    {
        let (key, asked) = (request.key.clone(), request.asked);
        run(&self.inner, TxKind::Fenced, Mode::Write, move |tx| {
            Box::pin(async move {
                tx.fence(key, asked).await?;
                let value = work(tx).await?;
                tx.position().await?;
                Ok(Ended::Commit(value))
            })
        })
        .await
    }

    /// Reads a user's data from one snapshot, if in that same snapshot this cell is the user's home (OWN-5). Stops
    /// when the returned future is dropped.
    ///
    /// # Errors
    /// If refused by the fence, ended by `work`, or the database failed.
    pub async fn fenced_read<T, B, F>(&self, request: &FenceRequest<'_>, work: F) -> Result<T, TxError<B>>
    where
        T: Send + 'static,
        B: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<T, WorkError<B>>> + Send + 'static,
    {
        let (key, asked) = (request.key.clone(), request.asked);
        run(&self.inner, TxKind::FencedRead, Mode::Read, move |tx| {
            Box::pin(async move {
                tx.fence(key, asked).await?;
                Ok(Ended::Commit(work(tx).await?))
            })
        })
        .await
    }

    /// [`fenced_read`](Self::fenced_read) for several users at once, all from one snapshot: `work` gets those who are at
    /// home here, in the order asked. Returns who was refused, in the order asked, and what `work` returned. Where the data
    /// stands is told of the answer only if one user's is in it.
    ///
    /// # Errors
    /// If all of them are refused, with the first refusal; if ended by `work`, or the database failed.
    pub async fn fenced_read_each<T, B, F>(
        &self,
        requests: &[FenceRequest<'_>],
        work: F,
    ) -> Result<(Vec<Result<(), Refusal>>, T), TxError<B>>
    where
        T: Send + 'static,
        B: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<E>, Vec<UserKey>) -> BoxFuture<'t, Result<T, WorkError<B>>> + Send + 'static,
    {
        let requests: Vec<_> = requests.iter().map(|request| (request.key.clone(), request.asked)).collect();
        run(&self.inner, TxKind::FencedRead, Mode::Read, move |tx| {
            Box::pin(async move {
                let admitted = tx.fence_each(&requests).await?;
                if let [Err(refusal), ..] = &admitted[..]
                    && admitted.iter().all(Result::is_err)
                {
                    return Err(refusal.clone().into());
                }
                let home: Vec<&Standing> = admitted.iter().flatten().collect();
                if let [one, others @ ..] = &home[..]
                    && others.iter().all(|other| other.user == one.user)
                {
                    tx.set_standing((*one).clone());
                }
                let users = home.into_iter().map(|standing| standing.user.clone()).collect();
                let value = work(tx, users).await?;
                let refused = admitted.into_iter().map(|admitted| admitted.map(drop)).collect();
                Ok(Ended::Commit((refused, value)))
            })
        })
        .await
    }

    /// Runs `work` in one transaction on data that no user owns (catalogue, replication). Detached like
    /// [`fenced`](Self::fenced).
    ///
    /// # Errors
    /// If ended by `work`, or the database failed.
    pub async fn global<T, B, F>(&self, work: F) -> Result<T, TxError<B>>
    where
        T: Send + 'static,
        B: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<T, WorkError<B>>> + Send + 'static,
    {
        self.unfenced(TxKind::Global, Mode::Write, work).await
    }

    /// Reads data that no user owns, from one snapshot.
    ///
    /// # Errors
    /// If ended by `work`, or the database failed.
    pub async fn global_read<T, B, F>(&self, work: F) -> Result<T, TxError<B>>
    where
        T: Send + 'static,
        B: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<T, WorkError<B>>> + Send + 'static,
    {
        self.unfenced(TxKind::GlobalRead, Mode::Read, work).await
    }

    pub(crate) async fn unfenced<T, B, F>(&self, kind: TxKind, mode: Mode, work: F) -> Result<T, TxError<B>>
    where
        T: Send + 'static,
        B: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<T, WorkError<B>>> + Send + 'static,
    {
        run(&self.inner, kind, mode, move |tx| Box::pin(async move { Ok(Ended::Commit(work(tx).await?)) })).await
    }

    /// Housekeeping of this crate: never refused, no error but the database's.
    pub(crate) async fn upkeep<T, F>(&self, kind: TxKind, mode: Mode, work: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<T, WorkError<Infallible>>> + Send + 'static,
    {
        self.unfenced(kind, mode, work).await.map_err(only_storage)
    }

    /// [`upkeep`](Self::upkeep) that writes little and may share its COMMIT.
    pub(crate) async fn quick_upkeep<T, F>(&self, work: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<T, WorkError<Infallible>>> + Send + 'static,
    {
        let limit = self.inner.settings.time_limit;
        let way = Way { kind: TxKind::Upkeep, mode: Mode::Write, limit, shares: true };
        let ended = run_as(way, &self.inner, move |tx| Box::pin(async move { Ok(Ended::Commit(work(tx).await?)) }));
        ended.await.map_err(only_storage)
    }

    /// [`upkeep`](Self::upkeep) without which a process cannot start: a slow machine gets the time it needs.
    pub(crate) async fn start_up<T, F>(&self, kind: TxKind, work: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<T, WorkError<Infallible>>> + Send + 'static,
    {
        let limit = self.inner.settings.time_limit.max(START_LIMIT);
        let way = Way { kind, mode: Mode::Write, limit, shares: false };
        let ended = run_as(way, &self.inner, move |tx| Box::pin(async move { Ok(Ended::Commit(work(tx).await?)) }));
        ended.await.map_err(only_storage)
    }

    /// Changes whenever this process committed a transaction that emitted events. Other processes on the same
    /// database are not seen: poll as well.
    #[must_use]
    pub fn outbox_commits(&self) -> watch::Receiver<u64> {
        self.inner.events.subscribe()
    }

    /// Waits for running transactions and closes every connection.
    pub async fn close(&self) {
        self.inner.engine.close().await;
    }

    /// Writes this cell's name into a new database; refuses one that bears another name.
    async fn claim_for_cell(&self) -> Result<(), StorageError> {
        let cell = self.cell().clone();
        let found = self.start_up(TxKind::Upkeep, move |tx| {
            Box::pin(async move {
                if let Some(mut row) = tx.query("SELECT cell FROM cell_identity WHERE id = 1", vec![]).await?.pop() {
                    return Ok(row.text()?);
                }
                let row = vec![cell.as_str().into()];
                tx.execute("INSERT INTO cell_identity (id, cell) VALUES (1, ?)", row).await?;
                Ok(cell.as_str().to_owned())
            })
        });
        let found = found.await?;
        if found != self.cell().as_str() {
            return Err(StorageError::ForeignCell { expected: self.cell().clone(), found });
        }
        Ok(())
    }
}

pub(crate) use std::convert::Infallible;

/// Of processes that start at once, each waits until the others have set up their common database.
pub(crate) async fn patiently<T, W>(mut work: impl FnMut() -> W + Send) -> Result<T, StorageError>
where
    W: Future<Output = Result<T, StorageError>> + Send,
{
    let limit = Instant::now() + START_LIMIT;
    loop {
        match work().await {
            Err(StorageError::Busy(LOCKED)) if Instant::now() < limit => tokio::time::sleep(START_PAUSE).await,
            ended => return ended,
        }
    }
}

/// The tables that hold users' data, and whether transactions may share COMMITs.
async fn look<E: Engine>(engine: &E) -> Result<(Arc<[String]>, bool), StorageError> {
    let mut lease = engine.acquire(Mode::Read).await?;
    let mut tables = E::tables_with_column(&mut lease, USER_KEY).await?;
    tables.retain(|table| !OWNERSHIP_TABLES.contains(&table.as_str()));
    Ok((tables.into(), E::shares_commits(&mut lease).await?))
}

/// What is left of an error when the work has none of its own and nothing fences it.
pub(crate) fn only_storage(error: TxError<Infallible>) -> StorageError {
    match error {
        TxError::Storage(error) => error,
        TxError::Business(never) => match never {},
        TxError::Refused(_) | TxError::KeyInUse(_) => {
            StorageError::Corrupt("a transaction without fence or idempotency key was refused".into())
        }
    }
}

impl<E: Engine> Tx<E> {
    /// Whether any user-scoped table has a row of this user.
    pub(crate) async fn has_data(&mut self, key: &UserKey) -> Result<bool, StorageError> {
        for table in self.user_tables().iter() {
            let sql = format!("SELECT 1 FROM {table} WHERE {USER_KEY} = ? LIMIT 1");
            if !E::query(self.conn(), &sql, vec![key.as_bytes().into()]).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first statement of a fenced transaction.
    pub(crate) async fn fence(&mut self, key: UserKey, asked: OwnerEpochs) -> Result<(), FenceError> {
        let fenced = self.fence_rows(BucketLock::Shared, BucketId::of(&key), &key).await?;
        let standing = self.admit(key, asked, fenced).await?;
        self.set_standing(standing);
        Ok(())
    }

    /// The first statement of one that reads several users' data; none of them is its user.
    async fn fence_each(
        &mut self,
        requests: &[(UserKey, OwnerEpochs)],
    ) -> Result<Vec<Result<Standing, Refusal>>, StorageError> {
        let keys: Vec<_> = requests.iter().map(|(key, _)| (BucketId::of(key), key)).collect();
        let mode = self.mode();
        let found = E::fence_each(self.conn(), mode, BucketLock::Shared, &keys).await?;
        let mut admitted = Vec::with_capacity(requests.len());
        for ((bucket, _), ((key, asked), fenced)) in keys.into_iter().zip(requests.iter().zip(found)) {
            let fenced = fenced.ok_or(StorageError::MissingBucket(bucket))?;
            admitted.push(match self.admit(key.clone(), *asked, fenced).await {
                Ok(standing) => Ok(standing),
                Err(FenceError::Refused(refusal)) => Err(refusal),
                Err(FenceError::Storage(error)) => return Err(error),
            });
        }
        Ok(admitted)
    }

    /// Where a user's data stands, if this cell may serve him.
    async fn admit(&mut self, key: UserKey, asked: OwnerEpochs, fenced: Fenced) -> Result<Standing, FenceError> {
        use cell_map::ownership::{Answer, answer};
        let Fenced { rows, position } = fenced;
        let cell = &self.shared().settings.cell;
        match answer(cell, &rows, asked) {
            // A user without data must not come into being behind the back of whoever moves the bucket (OWN-14).
            Answer::Serve { only_with_data: true, .. } if !self.has_data(&key).await? => Err(Refusal::Moving.into()),
            Answer::Serve { epochs, .. } => Ok(Standing { user: key, epochs, position }),
            Answer::Moving => Err(Refusal::Moving.into()),
            Answer::WrongCell { owner, epochs } => Err(Refusal::WrongCell { owner, epochs }.into()),
        }
    }
}

/// What may stop a transaction at its fence.
pub(crate) enum FenceError {
    Refused(Refusal),
    Storage(StorageError),
}

impl From<Refusal> for FenceError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StorageError> for FenceError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl<B> From<FenceError> for TxError<B> {
    fn from(error: FenceError) -> Self {
        match error {
            FenceError::Refused(refusal) => Self::Refused(refusal),
            FenceError::Storage(error) => Self::Storage(error),
        }
    }
}
