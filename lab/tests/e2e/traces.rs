//! Line 8: every call is one tree, and each layer has as many spans as its counter says.

use crate::{
    mesh::{Mesh, PLACE_ORDER, metric, order_of, products, register, top_up},
    stale_map::stale_router,
};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{
    collections::HashSet,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use testkit::{
    call::Caller,
    collector::{Collector, Seen, Trees, text},
};
use tokio::task::JoinSet;
use tonic::Code;

const ORDERS: u32 = 1000;
/// Of these, through a router with an old map.
const REDIRECTED: u32 = 10;
const USERS: usize = 20;

/// Waits until no span has come for a while.
async fn settled(collector: &Collector) -> Vec<Seen> {
    let (mut last, mut since) = (0, Instant::now());
    let limit = Instant::now() + Duration::from_secs(60);
    while Instant::now() < limit && since.elapsed() < Duration::from_secs(3) {
        let now = collector.len();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    collector.spans()
}

/// A layer: its counter, the labels of PlaceOrder in it, and how PlaceOrder's spans of it are told from others.
type Layer = (&'static str, &'static str, fn(&Seen) -> bool);

fn of_router(seen: &Seen) -> bool {
    seen.service.contains("router")
}

fn of_place_order(seen: &Seen) -> bool {
    seen.span.name.ends_with("TradeService/PlaceOrder")
}

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;

const LAYERS: [Layer; 5] = [
    ("cellmesh_router_calls_total", "PlaceOrder", |s| of_router(s) && s.span.kind == SERVER && of_place_order(s)),
    ("cellmesh_router_attempts_total", "PlaceOrder", |s| of_router(s) && s.span.kind == CLIENT && of_place_order(s)),
    ("cellmesh_server_calls_total", "PlaceOrder", |s| !of_router(s) && s.span.kind == SERVER && of_place_order(s)),
    ("cellmesh_db_transactions_total", "idempotent", |s| {
        s.span.name == "db.transaction"
            && text(&s.span.attributes, "db.operation.name").as_deref() == Some("idempotent")
    }),
    ("cellmesh_outbox_published_total", "", |s| s.span.kind == PRODUCER),
];

async fn counters(admins: &[SocketAddr]) -> anyhow::Result<Vec<f64>> {
    let mut sums = Vec::new();
    for (name, labels, _) in LAYERS {
        let mut sum = 0.0;
        for admin in admins {
            sum += metric(*admin, name, labels).await?;
        }
        sums.push(sum);
    }
    Ok(sums)
}

/// Says in a cell's database that a user is in the middle of a move, or at home again.
async fn set_state(db: &Path, user: &str, state: &str) -> anyhow::Result<()> {
    let options = SqliteConnectOptions::new().filename(db).busy_timeout(Duration::from_secs(5));
    let mut db = SqliteConnection::connect_with(&options).await?;
    let bucket = i64::from(cell_map::BucketId::of_bytes(user.as_bytes()).get());
    sqlx::query(
        "INSERT INTO cell_user (user_key, bucket, state, user_epoch, move_id, attempt) VALUES (?1, ?2, ?3, 0, ?4, 1)
         ON CONFLICT (user_key) DO UPDATE SET state = excluded.state",
    )
    .bind(user.as_bytes())
    .bind(bucket)
    .bind(state)
    .bind(format!("{:032x}", 7))
    .execute(&mut db)
    .await?;
    Ok(db.close().await?)
}

/// Places an order until it is known to be placed; the answer's code before that may only be ABORTED.
async fn place(caller: &mut Caller, user: &str, n: u32, sku: &str) -> anyhow::Result<()> {
    let (order, parent) = (order_of(user, &format!("order-{n}"), sku), trace_parent(n));
    loop {
        let answer = caller.message(PLACE_ORDER, &order, &[("traceparent", &parent)]).await?;
        match answer.code() {
            Some(Code::Ok) => return Ok(()),
            // The cancelled call may still run; it is the same order.
            Some(Code::Aborted) => tokio::time::sleep(Duration::from_millis(20)).await,
            _ => anyhow::bail!("order {n}: {:?}", answer.status()),
        }
    }
}

#[tokio::test]
async fn a_thousand_orders_are_a_thousand_trees() -> anyhow::Result<()> {
    let collector = Collector::start().await?;
    let mut mesh = Mesh::start_with(|config| config.otlp = Some(collector.url())).await?;
    let doors = [mesh.bj().front, mesh.sh().front];
    let product = products(doors[0]).await?.remove(0);
    let price = product.unit_price.expect("a price").minor_units;
    let mut ids = Vec::new();
    for n in 0..USERS {
        let user = register(doors[n % 2]).await?;
        let mut caller = Caller::connect(doors[n % 2]).await?;
        let paid = top_up(&mut caller, &user, "start", price * i64::from(ORDERS)).await?;
        assert_eq!(paid.code(), Some(Code::Ok), "{paid:?}");
        ids.push(user);
    }

    // Half of the orders come through the other cell's door. One in fifty is cancelled by its caller, then repeated.
    let ids = Arc::new(ids);
    let sku: Arc<str> = product.sku.clone().into();
    let plain = ORDERS - REDIRECTED - 1;
    let mut tasks = JoinSet::new();
    for task in 0..8u32 {
        let (ids, sku) = (ids.clone(), sku.clone());
        tasks.spawn(async move {
            let mut callers = [Caller::connect(doors[0]).await?, Caller::connect(doors[1]).await?];
            for n in (task..plain).step_by(8) {
                let user = &ids[n as usize % USERS];
                let caller = &mut callers[n as usize / USERS % 2];
                if is_hasty(n) {
                    let (order, hasty) = (order_of(user, &format!("order-{n}"), &sku), trace_parent(0xf000_0000 + n));
                    let headers = [("traceparent", &*hasty)];
                    let call = caller.message(PLACE_ORDER, &order, &headers);
                    // Too hasty a caller: its call is cut, what it began may finish.
                    let _ = tokio::time::timeout(Duration::from_micros(u64::from(n) * 7), call).await;
                }
                place(caller, user, n, &sku).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }

    // Some are redirected: asked of a router with an old map.
    let dir = tempfile::tempdir()?;
    let mut stale = stale_router(&mesh, dir.path()).await?;
    let mut caller = Caller::connect(stale.front).await?;
    for n in 0..REDIRECTED {
        place(&mut caller, &ids[2 * n as usize + 1], plain + n, &sku).await?;
    }
    assert_eq!(metric(stale.admin, "cellmesh_router_redirects_learnt_total", "").await?, f64::from(REDIRECTED));

    // One is parked and retried: its user is frozen when it comes.
    let (user, db) = (ids[0].clone(), mesh.bj().db_path.clone());
    set_state(&db, &user, "frozen").await?;
    let thaw = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        set_state(&db, &user, "home").await
    };
    let mut caller = Caller::connect(doors[1]).await?;
    let (placed, thawed) = tokio::join!(place(&mut caller, &user, ORDERS - 1, &sku), thaw);
    placed?;
    thawed?;

    // Events are delivered after their orders; then the counters stand still.
    let mut admins: Vec<SocketAddr> = mesh.cells.iter().flat_map(|c| [c.admin, c.services_admin]).collect();
    admins.push(stale.admin);
    let mut counted = counters(&admins).await?;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = counters(&admins).await?;
        if now == counted && now[4] >= f64::from(ORDERS) {
            break;
        }
        counted = now;
    }
    let pid = stale.child.id().expect("runs").to_string();
    assert!(std::process::Command::new("kill").arg(pid).status()?.success());
    stale.child.wait().await?;
    mesh.shutdown().await?;
    let spans = settled(&collector).await;

    let mut wrong = Vec::new();
    for ((name, labels, is), counted) in LAYERS.into_iter().zip(counted) {
        let seen = spans.iter().filter(|s| is(s)).count();
        println!("figure: {name}{{{labels}}} counted N={counted}, spans {seen}");
        if seen as f64 != counted {
            wrong.push(format!("{name}{{{labels}}} counted {counted}, but there are {seen} spans"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    let made = (0..ORDERS).chain((0..ORDERS).map(|n| 0xf000_0000 + n));
    let callers: HashSet<Vec<u8>> = made.map(|n| (u64::from(n) + 1).to_be_bytes().to_vec()).collect();
    let trees = Trees::of(spans, &callers);
    assert!(trees.orphans.is_empty(), "{} orphans, like {:?}", trees.orphans.len(), trees.orphans.first());
    let (mut delivered, mut redirected) = (0, 0);
    for n in 0..ORDERS {
        let of = |n| trees.traces.get(trace_id(n).to_be_bytes().as_slice()).cloned().unwrap_or_default();
        let mut spans = of(n);
        if is_hasty(n) {
            // What its cancelled call began was finished, and the repeated call got that answer.
            spans.extend(of(0xf000_0000 + n));
        }
        let count = |is: fn(&Seen) -> bool| spans.iter().filter(|s| is(s)).count();
        let whole = LAYERS.iter().all(|(_, _, is)| spans.iter().any(is));
        assert!(whole, "the tree of order {n} lacks a layer: {:#?}", names(&spans));
        delivered += usize::from(count(|s| s.span.name.ends_with("ActivityService/DeliverEvent")) > 0);
        redirected += usize::from(count(|s| !of_router(s) && s.span.kind == SERVER && of_place_order(s)) > 1);
    }
    println!(
        "figure: traces N={ORDERS} whole trees, {} traces in all, 0 orphans, {redirected} with a redirect or retry",
        trees.traces.len()
    );
    assert_eq!(delivered, ORDERS as usize, "every order's trace goes on to the consumer");
    assert!(redirected > REDIRECTED as usize, "redirects and the retry are in their orders' trees");
    Ok(())
}

/// Orders whose caller cancels his first call.
fn is_hasty(n: u32) -> bool {
    n % 50 == 7
}

fn names(spans: &[Seen]) -> Vec<String> {
    spans.iter().map(|s| format!("{} {} kind {}", s.service, s.span.name, s.span.kind)).collect()
}

fn trace_id(n: u32) -> u128 {
    (0xcafe_u128 << 100) | u128::from(n) << 8 | 1
}

fn trace_parent(n: u32) -> String {
    format!("00-{:032x}-{:016x}-01", trace_id(n), u64::from(n) + 1)
}
