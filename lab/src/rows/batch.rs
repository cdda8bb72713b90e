//! 2.6: many of the same, by a loop of single calls, by one batch, and by single calls that the SDK puts together.

use super::{Case, Headline, Home, Row, Shop, Turn, Way};
use anyhow::ensure;
use client_sdk::CallOptions;
use futures_util::future::try_join_all;
use shop_proto::{
    catalog_v1::{GetProductRequest, catalog_service_client::CatalogServiceClient},
    follow_v1::{BatchFollowRequest, FollowRequest, follow_service_client::FollowServiceClient},
    member_v1::{BatchGetMembersRequest, GetMemberRequest, MemberResult, member_service_client::MemberServiceClient},
};

pub(super) const ROW: Row = Row {
    id: "2.6",
    what: "Single → batch calls",
    guide: "+200 %; inserts 3–5×",
    lives: &[
        ("proto/shop", "`batch` of a method's policy, and the batch RPCs"),
        ("client-sdk/src/batch/lane.rs", "single calls that travel together, callers unchanged"),
        ("services/member/src/store/follow.rs", "`follow`: many rows by one statement"),
    ],
    note: "A batch of products is one statement; members of a batch are fenced by one statement and read by another, from one \
           snapshot. \"callers unchanged\": single calls, made at once.",
    headline: Headline::Throughput,
    cases: |shop| Box::pin(async move { Ok(cases(&shop)) }),
};

/// Items of one page.
const ITEMS: usize = 40;
/// Rows of one write.
const ROWS: usize = 100;

fn cases(shop: &Shop) -> Vec<Case> {
    let read = |name, mixed| {
        let at = &(shop.clone(), mixed);
        let ways = vec![
            Way::new("a loop of single calls", at, by_loop),
            Way::new("single calls, callers unchanged", at, by_lanes),
            if mixed {
                Way::new("one batch, which the SDK splits", at, by_batch)
            } else {
                Way::new("one batch, the same client", at, by_plain_batch)
            },
        ];
        Case { name, unit: "page", callers: 1, ways }
    };
    let write = vec![
        Way::new("a loop of single calls", shop, follow_each),
        Way::new("one batch, one statement", shop, follow_all),
    ];
    let callers = |name, unit, product| {
        let at = |together| (shop.clone(), product, together);
        let ways = vec![
            Way::new("each by itself, through the router", &at(false), alone_by_router),
            Way::new("each by itself, straight", &at(false), one),
            Way::new("callers unchanged, put together", &at(true), one),
        ];
        Case { name, unit, callers: 64, ways }
    };
    vec![
        read("40 members at home here", false),
        read("40 members of both cells", true),
        Case { name: "following 100", unit: "100 rows", callers: 1, ways: write },
        callers("64 callers, one product each", "product", true),
        callers("64 callers, one member each", "member", false),
    ]
}

fn page(shop: &Shop, mixed: bool, Turn { n }: Turn) -> Vec<String> {
    let home = |at: usize| if mixed && at % 2 == 1 { Home::Far } else { Home::Here };
    (0..ITEMS).map(|at| shop.member(home(at), n + at)).collect()
}

async fn by_loop((shop, mixed): (Shop, bool), turn: Turn) -> anyhow::Result<()> {
    for user_id in page(&shop, mixed, turn) {
        let response =
            MemberServiceClient::new(shop.routers().channel()).get_member(GetMemberRequest { user_id }).await?;
        ensure!(response.into_inner().member.is_some(), "no member");
    }
    Ok(())
}

async fn by_lanes((shop, mixed): (Shop, bool), turn: Turn) -> anyhow::Result<()> {
    let members = &shop.sdk().members;
    let calls = page(&shop, mixed, turn).into_iter().map(|user_id| members.get_member(GetMemberRequest { user_id }));
    let replies = try_join_all(calls.map(IntoFuture::into_future)).await?;
    ensure!(replies.iter().all(|reply| reply.value.member.is_some()), "no member");
    Ok(())
}

fn check_batch(results: &[MemberResult]) -> anyhow::Result<()> {
    ensure!(results.len() == ITEMS && results.iter().all(|result| result.member.is_some()), "no member");
    Ok(())
}

async fn by_plain_batch((shop, mixed): (Shop, bool), turn: Turn) -> anyhow::Result<()> {
    let request = BatchGetMembersRequest { user_ids: page(&shop, mixed, turn) };
    let response = MemberServiceClient::new(shop.routers().channel()).batch_get_members(request).await?;
    check_batch(&response.get_ref().results)
}

async fn by_batch((shop, mixed): (Shop, bool), turn: Turn) -> anyhow::Result<()> {
    let request = BatchGetMembersRequest { user_ids: page(&shop, mixed, turn) };
    check_batch(&shop.sdk().members.batch_get_members(request).await?.value.results)
}

/// Nobody is followed twice.
fn targets(Turn { n }: Turn) -> impl Iterator<Item = String> {
    (0..ROWS).map(move |at| format!("new-{n}-{at}"))
}

async fn follow_each(shop: Shop, turn: Turn) -> anyhow::Result<()> {
    for target_id in targets(turn) {
        let request = FollowRequest { user_id: shop.member(Home::Here, turn.n), target_id };
        let response = FollowServiceClient::new(shop.routers().channel()).follow(request).await?;
        ensure!(response.into_inner().changed, "followed before");
    }
    Ok(())
}

async fn follow_all(shop: Shop, turn: Turn) -> anyhow::Result<()> {
    let request = BatchFollowRequest { user_id: shop.member(Home::Here, turn.n), target_ids: targets(turn).collect() };
    let response = FollowServiceClient::new(shop.routers().channel()).batch_follow(request).await?;
    ensure!(response.into_inner().changed_count as usize == ROWS, "followed before");
    Ok(())
}

type One = (Shop, bool, bool);

async fn alone_by_router((shop, product, _): One, Turn { n }: Turn) -> anyhow::Result<()> {
    let there = if product {
        let request = GetProductRequest { sku: shop.sku(n) };
        CatalogServiceClient::new(shop.routers().channel()).get_product(request).await?.get_ref().product.is_some()
    } else {
        let request = GetMemberRequest { user_id: shop.member(Home::Here, n) };
        MemberServiceClient::new(shop.routers().channel()).get_member(request).await?.get_ref().member.is_some()
    };
    ensure!(there, "not found");
    Ok(())
}

async fn one((shop, product, together): One, Turn { n }: Turn) -> anyhow::Result<()> {
    let mut options = CallOptions::default();
    // Equal calls would become one, of which this is not about.
    (options.no_batch, options.no_coalescing) = (!together, true);
    let there = if product {
        let request = GetProductRequest { sku: shop.sku(n) };
        shop.sdk().catalog.get_product(request).options(options).await?.value.product.is_some()
    } else {
        let request = GetMemberRequest { user_id: shop.member(Home::Here, n) };
        shop.sdk().members.get_member(request).options(options).await?.value.member.is_some()
    };
    ensure!(there, "not found");
    Ok(())
}
