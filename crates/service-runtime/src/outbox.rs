//! The outbox dispatcher: delivers committed events, a user's own in their order, until each consumer took them.
//!
//! At least once: a consumer recognises repetitions by the event's id. A user whose event cannot be delivered is held
//! back with growing pauses; the others go on.

use crate::metrics::{Metrics, code_name};
use cell_map::UserKey;
use futures_util::{StreamExt, future::BoxFuture, stream};
use mesh_layers::trace;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};
use storage::{Db, OutboxRow, StorageError, Stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tracing::{Instrument, field::Empty};

/// Rows read at once.
const BATCH: u32 = 256;
/// Users served at once.
const USERS: usize = 32;
/// How long events are gathered after the first: each round marks all it delivered in one transaction, and its syncs are
/// taken from those of the calls.
const GATHER: Duration = Duration::from_millis(20);
/// How often other processes' events are looked for; this one's wake the dispatcher.
const POLL: Duration = Duration::from_secs(5);
/// Pauses of a user whose event was not taken.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a consumer may take over one event; the others' wait for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often delivered rows are swept out, and how old they then are (ids stay recognisable meanwhile).
const SWEEP: Duration = Duration::from_secs(60);
const KEEP_MS: i64 = 24 * 60 * 60 * 1000;

type Deliver = Arc<dyn Fn(Arc<OutboxRow>) -> BoxFuture<'static, Result<(), Status>> + Send + Sync>;

/// Who takes events of some kinds.
#[derive(Clone)]
pub struct Consumer {
    name: &'static str,
    kinds: Vec<String>,
    deliver: Deliver,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("name", &self.name).field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

impl Consumer {
    /// A consumer of these kinds. `deliver` returns Ok once the event has taken effect for good, which it must not do
    /// twice (`event_id`); an error is tried again.
    pub fn new<F, R>(name: &'static str, kinds: impl IntoIterator<Item = impl Into<String>>, deliver: F) -> Self
    where
        F: Fn(Arc<OutboxRow>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let deliver: Deliver = Arc::new(move |event| Box::pin(deliver(event)));
        Self { name, kinds: kinds.into_iter().map(Into::into).collect(), deliver }
    }
}

/// Delivers until `stop`. One per database.
pub(crate) async fn dispatch(db: Db, consumers: Vec<Consumer>, metrics: Metrics, stop: CancellationToken) {
    let mut dispatcher = Dispatcher { cell: db.cell().to_string(), db, consumers, metrics, held: HashMap::new() };
    let mut commits = dispatcher.db.outbox_commits();
    let mut swept = Instant::now();
    loop {
        commits.borrow_and_update();
        let round = stop.run_until_cancelled(dispatcher.round()).await;
        let pause = match round {
            None => return,
            Some(Ok(())) => dispatcher.pause(),
            Some(Err(error)) => {
                tracing::warn!(%error, "outbox cannot be read");
                FIRST_PAUSE * 10
            }
        };
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            dispatcher.sweep().await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            _ = commits.changed() => {
                stop.run_until_cancelled(tokio::time::sleep(GATHER)).await;
            }
        }
    }
}

/// A user, or none for global events.
type Owner = Option<UserKey>;

struct Dispatcher {
    cell: String,
    db: Db,
    consumers: Vec<Consumer>,
    metrics: Metrics,
    held: HashMap<Owner, Held>,
}

#[derive(Clone, Copy)]
struct Held {
    until: Instant,
    pause: Duration,
}

impl Dispatcher {
    /// Looks at every waiting row once.
    async fn round(&mut self) -> Result<(), StorageError> {
        let reader = self.db.outbox(Stream::Events);
        let mut after = 0;
        let mut blocked = HashSet::new();
        loop {
            let rows = reader.next_batch(after, BATCH).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            let full = rows.len() >= BATCH as usize;
            let done = self.deliver(rows, &mut blocked).await;
            reader.mark_done(&done).await?;
            if !full {
                break;
            }
        }
        // Whoever is held and was not met has no rows any more.
        self.held.retain(|owner, _| blocked.contains(owner));
        Ok(())
    }

    /// Delivers rows, each user's in order up to the first that is not taken. Returns the ids of those taken. `blocked`
    /// are the users of whom an earlier row of this round waits, even if their pause ends meanwhile.
    async fn deliver(&mut self, rows: Vec<OutboxRow>, blocked: &mut HashSet<Owner>) -> Vec<i64> {
        let now = Instant::now();
        let mut owners: BTreeMap<Owner, Vec<Arc<OutboxRow>>> = BTreeMap::new();
        for row in rows {
            if blocked.contains(&row.user) {
                continue;
            }
            if self.held.get(&row.user).is_some_and(|held| held.until > now) {
                blocked.insert(row.user);
            } else {
                owners.entry(row.user.clone()).or_default().push(Arc::new(row));
            }
        }
        let this = &*self;
        let results: Vec<(Owner, Vec<i64>, bool)> = stream::iter(owners)
            .map(|(owner, rows)| async move {
                let mut done = Vec::new();
                for row in &rows {
                    if !this.publish(row).await {
                        return (owner, done, false);
                    }
                    done.push(row.id);
                }
                (owner, done, true)
            })
            .buffer_unordered(USERS)
            .collect()
            .await;
        let mut taken = Vec::new();
        for (owner, done, whole) in results {
            taken.extend(done);
            if whole {
                self.held.remove(&owner);
            } else {
                self.hold(owner.clone());
                blocked.insert(owner);
            }
        }
        taken
    }

    fn hold(&mut self, owner: Owner) {
        let before = self.held.get(&owner).map_or(Duration::ZERO, |held| held.pause);
        let pause = (before * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.held.insert(owner, Held { until: Instant::now() + pause, pause });
    }

    /// Time until there may be something to do.
    fn pause(&self) -> Duration {
        let now = Instant::now();
        self.held.values().map(|held| held.until.saturating_duration_since(now)).fold(POLL, Duration::min)
    }

    /// Whether every consumer of the event's kind has taken it.
    async fn publish(&self, row: &Arc<OutboxRow>) -> bool {
        for consumer in self.consumers.iter().filter(|consumer| consumer.kinds.contains(&row.kind)) {
            if !self.publish_to(consumer, row).await {
                return false;
            }
        }
        true
    }

    async fn publish_to(&self, consumer: &Consumer, row: &Arc<OutboxRow>) -> bool {
        let span = tracing::info_span!(
            target: trace::TARGET,
            "publish",
            otel.name = Empty,
            otel.kind = "producer",
            otel.status_code = Empty,
            messaging.system = "cellmesh_outbox",
            messaging.operation.type = "send",
            messaging.destination.name = consumer.name,
            messaging.message.id = row.event_id,
            cell.id = self.cell,
        );
        if !span.is_disabled() {
            span.record("otel.name", format!("publish {}", row.kind));
        }
        if let Some(parent) = &row.traceparent {
            trace::continue_from_text(&span, parent);
        }
        // On a task of its own: a consumer that panics is an event not taken, not the end of the dispatcher.
        let mut delivery = tokio::spawn((consumer.deliver)(Arc::clone(row)).instrument(span.clone()));
        let result = match tokio::time::timeout(PATIENCE, &mut delivery).await {
            Ok(ended) => ended.unwrap_or_else(|_| Err(Status::internal("the consumer panicked"))),
            Err(_) => {
                delivery.abort();
                Err(Status::deadline_exceeded("the consumer took too long"))
            }
        };
        let code = result.as_ref().map_or_else(Status::code, |()| Code::Ok);
        self.metrics.published(&row.kind, code_name(code));
        let Err(status) = result else { return true };
        span.record("otel.status_code", "ERROR");
        let _in_trace = span.enter();
        tracing::warn!(
            event.id = row.event_id,
            kind = row.kind,
            consumer = consumer.name,
            code = code_name(code),
            error = status.message(),
            "event not taken, its user's events wait"
        );
        false
    }

    async fn sweep(&self) {
        if let Err(error) = self.db.outbox(Stream::Events).sweep(self.db.now_ms() - KEEP_MS, 10_000).await {
            tracing::warn!(%error, "outbox cannot be swept");
        }
        if let Err(error) = self.db.sweep_idempotency(10_000).await {
            tracing::warn!(%error, "idempotency keys cannot be swept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cell_map::UserEpoch;
    use std::sync::Mutex;
    use storage::DbConfig;

    fn owner(name: &str) -> Owner {
        Some(UserKey::from_text(name).unwrap())
    }

    fn row(id: i64, user: &str) -> OutboxRow {
        OutboxRow {
            id,
            user: owner(user),
            user_epoch: UserEpoch::ZERO,
            sequence: 1,
            event_id: id.to_string(),
            kind: "k".into(),
            payload: Vec::new(),
            traceparent: None,
            created_ms: 0,
        }
    }

    async fn dispatcher(consumer: Consumer) -> (Dispatcher, tempfile::TempDir) {
        let data = tempfile::tempdir().unwrap();
        let cell = cell_map::CellId::new("bj-1").unwrap();
        let metrics = Metrics::new(&cell);
        let db = Db::open(DbConfig::new(data.path().join("cell.db"), cell), &[]).await.unwrap();
        let cell = db.cell().to_string();
        (Dispatcher { cell, db, consumers: vec![consumer], metrics, held: HashMap::new() }, data)
    }

    #[tokio::test]
    async fn who_is_held_or_fails_in_one_batch_waits_for_the_next_round() {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&taken);
        let consumer = Consumer::new("log", ["k"], move |event| {
            let refused = event.id == 2;
            if !refused {
                log.lock().unwrap().push(event.id);
            }
            async move { if refused { Err(Status::unavailable("not now")) } else { Ok(()) } }
        });
        let (mut dispatcher, _data) = dispatcher(consumer).await;
        let held = |until| Held { until, pause: FIRST_PAUSE };
        dispatcher.held.insert(owner("held"), held(Instant::now() + Duration::from_secs(60)));
        let mut blocked = HashSet::new();
        let done = dispatcher.deliver(vec![row(1, "held"), row(2, "failing"), row(3, "fine")], &mut blocked).await;
        assert_eq!(done, [3]);
        // Their pauses end between two batches.
        for held in dispatcher.held.values_mut() {
            held.until = Instant::now();
        }
        let done = dispatcher.deliver(vec![row(4, "held"), row(5, "failing"), row(6, "fine")], &mut blocked).await;
        assert_eq!(done, [6]);
        assert_eq!(*taken.lock().unwrap(), [3, 6]);
    }

    #[tokio::test]
    async fn who_has_no_rows_any_more_is_forgotten() {
        let consumer = Consumer::new("log", ["k"], async |_| Ok(()));
        let (mut dispatcher, _data) = dispatcher(consumer).await;
        dispatcher.hold(owner("gone"));
        dispatcher.round().await.unwrap();
        assert!(dispatcher.held.is_empty());
        assert_eq!(dispatcher.pause(), POLL);
    }

    #[tokio::test]
    async fn a_delivery_that_hangs_is_given_up() {
        let alive = Arc::new(());
        let inside = Arc::downgrade(&alive);
        let consumer = Consumer::new("log", ["k"], move |_| {
            let alive = Arc::clone(&alive);
            async move {
                std::future::pending::<()>().await;
                drop(alive);
                Ok(())
            }
        });
        let (mut dispatcher, _data) = dispatcher(consumer).await;
        tokio::time::pause();
        assert!(dispatcher.deliver(vec![row(1, "x")], &mut HashSet::new()).await.is_empty());
        assert!(dispatcher.held.contains_key(&owner("x")));
        tokio::task::yield_now().await;
        assert_eq!(inside.strong_count(), 1, "the consumer's own; the task is gone");
    }
}
