//! Registration (OWN-10).

use super::{Factory, SuiteError, Work, database, fence, here, idempotency::Receipt, items, key_of, map, there};
use crate::{Db, Engine, IdempotencyKey, KeyInUse, Outcome, Refusal, TxError, conformance::add};
use cell_map::{
    UserEpoch, UserKey,
    ownership::{AwayRow, BucketState, Claim, MoveId, UserState},
};
use std::sync::{Arc, Mutex};

fn request(id: &str) -> IdempotencyKey {
    IdempotencyKey::new("/suite.v1.Suite/Register", id, b"").expect("a short id")
}

/// Registers with keys drawn from a list; gives the answer and which keys were left.
async fn register<E: Engine>(
    db: &Db<E>,
    id: &str,
    draws: &[&UserKey],
) -> (Result<Outcome<Receipt>, TxError<SuiteError>>, usize) {
    let left: Vec<UserKey> = draws.iter().rev().map(|key| (*key).clone()).collect();
    let left = Arc::new(Mutex::new(left));
    let source = Arc::clone(&left);
    let ended = db.register(
        request(id),
        move || source.lock().expect("no panic inside").pop(),
        |tx, user| {
            Box::pin(async move {
                assert_eq!(tx.user(), Some(&user));
                add(tx, user, 1, 1).await?;
                Work::Ok(Receipt { serial: 7 })
            })
        },
    );
    let ended = ended.await;
    let left = left.lock().expect("no panic inside").len();
    (ended, left)
}

/// The first free key is taken and the work's rows are its own.
pub async fn a_drawn_key_is_fenced_and_stored_once<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let user = key_of(&here(), 0);
    let (ended, left) = register(&db, "r1", &[&user, &key_of(&here(), 1)]).await;
    assert!(matches!(ended, Ok(Outcome::Fresh(_))), "{ended:?}");
    assert_eq!(left, 1);
    assert_eq!(items(&db, &user).await, [(1, 1)]);
}

/// Reserved, moving and foreign buckets mint nothing.
pub async fn buckets_that_may_not_mint_are_drawn_past<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let map = map();
    let mut keys = (0..).map(|n| UserKey::from_text(&format!("reserved-{n}")).expect("a key"));
    let reserved = keys.find(|key| {
        let home = map.home(key.as_bytes());
        home.cell.id == here() && map.is_reserved(home.bucket)
    });
    let reserved = reserved.expect("one bucket in eight is reserved");
    let moving = key_of(&here(), 5);
    let claim = Claim { move_id: MoveId(1), attempt: 1 };
    fence::set(&db, &moving, move |rows| rows.bucket.state = BucketState::Moving { to: there(), claim }).await;
    let free = key_of(&here(), 0);
    let (ended, left) = register(&db, "r1", &[&reserved, &key_of(&there(), 0), &moving, &free]).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(left, 0);
    assert_eq!(items(&db, &free).await, [(1, 1)]);
    super::put(&db, &reserved, 1, 1).await.expect("a reserved bucket is home for all but minting");
}

/// A key with a row of its own, or known to live elsewhere, belongs to somebody.
pub async fn known_keys_are_drawn_past<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let [away, has_row, free] = [0, 1, 2].map(|n| key_of(&here(), n));
    let row = AwayRow { cell: there(), epoch: UserEpoch::new(1) };
    fence::set(&db, &away, move |rows| rows.away = Some(row)).await;
    fence::set_user(&db, &has_row, UserState::Home, 2).await;
    let (ended, left) = register(&db, "r1", &[&away, &has_row, &free]).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(left, 0);
    assert_eq!(items(&db, &free).await, [(1, 1)]);
}

/// When nothing drawn is free the answer is "no home here", and nothing is written.
pub async fn without_a_free_key_there_is_no_home<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let foreign = key_of(&there(), 0);
    let (ended, _) = register(&db, "r1", &[&foreign, &foreign]).await;
    assert!(matches!(ended, Err(TxError::Refused(Refusal::NoHome))), "{ended:?}");
    let many = vec![&foreign; 1000];
    let (ended, left) = register(&db, "r1", &many).await;
    assert!(matches!(ended, Err(TxError::Refused(Refusal::NoHome))), "{ended:?}");
    assert!(left > 0, "draws are bounded");
    assert_eq!(items(&db, &foreign).await, []);
    assert!(register(&db, "r1", &[&key_of(&here(), 0)]).await.0.is_ok(), "the request id is still free");
}

/// The same request gets the same user and draws nothing.
pub async fn a_repetition_gives_the_same_user<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let (first, second) = (key_of(&here(), 0), key_of(&here(), 1));
    assert!(register(&db, "r1", &[&first]).await.0.is_ok());
    let (ended, left) = register(&db, "r1", &[&second]).await;
    assert!(matches!(ended, Ok(Outcome::Replayed(Receipt { serial: 7 }))), "{ended:?}");
    assert_eq!(left, 1);
    assert_eq!(items(&db, &second).await, []);
    let other = IdempotencyKey::new("/suite.v1.Suite/Register", "r1", b"another request").expect("a short id");
    let ended = db.register(other, || None, |_, _| Box::pin(async { Work::Ok(Receipt::default()) })).await;
    assert!(matches!(ended, Err(TxError::KeyInUse(KeyInUse::Conflict))), "{ended:?}");
}
