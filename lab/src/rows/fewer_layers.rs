//! 7.1: an order through ever fewer layers.

use super::{
    Case, Headline, Home, Row, Shop, Turn, Way,
    merged_service::{check, merged, order, split},
};

pub(super) const ROW: Row = Row {
    id: "7.1",
    what: "Fewer call layers",
    guide: "800 → 300 ms",
    lives: &[
        ("services/trade/src/store/place.rs", "`place_order`: merged services"),
        (
            "crates/service-runtime/src/mesh.rs",
            "`MeshChannel`: a service of the same process is called without a socket",
        ),
        ("client-sdk/src/network/world.rs", "`World::place`: straight to the home"),
    ],
    note: "Router → order service → router → payment service; the two in one process (in the other cell, whose router the \
           caller then stands beside); one service behind the router; one service, called straight. Each order is synced to disk. \
           With 32 callers the merged service is at the limit of its one database, which has one writer; the split's three \
           databases have three, and use more of both processors.",
    headline: Headline::Latency,
    cases: |shop| Box::pin(async move { Ok(cases(&shop)) }),
};

fn cases(shop: &Shop) -> Vec<Case> {
    let case = |name, callers| {
        let ways = vec![
            Way::new("two services", shop, two_services),
            Way::new("two services in one process", shop, one_process),
            Way::new("one service", shop, one_service),
            Way::new("one service, straight", shop, straight),
        ];
        Case { name, unit: "order", callers, ways }
    };
    vec![case("an order", 1), case("orders", 32)]
}

async fn two_services(shop: Shop, turn: Turn) -> anyhow::Result<()> {
    split(shop.routers(), order(&shop, Home::Here, turn)).await.map(drop)
}

async fn one_process(shop: Shop, turn: Turn) -> anyhow::Result<()> {
    split(shop.far_routers(), order(&shop, Home::Far, turn)).await.map(drop)
}

async fn one_service(shop: Shop, turn: Turn) -> anyhow::Result<()> {
    merged(shop.routers(), order(&shop, Home::Here, turn)).await.map(drop)
}

async fn straight(shop: Shop, turn: Turn) -> anyhow::Result<()> {
    let reply = shop.sdk().trade.place_order(order(&shop, Home::Here, turn)).await?;
    check(reply.value.order).map(drop)
}
