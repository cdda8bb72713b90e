use crate::cell::{Cell, database, order};
use cell_map::UserKey;
use std::sync::Arc;
use storage::{BoxFuture, Db, DbConfig, Tx, TxError, UserData, WorkError, check_participants};

fn participants() -> Vec<Arc<dyn UserData>> {
    cell_services::services().iter().flat_map(|service| service.participants()).collect()
}

async fn open(dir: &std::path::Path, cell: &str) -> Db {
    let migrations: Vec<_> = cell_services::services().iter().flat_map(|service| service.migrations()).collect();
    Db::open(DbConfig::new(database(dir), crate::cell::id(cell)), &migrations).await.expect("opens")
}

async fn write<T: Send + 'static>(
    db: &Db,
    work: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, WorkError<String>>> + Send + 'static,
) -> T {
    db.global(work).await.unwrap_or_else(|error: TxError<String>| panic!("{error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_with_users_data_moves_with_them() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let db = open(dir.path(), "bj-1").await;
    let all = participants();
    let all: Vec<&dyn UserData> = all.iter().map(|participant| &**participant).collect();
    check_participants(&db, &all).await.expect("readable").expect("every table is covered");
    let fault = check_participants(&db, &all[..1]).await.expect("readable").expect_err("trade is left out");
    assert!(fault.uncovered.contains(&"trade_order".to_owned()), "{fault}");
}

/// A user's rows of every service arrive whole in another cell's database, and leave nothing behind when purged.
#[tokio::test(flavor = "multi_thread")]
async fn a_users_data_survives_its_copy() {
    let cell = Cell::start().await;
    cell.sell("tea", 100, 50).await;
    let (ann, bob) = (cell.rich(9_000).await, cell.rich(9_000).await);
    for n in 0..5 {
        for user in [&ann, &bob] {
            cell.place(order(user, &format!("r-{n}"), &[("tea", 1)])).await.expect("placed");
        }
    }
    let listed = async |user_id: &str| {
        let asked = shop_proto::member_v1::ListActivitiesRequest { user_id: user_id.into(), ..Default::default() };
        cell.activity().list_activities(asked).await.expect("at home").into_inner().activities.len()
    };
    crate::cell::eventually("orders are activities", async || listed(&ann).await == 5).await;

    let source = cell.running.context().db.clone();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = open(dir.path(), "sh-1").await;
    let key = UserKey::from_text(&ann).expect("a key");
    for participant in participants() {
        let (copied, key) = (Arc::clone(&participant), key.clone());
        let (pages, digest) = write(&source, move |tx| {
            Box::pin(async move {
                let (mut pages, mut from) = (Vec::new(), None);
                loop {
                    let page = copied.export(tx.conn(), &key, from, 3).await?;
                    pages.push(page.rows);
                    from = page.next;
                    if from.is_none() {
                        break;
                    }
                }
                Ok((pages, copied.digest(tx.conn(), &key).await?))
            })
        })
        .await;
        assert!(pages.iter().any(|page| !page.rows.is_empty()), "{} has nothing of Ann", participant.name());
        let (copied, key) = (Arc::clone(&participant), UserKey::from_text(&ann).expect("a key"));
        let arrived = write(&target, move |tx| {
            Box::pin(async move {
                for page in pages {
                    copied.import(tx.conn(), &key, page).await?;
                }
                Ok(copied.digest(tx.conn(), &key).await?)
            })
        })
        .await;
        assert_eq!(arrived, digest, "{} arrives whole", participant.name());
    }
    assert_eq!(
        crate::audit::number(&database(dir.path()), "SELECT SUM(amount_minor) FROM trade_posting").await,
        0,
        "her ledger sums to zero where she is now"
    );
}
