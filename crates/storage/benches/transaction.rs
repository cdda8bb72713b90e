//! What the fence, the detached task and the rest cost: one fenced, idempotent transaction with an event beside the
//! very same statements in a plain sqlx loop, on disk, with one caller and with 32. `alone` is the storage whose
//! transactions never share a COMMIT.
//!
//! The sides run by turns in small batches, so that neither has the quieter half of the machine.

use criterion::{BenchmarkId, Criterion, Throughput};
use sqlx::{ConnectOptions as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use storage::{
    Db, DbConfig, FenceRequest, IdempotencyKey, Migration, OutboxEvent, WorkError,
    conformance::{here, idempotency::Receipt, key_of, map},
};
use tokio::{runtime::Runtime, sync::Mutex, task::JoinSet};

const TABLES: Migration = Migration {
    module: "bench",
    version: 1,
    name: "account and order",
    sql: "CREATE TABLE account (user_key BLOB PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0)) STRICT;
          CREATE TABLE orders (user_key BLOB NOT NULL, order_id TEXT NOT NULL, amount INTEGER NOT NULL,
                               PRIMARY KEY (user_key, order_id)) STRICT, WITHOUT ROWID;",
};
const DEBIT: &str = "UPDATE account SET balance = balance - ? WHERE user_key = ? AND balance >= ?";
const ORDER: &str = "INSERT INTO orders (user_key, order_id, amount) VALUES (?, ?, ?)";

// What storage itself runs around these two.
const FENCE: &str = "
    SELECT b.state, b.bucket_epoch, b.to_cell, b.move_id, b.attempt,
           u.state, u.cell, u.user_epoch, u.move_id, u.attempt, a.cell, a.user_epoch
    FROM cell_bucket AS b LEFT JOIN cell_user AS u ON u.user_key = ?1 LEFT JOIN away AS a ON a.user_key = ?1
    WHERE b.bucket = ?2";
const STORED: &str = "SELECT body_hash, response FROM idempotency WHERE user_key = ? AND method = ? AND request_id = ?";
const STORE: &str =
    "INSERT INTO idempotency (user_key, method, request_id, body_hash, response, expires_ms) VALUES (?, ?, ?, ?, ?, ?)";
const EMIT: &str =
    "INSERT INTO outbox (stream, user_key, user_epoch, sequence, event_id, kind, payload, traceparent, created_ms)
     SELECT ?, ?, ?, COALESCE((SELECT MAX(earlier.sequence) FROM outbox AS earlier
                               WHERE earlier.stream = ? AND earlier.user_key = ? AND earlier.user_epoch = ?), 0) + 1,
            ?, ?, ?, ?, ?";

const METHOD: &str = "/bench.v1.Bench/Place";
const PAYLOAD: [u8; 64] = [7; 64];
/// Transactions of one side before it is the other's turn.
const TURN: u64 = 64;

static SERIAL: AtomicU64 = AtomicU64::new(1);

async fn fenced(db: Db) {
    let user = key_of_user();
    let id = SERIAL.fetch_add(1, Ordering::Relaxed).to_string();
    let key = IdempotencyKey::new(METHOD, &id, &PAYLOAD).expect("a short id");
    let request = FenceRequest { key: user, asked: cell_map::OwnerEpochs::ZERO };
    let placed = db.idempotent(&request, key, move |tx| {
        Box::pin(async move {
            sqlx::query(DEBIT).bind(1_i64).bind(user.as_bytes()).bind(1_i64).execute(tx.conn()).await?;
            sqlx::query(ORDER).bind(user.as_bytes()).bind(id).bind(1_i64).execute(tx.conn()).await?;
            tx.emit(OutboxEvent::new("bench.placed", PAYLOAD)).await?;
            Ok::<_, WorkError<std::convert::Infallible>>(Receipt { serial: 7 })
        })
    });
    placed.await.expect("it commits");
}

async fn bare(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let user = key_of_user();
    let key = user.as_bytes();
    let id = SERIAL.fetch_add(1, Ordering::Relaxed).to_string();
    let hash = *blake3::hash(&PAYLOAD).as_bytes();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let bucket = i64::from(cell_map::BucketId::of(user).get());
    sqlx::query(FENCE).bind(key).bind(bucket).fetch_optional(&mut *connection).await?;
    sqlx::query(STORED).bind(key).bind(METHOD).bind(&id).fetch_all(&mut *connection).await?;
    sqlx::query(DEBIT).bind(1_i64).bind(key).bind(1_i64).execute(&mut *connection).await?;
    sqlx::query(ORDER).bind(key).bind(&id).bind(1_i64).execute(&mut *connection).await?;
    let emit = sqlx::query(EMIT).bind("events").bind(key).bind(0_i64).bind("events").bind(key).bind(0_i64);
    let event_id = format!("{:032x}", rand::random::<u128>());
    let emit = emit.bind(event_id).bind("bench.placed").bind(&PAYLOAD[..]).bind(None::<String>).bind(1_i64);
    emit.execute(&mut *connection).await?;
    let store = sqlx::query(STORE).bind(key).bind(METHOD).bind(&id).bind(&hash[..]).bind(&b"\x08\x07"[..]).bind(1_i64);
    store.execute(&mut *connection).await?;
    sqlx::query("COMMIT").execute(&mut *connection).await?;
    Ok(())
}

fn key_of_user() -> &'static cell_map::UserKey {
    static USER: std::sync::OnceLock<cell_map::UserKey> = std::sync::OnceLock::new();
    USER.get_or_init(|| key_of(&here(), 0))
}

/// A database of each side, in files beside each other.
struct Sides {
    alone: Db,
    storage: Db,
    bare: Arc<Mutex<SqliteConnection>>,
}

impl Sides {
    async fn open(folder: &Path) -> Self {
        let open = async |name: &str, group_size: usize| {
            let mut config = DbConfig::new(folder.join(name), here());
            config.settings.group_size = group_size;
            let db = Db::open(config, &[TABLES]).await.expect("open");
            db.bootstrap_ownership(&map(), &here()).await.expect("bootstrap");
            let rich = db.global(|tx| {
                Box::pin(async move {
                    let sql = "INSERT INTO account (user_key, balance) VALUES (?, ?)";
                    sqlx::query(sql).bind(key_of_user().as_bytes()).bind(i64::MAX).execute(tx.conn()).await?;
                    Ok::<_, WorkError<std::convert::Infallible>>(())
                })
            });
            rich.await.expect("an account");
            db
        };
        let (alone, storage) = (open("alone.db", 1).await, open("storage.db", 64).await);
        open("bare.db", 1).await.close().await;
        let options = SqliteConnectOptions::new().filename(folder.join("bare.db")).foreign_keys(true);
        let options = options.busy_timeout(Duration::from_secs(2)).disable_statement_logging();
        let mut bare = options.connect().await.expect("connect");
        bare.execute("PRAGMA synchronous = FULL").await.expect("a pragma");
        Self { alone, storage, bare: Arc::new(Mutex::new(bare)) }
    }

    /// Runs `n` transactions on each side by turns; returns what each took, turn by turn.
    async fn run(&self, n: u64, callers: u64) -> Vec<[Duration; 3]> {
        let mut turns = vec![];
        let mut left = n;
        while left > 0 {
            let turn = left.min(TURN);
            let mut took = [Duration::ZERO; 3];
            for side in 0..3 {
                // None is always the first.
                let side = (side + turns.len()) % 3;
                let began = Instant::now();
                match side {
                    0 => {
                        share(turn, callers, || {
                            let connection = Arc::clone(&self.bare);
                            async move { bare(&mut *connection.lock().await).await.expect("it commits") }
                        })
                        .await;
                    }
                    1 => share(turn, callers, || fenced(self.alone.clone())).await,
                    _ => share(turn, callers, || fenced(self.storage.clone())).await,
                }
                took[side] = began.elapsed();
            }
            turns.push(took);
            left -= turn;
        }
        turns
    }
}

/// `n` calls by so many callers at once, each a task like a server's handler.
async fn share<F: Future<Output = ()> + Send + 'static>(n: u64, callers: u64, call: impl Fn() -> F) {
    let mut running = JoinSet::new();
    for _ in 0..n {
        if running.len() as u64 >= callers {
            running.join_next().await;
        }
        running.spawn(call());
    }
    running.join_all().await;
}

/// The middle of the turns' ratios: a disturbance hits one turn, not all.
fn median_ratio(turns: &[[Duration; 3]], side: usize) -> f64 {
    let mut ratios: Vec<f64> = turns.iter().map(|took| took[0].as_secs_f64() / took[side].as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on disk");
    let runtime = Runtime::new().expect("a runtime");
    let sides = runtime.block_on(Sides::open(folder.path()));
    let mut criterion = Criterion::default().configure_from_args();
    for callers in [1, 32] {
        let mut all = vec![];
        let mut group = criterion.benchmark_group("transaction");
        group.throughput(Throughput::Elements(1)).sample_size(20).measurement_time(Duration::from_secs(8));
        for (side, name) in ["bare", "alone", "storage"].into_iter().enumerate() {
            group.bench_function(BenchmarkId::new(name, callers), |bencher| {
                bencher.iter_custom(|n| {
                    let turns = runtime.block_on(sides.run(n, callers));
                    all.extend(turns.iter().filter(|_| n >= TURN));
                    turns.iter().map(|took| took[side]).sum()
                });
            });
        }
        group.finish();
        if !all.is_empty() {
            for (side, name) in [(1, "alone"), (2, "storage")] {
                let (ratio, turns) = (median_ratio(&all, side), all.len());
                println!("figure: {name}_vs_bare_sqlx callers={callers} throughput_ratio={ratio:.3} N={turns}x{TURN}");
            }
        }
    }
    criterion.final_summary();
}
