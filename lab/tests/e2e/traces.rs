//! Line 8: every call is one tree, and each layer has as many spans as its counter says.

use crate::mesh::{Mesh, PLACE_ORDER, metric, order_of, products, register, scale, top_up};
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use testkit::{
    call::Caller,
    collector::{Collector, Seen, Trees, text},
};
use tokio::task::JoinSet;

/// Waits until no span has come for a while.
async fn settled(collector: &Collector) -> Vec<Seen> {
    let (mut last, mut since) = (0, Instant::now());
    let limit = Instant::now() + Duration::from_secs(60);
    while Instant::now() < limit {
        let now = collector.len();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > Duration::from_secs(8) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    collector.spans()
}

/// Layers: the counter, and how its spans are told from others.
const LAYERS: [(&str, fn(&Seen) -> bool); 5] = [
    ("cellmesh_router_calls_total", |s| s.service.contains("router") && s.span.kind == 2),
    ("cellmesh_router_attempts_total", |s| s.service.contains("router") && s.span.kind == 3),
    ("cellmesh_server_calls_total", |s| !s.service.contains("router") && s.span.kind == 2),
    ("cellmesh_db_transactions_total", |s| s.span.name == "db.transaction"),
    ("cellmesh_outbox_published_total", |s| s.span.kind == 4),
];

async fn counters(admins: &[SocketAddr]) -> anyhow::Result<HashMap<&'static str, f64>> {
    let mut sums = HashMap::new();
    for (name, _) in LAYERS {
        for admin in admins {
            *sums.entry(name).or_default() += metric(*admin, name, "").await?;
        }
    }
    Ok(sums)
}

#[tokio::test]
async fn a_thousand_orders_are_a_thousand_trees() -> anyhow::Result<()> {
    let collector = Collector::start().await?;
    let mut mesh = Mesh::start_with(|config| config.otlp = Some(collector.url())).await?;
    let doors = [mesh.bj().front, mesh.sh().front];
    let product = products(doors[0]).await?.remove(0);
    let price = product.unit_price.expect("a price").minor_units;
    let orders = scale(1000, 1000);
    let users = 20;
    let mut ids = Vec::new();
    for n in 0..users {
        let door = doors[n % 2];
        let user = register(door).await?;
        let mut caller = Caller::connect(door).await?;
        let paid = top_up(&mut caller, &user, "start", price * i64::from(orders)).await?;
        assert_eq!(paid.code(), Some(tonic::Code::Ok), "{paid:?}");
        ids.push(user);
    }

    // Half of the orders come through the other cell's door. One in fifty is cancelled by its caller, then repeated.
    let ids = Arc::new(ids);
    let sku: Arc<str> = product.sku.clone().into();
    let mut tasks = JoinSet::new();
    for task in 0..8u32 {
        let (ids, sku) = (ids.clone(), sku.clone());
        tasks.spawn(async move {
            let mut made = Vec::new();
            let mut callers = [Caller::connect(doors[0]).await?, Caller::connect(doors[1]).await?];
            for n in (task..orders).step_by(8) {
                let user = &ids[n as usize % users];
                let order = order_of(user, &format!("order-{n}"), &sku);
                let caller = &mut callers[n as usize / users % 2];
                if n % 50 == 7 {
                    let hasty = trace_parent(0xf000_0000 + n);
                    let call = caller.message(PLACE_ORDER, &order, &[("traceparent", &hasty)]);
                    // Too hasty a caller: its call is cut, what it began may finish.
                    let _ = tokio::time::timeout(Duration::from_micros(u64::from(n) * 7), call).await;
                }
                let parent = trace_parent(n);
                let answer = loop {
                    let answer = caller.message(PLACE_ORDER, &order, &[("traceparent", &parent)]).await?;
                    // The cancelled call may still run; it is the same order.
                    if answer.code() != Some(tonic::Code::Aborted) {
                        break answer;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                };
                anyhow::ensure!(answer.code() == Some(tonic::Code::Ok), "order {n}: {:?}", answer.status());
                made.push(n);
            }
            Ok(made.len())
        });
    }
    let mut made = 0;
    while let Some(done) = tasks.join_next().await {
        made += done??;
    }
    assert_eq!(made, orders as usize);

    tokio::time::sleep(Duration::from_secs(3)).await;
    let admins: Vec<SocketAddr> = mesh.cells.iter().flat_map(|c| [c.admin, c.services_admin]).collect();
    let before = counters(&admins).await?;
    let mut now = before.clone();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let next = counters(&admins).await?;
        if next == now {
            break;
        }
        now = next;
    }
    mesh.shutdown().await?;
    let spans = settled(&collector).await;

    for (name, is) in LAYERS {
        let seen = spans.iter().filter(|s| is(s)).count();
        println!("figure: {name} N={} spans {seen}", now[name]);
        // Background streams may begin or end between reading the counters and the end of the processes.
        assert!((seen as f64 - now[name]).abs() <= 12.0, "{name}: {} counted, {seen} spans", now[name]);
    }

    let callers: HashSet<Vec<u8>> = (0..orders)
        .chain((0..orders).map(|n| 0xf000_0000 + n))
        .map(|n| u64::from(n + 1).to_be_bytes().to_vec())
        .collect();
    let trees = Trees::of(spans, &callers);
    assert!(trees.orphans.is_empty(), "{} orphans, like {:?}", trees.orphans.len(), trees.orphans.first());
    let mut whole = 0;
    for n in 0..orders {
        let spans = trees.traces.get(&trace_id(n).to_be_bytes().to_vec()).cloned().unwrap_or_default();
        let has = |f: fn(&Seen) -> bool| spans.iter().any(f);
        let complete = has(|s| s.service.contains("router") && s.span.kind == 2)
            && has(|s| !s.service.contains("router") && s.span.kind == 2)
            && has(|s| s.span.name == "db.transaction")
            && spans.iter().all(|s| {
                s.service.contains("router")
                    || text(&s.span.attributes, "cell.id").is_some()
                    || s.span.name == "db.transaction"
                    || s.span.kind == 4
                    || s.span.kind == 1
            });
        assert!(complete, "order {n} is no whole tree: {spans:#?}");
        whole += 1;
    }
    println!("figure: traces N={whole} whole trees, {} traces in all, 0 orphans", trees.traces.len());
    let consumed = trees.traces.values().filter(|t| {
        t.iter().any(|s| s.span.name.contains("PlaceOrder")) && t.iter().any(|s| s.span.name.contains("DeliverEvent"))
    });
    let consumed = consumed.count();
    assert!(consumed >= orders as usize * 95 / 100, "only {consumed} orders' traces go on to the consumer");
    Ok(())
}

fn trace_id(n: u32) -> u128 {
    (0xcafe_u128 << 100) | u128::from(n) << 8 | 1
}

fn trace_parent(n: u32) -> String {
    format!("00-{:032x}-{:016x}-01", trace_id(n), u64::from(n) + 1)
}
