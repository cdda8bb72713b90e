//! The outbox.

use super::{
    Factory, SuiteError, Work, another, database, fence, here, items, key_of, migrations, number, plain, settings,
};
use crate::{
    Db, Engine, OutboxEvent, Stream, WorkError,
    conformance::{add, fence::nobody},
    ownership::{Change, Events},
};
use cell_map::{
    UserEpoch, UserKey,
    ownership::{Publication, UserState},
};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

fn event(n: i64) -> OutboxEvent {
    OutboxEvent::new("suite.event", n.to_be_bytes().to_vec())
}

/// Writes a row and emits an event, `fail`ing afterwards if told so.
async fn change<E: Engine>(db: &Db<E>, user: &UserKey, n: i64, fail: bool) -> bool {
    let owned = user.clone();
    let request = plain(user);
    let ended = db.fenced(&request, move |tx| {
        Box::pin(async move {
            add(tx, owned, n, 1).await?;
            tx.emit(event(n)).await?;
            if fail { Err(WorkError::Business(SuiteError)) } else { Ok(()) }
        })
    });
    ended.await.is_ok()
}

/// An event is in the outbox if and only if its transaction committed.
pub async fn events_share_the_fate_of_their_transaction<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let user = key_of(&here(), 0);
    for n in 0..20 {
        assert_eq!(change(&db, &user, n, n % 3 == 0).await, n % 3 != 0);
    }
    let committed: Vec<_> = items(&db, &user).await.into_iter().map(|(n, _)| event(n).payload).collect();
    let rows = db.outbox(Stream::Events).next_batch(0, 100).await.expect("rows");
    assert_eq!(rows.iter().map(|row| row.payload.clone()).collect::<Vec<_>>(), committed);
    let ids: HashSet<_> = rows.iter().map(|row| &row.event_id).collect();
    assert_eq!(ids.len(), rows.len(), "event ids differ");
    assert!(rows.iter().all(|row| row.user.as_ref() == Some(&user) && row.kind == "suite.event"));
}

/// Sequences count 1, 2, 3… for each user and epoch, whoever writes, aborted transactions included.
pub async fn sequences_have_no_gaps<F: Factory>(factory: &F) {
    let (place, one) = database(factory).await;
    let two = another(factory, &place).await;
    let users = [key_of(&here(), 0), key_of(&here(), 1)];
    let mut calls = vec![];
    for n in 0..40 {
        for (at, user) in users.iter().enumerate() {
            let (db, user) = (if n % 2 == 0 { one.clone() } else { two.clone() }, user.clone());
            calls.push(tokio::spawn(async move { change(&db, &user, n, (n as usize + at).is_multiple_of(5)).await }));
        }
    }
    for call in calls {
        call.await.expect("no panic");
    }
    fence::set_user(&one, &users[0], UserState::Home, 2).await;
    assert!(change(&one, &users[0], 99, false).await);
    let global = one.global(|tx| Box::pin(async move { Work::Ok(tx.emit(event(0)).await?) }));
    global.await.expect("commits");

    let rows = one.outbox(Stream::Events).next_batch(0, 1000).await.expect("rows");
    for user in &users {
        let ours = rows.iter().filter(|row| row.user.as_ref() == Some(user) && row.user_epoch == UserEpoch::ZERO);
        let sequences: Vec<_> = ours.map(|row| row.sequence).collect();
        assert_eq!(sequences, (1..=32).collect::<Vec<_>>(), "in the order of delivery");
    }
    let last: Vec<_> = rows.iter().rev().take(2).collect();
    assert_eq!((last[0].user.as_ref(), last[0].sequence), (None, 1), "what no user owns counts for itself");
    assert_eq!((last[1].user_epoch, last[1].sequence), (UserEpoch::new(2), 1), "a new epoch counts anew");
}

/// Delivered rows are not read again, are kept for a while, and when swept leave the counter in place.
pub async fn delivered_rows_are_kept_then_swept<F: Factory>(factory: &F) {
    let (place, first) = database(factory).await;
    first.close().await;
    let now = Arc::new(AtomicI64::new(1000));
    let clock = Arc::clone(&now);
    let config = crate::Settings { clock: Arc::new(move || clock.load(Ordering::Relaxed)), ..settings() };
    let db = factory.open(&place, config, &migrations::<F>()).await.expect("open");
    let user = key_of(&here(), 0);
    let outbox = db.outbox(Stream::Events);
    for n in 0..5 {
        assert!(change(&db, &user, n, false).await);
    }
    assert_eq!(outbox.backlog().await.expect("counts"), (5, Some(1000)));
    let rows = outbox.next_batch(0, 3).await.expect("rows");
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(outbox.next_batch(ids[2], 10).await.expect("rows").len(), 2, "behind a position");
    outbox.mark_done(&ids).await.expect("marked");
    assert_eq!(outbox.next_batch(0, 10).await.expect("rows").len(), 2);
    let rest: Vec<_> = outbox.next_batch(0, 10).await.expect("rows").iter().map(|row| row.id).collect();
    now.store(5000, Ordering::Relaxed);
    outbox.mark_done(&rest).await.expect("marked");
    assert_eq!(outbox.sweep(1000, 100).await.expect("sweep"), 0, "not before their time");
    assert_eq!(outbox.sweep(5000, 2).await.expect("sweep"), 2, "at most what was asked");
    assert_eq!(outbox.sweep(9000, 100).await.expect("sweep"), 2);
    assert_eq!(number(&db, "SELECT COUNT(*) FROM outbox").await, 1, "the newest stays");
    assert!(change(&db, &user, 9, false).await);
    assert_eq!(outbox.next_batch(0, 10).await.expect("rows")[0].sequence, 6, "and is counted from");
    assert_eq!(outbox.backlog().await.expect("counts"), (1, Some(5000)));
}

/// A row handed to another cell while it was being delivered stays handed.
pub async fn a_handed_row_is_not_marked_done<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let user = key_of(&here(), 0);
    assert!(change(&db, &user, 1, false).await);
    let outbox = db.outbox(Stream::Events);
    let rows = outbox.next_batch(0, 10).await.expect("rows");
    let hand = |events| {
        db.user_step(&user, nobody(), move |_, rows| {
            Ok::<_, SuiteError>(Change { events: Some(events), ..Change::new(rows.clone(), ()) })
        })
    };
    hand(Events::Hand).await.expect("a step");
    outbox.mark_done(&[rows[0].id]).await.expect("no error");
    assert_eq!(number(&db, "SELECT COUNT(*) FROM outbox WHERE state = 'handed'").await, 1);
    hand(Events::TakeBack).await.expect("a step");
    assert_eq!(outbox.next_batch(0, 10).await.expect("rows"), rows);
}

/// The publisher's stream and the services' stream do not hold each other up.
pub async fn streams_do_not_mix<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let user = key_of(&here(), 0);
    assert!(change(&db, &user, 1, false).await);
    let published = db.user_step(&user, nobody(), |_, rows| {
        let publish = Some(Publication { cell: here(), epoch: UserEpoch::new(3), pin: true });
        Ok::<_, SuiteError>(Change { publish, ..Change::new(rows.clone(), ()) })
    });
    published.await.expect("a step");
    let events = db.outbox(Stream::Events).next_batch(0, 10).await.expect("rows");
    assert_eq!(events.iter().map(|row| (&*row.payload, row.sequence)).collect::<Vec<_>>(), [(&*event(1).payload, 1)]);
    let rows = db.outbox(Stream::Ownership).next_batch(0, 10).await.expect("rows");
    let told: Vec<_> = rows.iter().map(|row| crate::published(row).expect("a publication")).collect();
    assert_eq!(told, [(user, Publication { cell: here(), epoch: UserEpoch::new(3), pin: true })]);
    assert!(crate::published(&events[0]).is_err());
}

/// A commit with events wakes whoever waits for them; one without does not.
pub async fn commits_with_events_wake_the_dispatcher<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let user = key_of(&here(), 0);
    let mut commits = db.outbox_commits();
    super::put(&db, &user, 1, 1).await.expect("home");
    assert!(!change(&db, &user, 2, true).await);
    assert!(!commits.has_changed().expect("open"), "nothing to deliver");
    assert!(change(&db, &user, 3, false).await);
    assert!(commits.has_changed().expect("open"));
    commits.changed().await.expect("open");
}
