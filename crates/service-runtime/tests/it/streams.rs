//! Long streams of a user's data.

use crate::{
    notes::{Notes, READ, ReadNotesRequest, WATCH, WRITE, WatchNotesResponse, WriteNoteRequest},
    world::{World, cell, elsewhere, eventually, here, reason},
};
use cell_map::{BucketId, UserEpoch, UserKey, ownership::MoveId, ownership::UserMove};
use std::time::Duration;
use storage::{Db, DbConfig, Value, WorkError};
use testkit::call::Caller;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_types::StatusExt as _;

/// Longer than any stream is silent.
const SOON: Duration = Duration::from_secs(10);

struct Watcher(Streaming<WatchNotesResponse>);

impl Watcher {
    async fn try_open(world: &World, user_id: String) -> Result<Self, Status> {
        let url = format!("http://{}", world.running.bound().front);
        let mut client = tonic::client::Grpc::new(Channel::from_shared(url).unwrap().connect_lazy());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<ReadNotesRequest, WatchNotesResponse>::default();
        let message = tonic::Request::new(ReadNotesRequest { user_id });
        Ok(Self(client.server_streaming(message, WATCH.parse().unwrap(), codec).await?.into_inner()))
    }

    async fn open(world: &World) -> Self {
        Self::try_open(world, here()).await.unwrap()
    }

    async fn next(&mut self) -> Result<WatchNotesResponse, Status> {
        let message = timeout(SOON, self.0.message()).await.expect("a stream shows that it lives");
        message.map(|message| message.expect("it ends with an error only"))
    }

    /// The next message that is not only a heartbeat.
    async fn news(&mut self) -> WatchNotesResponse {
        loop {
            let message = self.next().await.unwrap();
            if !message.texts.is_empty() {
                return message;
            }
        }
    }

    /// How it ends.
    async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

async fn write(caller: &mut Caller, text: &str) {
    let message = WriteNoteRequest { user_id: here(), text: text.into() };
    let answer = caller.message(WRITE, &message, &[]).await.unwrap();
    assert_eq!(answer.code(), Some(Code::Ok));
}

/// The process's database as another process has it.
async fn another(world: &World) -> Db {
    let services: Vec<Box<dyn service_runtime::Service>> = vec![Box::new(Notes::default())];
    let migrations: Vec<_> = services.iter().flat_map(|service| service.migrations()).collect();
    Db::open(DbConfig::new(world.data.path().join("cell.db"), cell("bj-1")), &migrations).await.unwrap()
}

async fn run(db: &Db, sql: &'static str, values: Vec<Value>) {
    let written = db.global(move |tx| {
        Box::pin(async move {
            tx.execute(sql, values).await?;
            Ok::<_, WorkError<Status>>(())
        })
    });
    written.await.unwrap();
}

#[tokio::test]
async fn a_commit_is_told_at_once_and_silence_needs_no_reads() {
    let world = World::start().await;
    let mut caller = world.front().await;
    for text in ["a", "b", "c"] {
        write(&mut caller, text).await;
    }
    let mut watcher = Watcher::open(&world).await;
    assert_eq!(watcher.next().await.unwrap().texts, ["a", "b"]);
    let last = watcher.next().await.unwrap();
    assert_eq!((last.texts, last.user_epoch, last.position), (vec!["c".to_owned()], 0, 3));
    write(&mut caller, "d").await;
    let news = watcher.news().await;
    assert_eq!((news.texts, news.position), (vec!["d".to_owned()], 4));
    assert!(news.elapsed_ms >= last.elapsed_ms);

    let mut others = vec![];
    for _ in 0..20 {
        others.push(Watcher::open(&world).await);
    }
    // Each may need one read before the common look at the database has something to be compared with.
    for watcher in &mut others {
        watcher.news().await;
        watcher.news().await;
        for _ in 0..2 {
            watcher.next().await.unwrap();
        }
    }
    let reads = || world.count("cellmesh_db_transactions_total", &["kind=\"fenced_read\""]);
    let before = reads().await;
    let mut elapsed = vec![0; others.len()];
    for _ in 0..3 {
        for (watcher, elapsed) in others.iter_mut().zip(&mut elapsed) {
            let beat = watcher.next().await.unwrap();
            assert_eq!((beat.texts.len(), beat.position), (0, 4));
            assert!(std::mem::replace(elapsed, beat.elapsed_ms) < beat.elapsed_ms);
        }
    }
    assert_eq!(reads().await, before, "nobody wrote, so nobody read");
    world.end().await;
}

#[tokio::test]
async fn what_another_process_commits_is_told_within_a_second_or_so() {
    let world = World::start().await;
    let other = another(&world).await;
    let mut watcher = Watcher::open(&world).await;
    watcher.next().await.unwrap();
    for n in 1..=3_i64 {
        let key = UserKey::from_text(&here()).unwrap();
        let fence = storage::FenceRequest { key: &key, asked: cell_map::OwnerEpochs::ZERO };
        let written = other.fenced(&fence, move |tx| {
            Box::pin(async move {
                let user = Value::from(tx.user().unwrap().as_bytes());
                let sql = "INSERT INTO note (user_key, seq, text) VALUES (?, ?, ?)";
                tx.execute(sql, vec![user, n.into(), format!("{n}").into()]).await?;
                Ok::<_, WorkError<Status>>(())
            })
        });
        written.await.unwrap();
        let news = watcher.news().await;
        assert_eq!((news.texts, news.position), (vec![n.to_string()], n as u64));
    }
    other.close().await;
    world.end().await;
}

/// A look at what others committed queues with the writers: streams do not wait for it one after another, and read.
#[tokio::test]
async fn a_busy_writer_silences_no_stream() {
    let world = World::start().await;
    let mut watchers = vec![];
    for _ in 0..20 {
        let mut watcher = Watcher::open(&world).await;
        watcher.next().await.unwrap();
        watchers.push(watcher);
    }
    let (begun, writing) = tokio::sync::oneshot::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let db = world.running.context().db.clone();
    let writer = tokio::spawn(async move {
        let written = db.global(move |_| {
            Box::pin(async move {
                let _ = begun.send(());
                let _ = ended.await;
                Ok::<_, WorkError<Status>>(())
            })
        });
        written.await
    });
    writing.await.unwrap();
    // What came before lies in buffers yet.
    let mut proven = vec![0; watchers.len()];
    let busy = std::time::Instant::now();
    while busy.elapsed() < Duration::from_secs(3) {
        for (watcher, proven) in watchers.iter_mut().zip(&mut proven) {
            let beat = watcher.next().await.expect("it goes on");
            assert!(beat.elapsed_ms > *proven || *proven == 0, "each is proven anew");
            *proven = beat.elapsed_ms;
        }
    }
    assert!(!writer.is_finished(), "they did not wait for it");
    end.send(()).unwrap();
    writer.await.unwrap().unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_user_at_home_elsewhere_has_no_stream_here() {
    let world = World::start().await;
    let Err(refused) = Watcher::try_open(&world, elsewhere()).await else { panic!("not at home here") };
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "WRONG_CELL");
    assert_eq!(refused.metadata().get("cellmesh-unprocessed").unwrap(), "1");
    world.end().await;
}

#[tokio::test]
async fn a_user_who_moves_away_ends_his_streams() {
    let world = World::start().await;
    let mut watcher = Watcher::open(&world).await;
    watcher.next().await.unwrap();
    // A mover in this process: the freeze wakes the stream.
    let (db, key) = (world.running.context().db.clone(), UserKey::from_text(&here()).unwrap());
    let plan = UserMove::new(MoveId(1), cell("bj-1"), cell("sh-1"), UserEpoch::ZERO).unwrap();
    db.ownership().claim(&key, &plan, 1).await.unwrap();
    db.ownership().freeze(&key, &plan, 1).await.unwrap();
    let ended = watcher.end().await;
    let info = ended.get_details_error_info().unwrap();
    assert_eq!((ended.code(), info.domain.as_str(), info.reason.as_str()), (Code::Unavailable, "cellmesh", "MOVED"));
    world.end().await;
}

#[tokio::test]
async fn a_stream_that_ends_by_a_move_names_the_new_home() {
    let world = World::start().await;
    let mut watcher = Watcher::open(&world).await;
    watcher.next().await.unwrap();
    // A mover in another process: found by the look at the database.
    let other = another(&world).await;
    let key = UserKey::from_text(&here()).unwrap();
    let bucket = i64::from(BucketId::of(&key).get());
    let sql = "INSERT INTO cell_user (user_key, bucket, state, cell, user_epoch) VALUES (?, ?, 'moved_to', 'sh-1', 3)";
    run(&other, sql, vec![key.as_bytes().into(), bucket.into()]).await;
    let ended = watcher.end().await;
    let info = ended.get_details_error_info().unwrap();
    assert_eq!((ended.code(), info.reason.as_str()), (Code::Unavailable, "MOVED"));
    assert_eq!((info.metadata["owner"].as_str(), info.metadata["user_epoch"].as_str()), ("sh-1", "3"));
    assert!(ended.metadata().get("cellmesh-unprocessed").is_none());
    other.close().await;
    world.end().await;
}

#[tokio::test]
async fn a_drain_ends_streams_at_once() {
    let world = World::with(Notes::default(), |config| config.drain.grace_ms = 60_000).await;
    let mut watcher = Watcher::open(&world).await;
    watcher.next().await.unwrap();
    world.running.shutdown();
    let ended = watcher.end().await;
    assert_eq!(
        (ended.code(), ended.get_details_error_info().unwrap().reason.as_str()),
        (Code::Unavailable, "CELL_DRAINING")
    );
    timeout(SOON, world.running.wait()).await.expect("no stream holds it up").unwrap();
}

#[tokio::test]
async fn streams_take_no_place_of_calls() {
    let world = World::with(Notes::default(), |config| {
        (config.limits.calls, config.limits.server_streams) = (1, 2);
    })
    .await;
    let (first, _second) = (Watcher::open(&world).await, Watcher::open(&world).await);
    let Err(refused) = Watcher::try_open(&world, here()).await else { panic!("two are allowed") };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let read = ReadNotesRequest { user_id: here() };
    let answer = world.front().await.message(READ, &read, &[]).await.unwrap();
    assert_eq!(answer.code(), Some(Code::Ok), "{}", reason(&answer));
    drop(first);
    eventually(async || Watcher::try_open(&world, here()).await.is_ok()).await;
    world.end().await;
}
