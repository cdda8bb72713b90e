//! Whom users follow, without a server: the store and the stream's feed on a database in a temporary folder.

use cell_map::{Cell, CellId, CellMap, Incarnation, MapDraft, OwnerEpochs, UserKey};
use member::{
    Error, MAX_FOLLOWING,
    following::Feed,
    store::{self, follow as sql},
};
use rand::{Rng, RngExt as _, SeedableRng as _, rngs::StdRng};
use service_runtime::{At, Found, UserFeed as _};
use shop_logic::{Following, UserId};
use std::collections::BTreeSet;
use storage::{BoxFuture, Db, DbConfig, FenceRequest, Tx, TxError, WorkError};
use tempfile::TempDir;

struct Ann {
    db: Db,
    user: UserKey,
    _dir: TempDir,
}

fn one_cell() -> CellMap {
    let (cell, region) = (CellId::new("bj-1").expect("a name"), "beijing".parse().expect("a name"));
    let mut draft = MapDraft::new(Incarnation::new(1));
    draft.add_cell(Cell::new(cell.clone(), region)).expect("a new cell").set_global_cell(&cell);
    draft.spread_buckets().expect("a cell with weight");
    draft.build().expect("valid")
}

fn ids(numbers: impl IntoIterator<Item = u32>) -> Vec<UserId> {
    numbers.into_iter().map(|n| UserId::new(&format!("target-{n}")).expect("valid")).collect()
}

impl Ann {
    async fn open() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let cell = CellId::new("bj-1").expect("a name");
        let config = DbConfig::new(dir.path().join("cell.db"), cell.clone());
        let db = Db::open(config, store::MIGRATIONS).await.expect("opens");
        db.bootstrap_ownership(&one_cell(), &cell).await.expect("bootstrapped");
        Self { db, user: UserKey::from_text("ann").expect("a key"), _dir: dir }
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, WorkError<Error>>> + Send + 'static,
    ) -> Result<T, TxError<Error>> {
        self.db.fenced(&FenceRequest { key: &self.user, asked: OwnerEpochs::ZERO }, work).await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, WorkError<Error>>> + Send + 'static,
    ) -> T {
        let fence = FenceRequest { key: &self.user, asked: OwnerEpochs::ZERO };
        self.db.fenced_read(&fence, work).await.expect("at home")
    }

    /// Follows in one write; returns how many were new, and the write's position.
    async fn follow(&self, targets: Vec<UserId>) -> Result<(u64, u64), TxError<Error>> {
        let user = self.user.clone();
        let write = self.write(move |tx| {
            Box::pin(async move {
                let position = tx.position().await?;
                Ok((store::follow(tx.conn(), &user, &targets, position).await?, position))
            })
        });
        write.await
    }

    /// Unfollows in one write; returns how many he followed, and the write's position.
    async fn unfollow(&self, targets: Vec<UserId>) -> (u64, u64) {
        let user = self.user.clone();
        let write = self.write(move |tx| {
            Box::pin(async move {
                let (position, mut changed) = (tx.position().await?, 0);
                for target in &targets {
                    changed += u64::from(store::unfollow(tx.conn(), &user, target, position).await?);
                }
                Ok((changed, position))
            })
        });
        write.await.expect("at home")
    }

    async fn is_following(&self, target: UserId) -> bool {
        let user = self.user.clone();
        self.read(move |tx| Box::pin(async move { store::is_following(tx.conn(), &user, &target).await })).await
    }

    async fn next(&self, feed: Feed) -> Found<Feed> {
        self.read(move |tx| feed.next(tx)).await
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let counted = self.db.global_read(move |tx| {
            Box::pin(async move {
                let count: i64 = sqlx::query_scalar(sql).fetch_one(tx.conn()).await?;
                Ok::<_, WorkError<Error>>(count)
            })
        });
        counted.await.expect("readable")
    }
}

#[tokio::test]
async fn edges_come_and_go_and_their_counts_with_them() {
    let ann = Ann::open().await;
    assert_eq!(ann.follow(ids([1, 2, 3, 2])).await.expect("not many").0, 3, "a repeated id counts once");
    assert_eq!(ann.follow(ids([2, 3, 4])).await.expect("not many").0, 1);
    assert_eq!(ann.unfollow(ids([2, 9])).await.0, 1);
    assert_eq!(ann.unfollow(ids([2])).await.0, 0);
    assert!(ann.is_following(ids([1]).remove(0)).await && !ann.is_following(ids([2]).remove(0)).await);
    assert_eq!(ann.follow(ids([2])).await.expect("not many").0, 1, "followed anew");
    let counts = "SELECT following * 100 + gone FROM follow_summary";
    assert_eq!(ann.count(counts).await, 400);
    ann.unfollow(ids([1, 2, 3, 4])).await;
    assert_eq!(ann.count(counts).await, 4);

    let user = ann.user.clone();
    ann.follow(ids(10..15)).await.expect("not many");
    let list = |after: &'static str, limit| {
        let user = user.clone();
        ann.read(move |tx| Box::pin(async move { store::list_following(tx.conn(), &user, after, limit).await }))
    };
    assert_eq!(list("", 2).await, ["target-10", "target-11"]);
    assert_eq!(list("target-13", 9).await, ["target-14"]);
}

#[tokio::test]
async fn a_user_follows_at_most_so_many() {
    let ann = Ann::open().await;
    let most = u32::try_from(MAX_FOLLOWING).expect("small");
    for n in (0..most).step_by(1_000) {
        ann.follow(ids(n..n + 1_000)).await.expect("room for them");
    }
    let refused = ann.follow(ids([most])).await;
    assert!(matches!(refused, Err(TxError::Business(Error::TooManyFollowed))), "{refused:?}");
    assert!(!ann.is_following(ids([most]).remove(0)).await, "it was taken back");
    assert_eq!(ann.follow(ids([0, 1])).await.expect("they are there already").0, 0);
    ann.unfollow(ids([7])).await;
    assert_eq!(ann.follow(ids([most])).await.expect("one went").0, 1);
}

#[tokio::test]
async fn every_query_uses_an_index() {
    let ann = Ann::open().await;
    for (query, uses) in [
        (sql::IS_FOLLOWING, "SEARCH follow_edge USING PRIMARY KEY (user_key=? AND target_id=?)"),
        (sql::WHICH, "SEARCH follow_edge USING PRIMARY KEY (user_key=? AND target_id=?)"),
        (sql::LIST, "SEARCH follow_edge USING PRIMARY KEY (user_key=? AND target_id>?)"),
        (sql::CHANGES, "SEARCH follow_edge USING COVERING INDEX follow_edge_by_change (user_key=? AND "),
        (sql::NTH_GONE, "SEARCH follow_edge USING COVERING INDEX follow_edge_gone (user_key=?)"),
    ] {
        let explained = ann.db.global_read(move |tx| {
            Box::pin(async move {
                let sql = format!("EXPLAIN QUERY PLAN {query}");
                let rows: Vec<(i64, i64, i64, String)> =
                    sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(tx.conn()).await?;
                Ok::<_, WorkError<Error>>(rows.into_iter().map(|row| row.3).collect::<Vec<_>>())
            })
        });
        let steps = explained.await.expect("explained");
        assert!(steps.iter().any(|step| step.starts_with(uses)), "{query}: {steps:?}");
        assert!(!steps.iter().any(|step| step.contains("FOR ORDER BY")), "{query}: {steps:?}");
    }
}

/// What every write did, to say what the truth was at any position.
#[derive(Default)]
struct History(Vec<(u64, bool, Vec<UserId>)>);

impl History {
    fn at(&self, position: u64) -> BTreeSet<String> {
        let mut set = BTreeSet::new();
        for (_, follow, targets) in self.0.iter().filter(|(at, ..)| *at <= position) {
            for target in targets {
                if *follow {
                    set.insert(target.to_string());
                } else {
                    set.remove(target.as_str());
                }
            }
        }
        set
    }
}

/// A receiver of the stream.
struct Receiver {
    feed: Feed,
    following: Following,
    has: At,
    snapshots: u32,
}

impl Receiver {
    fn new(ann: &Ann) -> Self {
        let feed = Feed::new(ann.user.clone(), At::default());
        Self { feed, following: Following::default(), has: At::default(), snapshots: 0 }
    }

    /// Takes one message; whether more follows at once.
    async fn take(&mut self, ann: &Ann) -> bool {
        let Found { feed, item, at, more } = ann.next(self.feed.clone()).await;
        self.feed = feed;
        if let Some(change) = item {
            self.snapshots += u32::from(change.snapshot_start);
            self.following.apply(change);
        }
        self.has = at;
        more
    }

    /// Loses the stream and opens it anew with what it has.
    fn reopen(&mut self, ann: &Ann) {
        self.feed = Feed::new(ann.user.clone(), self.has);
    }

    #[track_caller]
    fn check(&self, history: &History) {
        if self.has.position > 0 {
            let set: BTreeSet<String> = self.following.iter().map(str::to_owned).collect();
            assert_eq!(set, history.at(self.has.position), "at {:?}", self.has);
            assert!(self.following.check("nobody").is_some());
        }
    }
}

fn seeded(test: &str) -> StdRng {
    let seed = std::env::var("CELLMESH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("{test}: CELLMESH_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// One random write: a few edges or many.
async fn write(ann: &Ann, history: &mut History, rng: &mut impl Rng) {
    let most = [3, 30, 1_000][rng.random_range(0..3)];
    let count = rng.random_range(1..=most);
    let targets = ids((0..count).map(|_| rng.random_range(0..9_000)));
    let follow = rng.random_bool(0.6);
    let position = if follow {
        ann.follow(targets.clone()).await.expect("not many").1
    } else {
        ann.unfollow(targets.clone()).await.1
    };
    history.0.push((position, follow, targets));
}

/// Writes at any point of snapshots and changes, pieces of which may be many, streams that are cut between any two
/// messages: a receiver always has exactly the set of the position he was told.
#[tokio::test]
async fn whoever_follows_the_stream_has_the_set_of_its_position() {
    let mut rng = seeded("whoever_follows_the_stream_has_the_set_of_its_position");
    let soak = std::env::var_os("CELLMESH_SOAK").is_some();
    let (rounds, mut messages, mut cuts) = (if soak { 200 } else { 4 }, 0, 0);
    for _ in 0..rounds {
        let ann = Ann::open().await;
        let mut history = History::default();
        for _ in 0..rng.random_range(0..12) {
            write(&ann, &mut history, &mut rng).await;
        }
        let mut receiver = Receiver::new(&ann);
        for _ in 0..60 {
            match rng.random_range(0..10) {
                0..=2 => write(&ann, &mut history, &mut rng).await,
                3 => {
                    receiver.reopen(&ann);
                    cuts += 1;
                }
                _ => {
                    receiver.take(&ann).await;
                    receiver.check(&history);
                    messages += 1;
                }
            }
        }
        while receiver.take(&ann).await {}
        let last = history.0.last().map_or(0, |(position, ..)| *position);
        assert_eq!(receiver.has, At { user_epoch: 0, position: last });
        receiver.check(&history);
    }
    println!("figure: follow_stream N={messages} cuts={cuts}");
}

/// A known position is continued by changes alone; one that is too old, or of no past of ours, by a snapshot.
#[tokio::test]
async fn a_position_is_continued_as_long_as_nothing_is_forgotten() {
    let ann = Ann::open().await;
    let mut history = History::default();
    for n in 0..13 {
        let targets = ids(n * 1_000..(n + 1) * 1_000);
        let (_, position) = ann.follow(targets.clone()).await.expect("not many");
        history.0.push((position, true, targets));
    }
    let mut old = Receiver::new(&ann);
    while old.take(&ann).await {}
    let mut slow = Receiver::new(&ann);
    assert!(slow.take(&ann).await, "in the midst of a snapshot");
    let mut young = None;
    for n in 0..11 {
        let targets = ids(n * 1_000..(n + 1) * 1_000);
        let (_, position) = ann.unfollow(targets.clone()).await;
        history.0.push((position, false, targets));
        if n == 8 {
            let mut receiver = Receiver::new(&ann);
            while receiver.take(&ann).await {}
            young = Some(receiver);
        }
    }
    assert!(ann.count("SELECT floor FROM follow_summary").await > 0, "the oldest were forgotten");
    assert!(ann.count("SELECT COUNT(*) FROM follow_edge WHERE following = 0").await <= 10_000);
    let mut young = young.expect("made on the way");
    for (receiver, snapshots) in [(&mut old, 2), (&mut slow, 2), (&mut young, 1)] {
        while receiver.take(&ann).await {}
        receiver.check(&history);
        assert_eq!((receiver.snapshots, receiver.following.len()), (snapshots, 2_000));
    }
    let has = young.has;
    for foreign in [At { position: has.position + 1, ..has }, At { user_epoch: 1, ..has }] {
        young.feed = Feed::new(ann.user.clone(), foreign);
        let before = young.snapshots;
        while young.take(&ann).await {}
        young.check(&history);
        assert_eq!(young.snapshots, before + 1, "{foreign:?} never was");
    }
    young.reopen(&ann);
    let Found { item, at, more, .. } = ann.next(young.feed.clone()).await;
    assert_eq!((item, at, more), (None, has, false), "nothing happened since");
}
