//! Everything about one user, out of one database and into another (OWN-13).

use super::{Factory, SuiteError, Work, database, here, key_of, number, plain, put, seeded, soak};
use crate::{
    BoxFuture, Db, Engine, IdempotencyKey, Migration, OutboxEvent, Rows, Stream, TableSpec, Tx, UserData, UserTables,
    Value, WorkError, check_participants,
    conformance::{fence::nobody, idempotency::Receipt},
    own_participants,
    ownership::{Change, Events},
};
use cell_map::UserKey;
use rand::RngExt as _;
use std::sync::Arc;

type Participant<E> = Arc<dyn UserData<E>>;

fn participant<E: Engine>() -> Participant<E> {
    let tables = vec![
        TableSpec::new("suite_profile", &[]),
        TableSpec::new("suite_account", &["item"]),
        TableSpec::new("suite_note", &["note_id"]),
    ];
    Arc::new(UserTables::new("suite", tables))
}

fn own<E: Engine>() -> Participant<E> {
    Arc::new(own_participants())
}

/// Every page of a user's rows.
async fn export<E: Engine>(db: &Db<E>, of: &Participant<E>, key: &UserKey, limit: u32) -> Vec<Rows> {
    let (of, key) = (Arc::clone(of), key.clone());
    let read = db.global_read(move |tx| {
        Box::pin(async move {
            let (mut pages, mut from) = (vec![], None);
            loop {
                let page = of.export(tx.conn(), &key, from, limit).await?;
                assert!(page.rows.rows.len() <= limit as usize);
                pages.push(page.rows);
                from = page.next;
                if from.is_none() {
                    return Ok::<_, WorkError<SuiteError>>(pages);
                }
            }
        })
    });
    read.await.expect("export")
}

async fn import<E: Engine>(db: &Db<E>, to: &Participant<E>, key: &UserKey, pages: Vec<Rows>) {
    let (to, key) = (Arc::clone(to), key.clone());
    let written = db.global(move |tx| {
        Box::pin(async move {
            for rows in pages {
                to.import(tx.conn(), &key, rows).await?;
            }
            Work::Ok(())
        })
    });
    written.await.expect("import");
}

async fn digest<E: Engine>(db: &Db<E>, of: &Participant<E>, key: &UserKey) -> [u8; 32] {
    let (of, key) = (Arc::clone(of), key.clone());
    let read = db.global_read(move |tx| {
        Box::pin(async move { Ok::<_, WorkError<SuiteError>>(of.digest(tx.conn(), &key).await?) })
    });
    read.await.expect("digest")
}

async fn purge<E: Engine>(db: &Db<E>, of: &Participant<E>, key: &UserKey) -> u64 {
    let (of, key) = (Arc::clone(of), key.clone());
    let done = db.global(move |tx| Box::pin(async move { Work::Ok(of.purge(tx.conn(), &key).await?) }));
    done.await.expect("purge")
}

/// Random rows: NULLs, empty values, all bytes, extreme numbers.
async fn fill<E: Engine>(db: &Db<E>, user: &UserKey, rng: &mut rand::rngs::StdRng) {
    for item in 0..rng.random_range(1..30) {
        put(db, user, item * rng.random_range(1..1_000_000), rng.random_range(0..i64::MAX)).await.expect("home");
    }
    let mut notes = vec![];
    for n in 0..rng.random_range(0..20) {
        let mut maybe = |value: Value| if rng.random_bool(0.3) { Value::Null } else { value };
        let texts = ["", "'; DROP TABLE suite_note; --", "%_", "日本語", "\u{0}tail"];
        let text = maybe(texts[n % texts.len()].into());
        let picture = maybe((0..n as u8).map(|byte| byte.wrapping_mul(37)).collect::<Vec<u8>>().into());
        let weight = maybe(Value::Real(n as f64 / 3.0));
        notes.push(vec![user.as_bytes().into(), format!("n{n}").into(), text, picture, weight]);
    }
    let profile = vec![user.as_bytes().into(), format!("name {}", rng.random_range(0..100)).into()];
    let written = db.global(move |tx| {
        Box::pin(async move {
            tx.execute("INSERT INTO suite_profile (user_key, name) VALUES (?, ?)", profile).await?;
            for note in notes {
                let sql = "INSERT INTO suite_note (user_key, note_id, body, picture, weight) VALUES (?, ?, ?, ?, ?)";
                tx.execute(sql, note).await?;
            }
            Work::Ok(())
        })
    });
    written.await.expect("commits");
}

/// Whatever is exported imports, in pages of any size, into data with the same digest; one changed value changes it.
pub async fn an_export_imports_into_equal_data<F: Factory>(factory: &F) {
    let (_place, from) = database(factory).await;
    let (_place, to) = database(factory).await;
    let suite = participant();
    let mut rng = seeded("an_export_imports_into_equal_data");
    let users = if soak() { 500 } else { 12 };
    for n in 0..users {
        let user = key_of(&here(), n);
        fill(&from, &user, &mut rng).await;
        let limit = rng.random_range(1..12);
        let pages = export(&from, &suite, &user, limit).await;
        import(&to, &suite, &user, pages).await;
        let ours = digest(&from, &suite, &user).await;
        assert_eq!(digest(&to, &suite, &user).await, ours, "user {n}");
        assert_eq!(export(&to, &suite, &user, 1000).await, export(&from, &suite, &user, 1000).await);
        put(&to, &user, 0, 1).await.expect("home");
        assert_ne!(digest(&to, &suite, &user).await, ours, "one more unit in user {n}");
    }
    println!("figure: export_import N={users}");
}

/// A page that arrives twice, or again with newer rows, leaves what is newest.
pub async fn importing_twice_is_importing_once<F: Factory>(factory: &F) {
    let (_place, from) = database(factory).await;
    let (_place, to) = database(factory).await;
    let suite = participant();
    let user = key_of(&here(), 0);
    fill(&from, &user, &mut seeded("importing_twice_is_importing_once")).await;
    let first = export(&from, &suite, &user, 5).await;
    import(&to, &suite, &user, first.clone()).await;
    import(&to, &suite, &user, first).await;
    put(&from, &user, 0, 1).await.expect("home");
    let second = export(&from, &suite, &user, 5).await;
    import(&to, &suite, &user, second).await;
    assert_eq!(digest(&to, &suite, &user).await, digest(&from, &suite, &user).await);
}

/// A purge takes all of one user and nothing of another.
pub async fn a_purge_leaves_other_users_alone<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let suite = participant();
    let (ann, bob) = (key_of(&here(), 0), key_of(&here(), 1));
    let mut rng = seeded("a_purge_leaves_other_users_alone");
    fill(&db, &ann, &mut rng).await;
    fill(&db, &bob, &mut rng).await;
    let before = digest(&db, &suite, &bob).await;
    assert!(purge(&db, &suite, &ann).await > 0);
    assert_eq!(purge(&db, &suite, &ann).await, 0);
    let empty = digest(&db, &suite, &key_of(&here(), 2)).await;
    assert_eq!(digest(&db, &suite, &ann).await, empty);
    assert_eq!(digest(&db, &suite, &bob).await, before);
}

/// A user-scoped table without a participant, or with two, is named; so is one that does not exist.
pub async fn a_forgotten_table_is_found<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let suite = participant::<F::Engine>();
    let check = |participants: Vec<&'static str>| {
        let tables = participants.into_iter().map(|table| TableSpec::new(table, &["item"])).collect();
        UserTables::new("other", tables)
    };
    assert_eq!(check_participants(&db, &[&*suite]).await.expect("a read"), Ok(()));
    let nobody = check_participants(&db, &[]).await.expect("a read").expect_err("three tables are forgotten");
    assert_eq!(nobody.uncovered, ["suite_account", "suite_note", "suite_profile"]);
    let other = check(vec!["suite_account", "suite_gone"]);
    let wrong = check_participants(&db, &[&*suite, &other]).await.expect("a read").expect_err("two faults");
    assert_eq!((wrong.missing, wrong.doubled), (vec!["suite_gone".into()], vec!["suite_account".into()]));

    let sql = "CREATE TABLE suite_forgotten (id BIGINT PRIMARY KEY, user_key BIGINT)";
    let more = Migration { module: "suite", version: 2, name: "a table nobody thinks of", sql };
    let mut migrations = super::migrations::<F>();
    migrations.push(more);
    let db = factory.open(&place, super::settings(), &migrations).await.expect("open");
    let error = check_participants(&db, &[&*suite]).await.expect("a read").expect_err("one is forgotten");
    assert_eq!(error.uncovered, ["suite_forgotten"]);
    assert!(error.to_string().contains("suite_forgotten"), "{error}");
}

/// Work that does nothing but answer.
fn answer<E: Engine>(
    serial: i64,
) -> impl for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Work<Receipt>> + Send + 'static {
    move |_| Box::pin(async move { Ok(Receipt { serial }) })
}

/// Undelivered events and the answers of idempotency keys go with their user; delivered events do not. At the target
/// nothing is delivered before the user is home.
pub async fn undelivered_events_move_with_their_user<F: Factory>(factory: &F) {
    let (_place, from) = database(factory).await;
    let (_place, to) = database(factory).await;
    let user = key_of(&here(), 0);
    for n in 0..4_u8 {
        let request = plain(&user);
        let emitted = from.fenced(&request, move |tx| {
            Box::pin(async move { Work::Ok(tx.emit(OutboxEvent::new("suite.event", [n])).await?) })
        });
        emitted.await.expect("home");
    }
    let request = || IdempotencyKey::new("/suite.v1.Suite/Add", "r1", b"b").expect("a short id");
    from.idempotent(&plain(&user), request(), answer(1)).await.expect("runs");
    let rows = from.outbox(Stream::Events).next_batch(0, 10).await.expect("rows");
    from.outbox(Stream::Events).mark_done(&[rows[0].id]).await.expect("marked");
    let hand = from.user_step(&user, nobody(), |_, rows| {
        Ok::<_, SuiteError>(Change { events: Some(Events::Hand), ..Change::new(rows.clone(), ()) })
    });
    hand.await.expect("a step");

    let own = own();
    let pages = export(&from, &own, &user, 2).await;
    import(&to, &own, &user, pages).await;
    assert_eq!(digest(&to, &own, &user).await, digest(&from, &own, &user).await);
    assert_eq!(to.outbox(Stream::Events).next_batch(0, 10).await.expect("rows"), [], "not home yet");
    let release = to.user_step(&user, nobody(), |_, rows| {
        Ok::<_, SuiteError>(Change { events: Some(Events::Release), ..Change::new(rows.clone(), ()) })
    });
    release.await.expect("a step");
    let moved = to.outbox(Stream::Events).next_batch(0, 10).await.expect("rows");
    let facts = |rows: &[crate::OutboxRow]| {
        rows.iter().map(|row| (row.event_id.clone(), row.sequence, row.payload.clone())).collect::<Vec<_>>()
    };
    assert_eq!(facts(&moved), facts(&rows[1..]));
    let replayed = to.idempotent(&plain(&user), request(), answer(2)).await.expect("replayed");
    assert_eq!(replayed, crate::Outcome::Replayed(Receipt { serial: 1 }));
    assert!(purge(&from, &own, &user).await > 0);
    assert_eq!(number(&from, "SELECT COUNT(*) FROM outbox").await, 0);
}
