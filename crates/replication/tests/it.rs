//! Following and publishing, between tables in memory and in stopped time.
#![expect(clippy::unwrap_used, reason = "a test may stop at anything unexpected")]

use futures_util::{StreamExt as _, stream};
use replication::{
    Batch, Feed, FeedError, HEARTBEAT, Log, MAX_CLIENT_STREAMS, MAX_STREAMS, Messages, Piece, Position, Replica,
    ReplicationError, SILENCE, Source, Standing, Told, Who, run,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Fault(&'static str);

impl From<ReplicationError> for Fault {
    fn from(_: ReplicationError) -> Self {
        Self("does not fit")
    }
}

/// A table of keys, each with the sequence of its last change.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<Rows>>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Rows {
    standing: Option<Standing>,
    versions: BTreeMap<u8, u64>,
}

impl Table {
    fn writer(incarnation: u64, keys: impl IntoIterator<Item = u8>) -> Self {
        let table = Self::default();
        table.replace(incarnation, keys);
        table
    }

    /// As a database that was lost and made anew.
    fn replace(&self, incarnation: u64, keys: impl IntoIterator<Item = u8>) {
        let position = Position { incarnation, sequence: 0 };
        *self.0.lock().unwrap() = Rows { standing: Some(Standing { position, writer: true }), ..Rows::default() };
        keys.into_iter().for_each(|key| self.change(key));
    }

    fn change(&self, key: u8) {
        let mut rows = self.0.lock().unwrap();
        let standing = rows.standing.as_mut().unwrap();
        standing.position = standing.position.next();
        let version = standing.position.sequence;
        rows.versions.insert(key, version);
    }

    fn position(&self) -> Option<Position> {
        self.0.lock().unwrap().standing.map(|standing| standing.position)
    }

    fn apply(&self, batch: Batch<(u8, u64)>) -> Result<(), Fault> {
        let mut rows = self.0.lock().unwrap();
        batch.check(rows.standing)?;
        if batch.replace {
            rows.versions.clear();
        }
        rows.versions.extend(batch.items);
        rows.standing = Some(Standing { position: batch.position, writer: false });
        Ok(())
    }

    async fn catches_up_with(&self, other: &Self) {
        let read = |table: &Self| (table.position(), table.0.lock().unwrap().versions.clone());
        while read(self) != read(other) {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Log for Table {
    type Item = (u8, u64);
    type Error = Fault;

    const PIECE: usize = 8;

    async fn read(&self, after: u64, limit: usize) -> Result<Option<(Position, Vec<(u8, u64)>)>, Fault> {
        let rows = self.0.lock().unwrap();
        let mut items: Vec<_> = rows.versions.iter().map(|(k, v)| (*k, *v)).filter(|(_, v)| *v > after).collect();
        items.sort_by_key(Self::sequence);
        items.truncate(limit);
        Ok(rows.standing.map(|standing| (standing.position, items)))
    }

    fn sequence((_, version): &(u8, u64)) -> u64 {
        *version
    }
}

/// A copy that counts what happens to it.
struct Copy<O> {
    table: Table,
    open: O,
    writer: Arc<AtomicBool>,
    begun: Arc<Mutex<Vec<u64>>>,
    applied: Arc<AtomicUsize>,
    confirmed: Arc<Mutex<Option<Instant>>>,
    latest: Arc<AtomicU64>,
}

impl<O> Copy<O> {
    fn new(open: O) -> Self {
        let (table, writer, begun, applied, confirmed, latest) = Default::default();
        Self { table, open, writer, begun, applied, confirmed, latest }
    }
}

impl<O> Replica for Copy<O>
where
    O: FnMut(Position) -> Result<Messages<(u8, u64), Fault>, Fault> + Send,
{
    type Item = (u8, u64);
    type Error = Fault;

    const NAME: &'static str = "copy";

    async fn position(&mut self) -> Result<Option<Position>, Fault> {
        Ok(self.table.position())
    }

    async fn open(&mut self, after: Position) -> Result<Messages<(u8, u64), Fault>, Fault> {
        (self.open)(after)
    }

    async fn apply(&mut self, batch: Batch<(u8, u64)>) -> Result<(), Fault> {
        self.table.apply(batch)
    }

    fn applied(&mut self) {
        self.applied.fetch_add(1, Ordering::Relaxed);
    }

    fn confirmed(&mut self, as_of: Instant) {
        *self.confirmed.lock().unwrap() = Some(as_of);
    }

    fn is_writer(&self) -> bool {
        self.writer.load(Ordering::Relaxed)
    }

    async fn begin(&mut self, later_than: u64) -> Result<Position, Fault> {
        self.begun.lock().unwrap().push(later_than);
        Ok(Position { incarnation: later_than + 1, sequence: 0 })
    }

    fn latest_known(&self) -> u64 {
        self.latest.load(Ordering::Relaxed)
    }
}

fn feed(table: &Table) -> Feed<Table> {
    Feed::new(table.clone(), CancellationToken::new())
}

fn messages(feed: &Feed<Table>, after: Position) -> Result<Messages<(u8, u64), Fault>, Fault> {
    let fault = |error| match error {
        FeedError::Log(fault) => fault,
        _ => Fault("no stream"),
    };
    let stream = feed.stream(Who::Mesh, after, Instant::now, || Ok(())).map_err(fault)?;
    Ok(stream.map(move |message| message.map_err(fault)).boxed())
}

async fn told(stream: &mut Messages<(u8, u64), Fault>) -> Told<(u8, u64)> {
    stream.next().await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_copy_follows_snapshots_changes_and_new_histories() {
    // More than one piece holds.
    let writer = Table::writer(5, 0..30);
    let feed = feed(&writer);
    let opened = feed.clone();
    let copy = Copy::new(move |after| messages(&opened, after));
    let (table, applied) = (copy.table.clone(), Arc::clone(&copy.applied));
    let following = tokio::spawn(run(copy));
    table.catches_up_with(&writer).await;
    assert_eq!(applied.load(Ordering::Relaxed), 1, "a snapshot is applied whole");

    let changing = writer.clone();
    feed.write(async move { changing.change(7) }).await.unwrap();
    let changed = Instant::now();
    table.catches_up_with(&writer).await;
    assert!(changed.elapsed() < HEARTBEAT, "a write wakes the stream");

    writer.change(8);
    table.catches_up_with(&writer).await;

    writer.replace(6, 20..40);
    table.catches_up_with(&writer).await;
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream_continues_where_it_can_and_shows_that_it_lives() {
    let writer = Table::writer(5, 0..3);
    let feed = feed(&writer);
    feed.stands(Source::Writer);
    let mut stream = messages(&feed, Position { incarnation: 5, sequence: 2 }).unwrap();
    let position = Position { incarnation: 5, sequence: 3 };
    let piece = Piece { position, snapshot_start: false, snapshot_end: false, items: vec![(2, 3)] };
    let change = Told { piece: Some(piece), position, elapsed_ms: 0, complete: true, behind_ms: 0 };
    assert_eq!(told(&mut stream).await, change);
    let waiting = Instant::now();
    let heartbeat = Told { piece: None, elapsed_ms: 3_000, ..change };
    assert_eq!(told(&mut stream).await, heartbeat);
    assert_eq!(waiting.elapsed(), HEARTBEAT);

    for foreign in [Position { incarnation: 4, sequence: 2 }, Position { incarnation: 5, sequence: 4 }] {
        let piece = told(&mut messages(&feed, foreign).unwrap()).await.piece.expect("a snapshot");
        assert!(piece.snapshot_start && piece.snapshot_end && piece.items.len() == 3, "{foreign:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_claims_only_what_was_sent_and_read() {
    // Two pieces and a bit: each item is its own sequence.
    let writer = Table::writer(5, 0..20);
    let feed = feed(&writer);
    let mut stream = messages(&feed, Position::default()).unwrap();
    let mut sent = 0;
    for (sequence, complete) in [(8, false), (16, false), (20, true)] {
        sleep(Duration::from_millis(100)).await;
        let message = told(&mut stream).await;
        sent += message.piece.expect("a piece").items.len() as u64;
        assert_eq!((message.position.sequence, message.complete), (sequence, complete));
        assert_eq!(sent, sequence);
    }
    // Written without a word while the stream waits for its heartbeat, which therefore is none.
    let waiting = tokio::spawn(async move { told(&mut stream).await });
    sleep(Duration::from_millis(500)).await;
    writer.change(3);
    let message = waiting.await.unwrap();
    assert_eq!((message.position.sequence, message.elapsed_ms), (21, 3_300));
    assert_eq!(message.piece.expect("the change").items, [(3, 21)]);
}

#[tokio::test(start_paused = true)]
async fn wakes_that_bring_nothing_put_off_no_heartbeat() {
    let writer = Table::writer(5, 0..3);
    let feed = feed(&writer);
    let mut stream = messages(&feed, writer.position().unwrap()).unwrap();
    let waking = tokio::spawn({
        let feed = feed.clone();
        async move {
            loop {
                sleep(Duration::from_millis(700)).await;
                feed.changed();
            }
        }
    });
    let begun = Instant::now();
    assert_eq!(told(&mut stream).await.piece, None);
    assert_eq!(begun.elapsed(), HEARTBEAT);
    waking.abort();
}

#[tokio::test(start_paused = true)]
async fn who_follows_a_copy_learns_how_old_it_may_be() {
    let writer = Table::writer(5, 0..30);
    let source = feed(&writer);
    source.stands(Source::Writer);
    let copy = Copy::new(move |after| messages(&source, after));
    let (table, confirmed) = (copy.table.clone(), Arc::clone(&copy.confirmed));
    let following = tokio::spawn(run(copy));
    table.catches_up_with(&writer).await;
    sleep(Duration::from_secs(7)).await;
    let as_of = confirmed.lock().unwrap().expect("confirmed by each heartbeat");
    assert!(as_of.elapsed() <= HEARTBEAT, "{:?}", as_of.elapsed());
    following.abort();

    let copied = feed(&table);
    let mut stream = messages(&copied, table.position().unwrap()).unwrap();
    assert_eq!(told(&mut stream).await.behind_ms, u64::MAX, "nothing is known");
    copied.stands(Source::CopyAsOf(as_of));
    let message = told(&mut stream).await;
    assert_eq!(u128::from(message.behind_ms), as_of.elapsed().as_millis() + 1);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_a_history_that_ended_is_given_up() {
    let writer = Table::writer(5, 0..30);
    let mut stream = messages(&feed(&writer), Position::default()).unwrap();
    assert!(told(&mut stream).await.piece.expect("the first piece").snapshot_start);
    writer.replace(6, 0..30);
    stream.next().await.unwrap().expect_err("pieces of two histories do not belong together");
    assert!(stream.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn streams_are_counted_judged_and_ended() {
    let (shutdown, allowed) = (CancellationToken::new(), Arc::new(AtomicBool::new(true)));
    let feed = Feed::new(Table::writer(5, []), shutdown.clone());
    let open = |who| {
        let allowed = Arc::clone(&allowed);
        let judge = move || if allowed.load(Ordering::Relaxed) { Ok(()) } else { Err(Fault("not here")) };
        feed.stream(who, Position { incarnation: 5, sequence: 0 }, Instant::now, judge)
    };
    let mut streams = Vec::new();
    for (who, most) in [(Who::Client, MAX_CLIENT_STREAMS), (Who::Mesh, MAX_STREAMS)] {
        streams.extend((0..most).map(|_| Box::pin(open(who).expect("strangers take no place of the mesh"))));
        assert!(matches!(open(who).err(), Some(FeedError::TooManyStreams { max }) if max == most));
    }
    drop(streams.pop());
    streams.push(Box::pin(open(Who::Mesh).expect("a place is free again")));

    allowed.store(false, Ordering::Relaxed);
    assert!(matches!(open(Who::Mesh).err(), Some(FeedError::Log(_))), "asked at once");
    assert!(matches!(streams[0].next().await, Some(Err(FeedError::Log(_)))), "and before each piece");
    allowed.store(true, Ordering::Relaxed);
    shutdown.cancel();
    assert!(streams[1].next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_given_up_and_opened_anew() {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let copy = Copy::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(stream::pending().boxed())
    });
    let _ = timeout(SILENCE * 3, run(copy)).await;
    assert_eq!(opened.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_until_something_is_heard() {
    let opened = Arc::new(Mutex::new(Vec::new()));
    let times = Arc::clone(&opened);
    let copy = Copy::new(move |_| {
        let mut times = times.lock().unwrap();
        times.push(Instant::now());
        // The tenth stream says one word.
        let word = Told { piece: None, position: Position::default(), elapsed_ms: 0, complete: false, behind_ms: 0 };
        if times.len() == 10 { Ok(stream::iter([Ok(word)]).boxed()) } else { Err(Fault("broken")) }
    });
    let _ = timeout(Duration::from_secs(60), run(copy)).await;
    let opened = opened.lock().unwrap();
    let pauses: Vec<u128> = opened.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert!((50..=102).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses[7..9].iter().all(|pause| (2_500..=5_002).contains(pause)), "{pauses:?}");
    assert!((50..=102).contains(&pauses[9]), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_writer_follows_nobody_until_another_writes() {
    let writer = Table::writer(5, 0..3);
    let feed = feed(&writer);
    let copy = Copy::new(move |after| messages(&feed, after));
    let (table, is_writer, begun) = (copy.table.clone(), Arc::clone(&copy.writer), Arc::clone(&copy.begun));
    let latest = Arc::clone(&copy.latest);
    is_writer.store(true, Ordering::Relaxed);
    let keeping = tokio::spawn(run(copy));
    sleep(Duration::from_secs(30)).await;
    assert_eq!((begun.lock().unwrap().clone(), table.position()), (vec![0], None));
    // A follower comes from a history that another began without our knowing.
    latest.store(7, Ordering::Relaxed);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(*begun.lock().unwrap(), [0, 7], "a later one is begun, once");
    is_writer.store(false, Ordering::Relaxed);
    table.catches_up_with(&writer).await;
    is_writer.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(begun.lock().unwrap().len(), 3);
    keeping.abort();
}
