//! 2.4: a member's profile by a service that only asks another one, through the router, and straight from his home.

use super::{Case, Headline, Home, Row, Shop, Turn, Way};
use crate::split::proto::middle_service_client::MiddleServiceClient;
use anyhow::ensure;
use client_sdk::CallOptions;
use shop_proto::member_v1::{GetMemberRequest, GetMemberResponse, member_service_client::MemberServiceClient};

/// Cases that `cargo lab sdk` measures, too.
pub(super) const NEAR: &str = "a member at home here";
/// The other one.
pub(super) const NEAR_BUSY: &str = "members at home here";

pub(super) const ROW: Row = Row {
    id: "2.4",
    what: "Drop the middle service",
    guide: "−20 % latency",
    lives: &[
        (
            "client-sdk/src/network/world.rs",
            "`World::place`: an instance in the user's home, the router only after misses",
        ),
        ("docs/ARCHITECTURE.md", "what a router does that a client then does"),
    ],
    note: "One call, GetMember. The SDK neither batches nor coalesces here. A service in the middle is called through the router, and calls through it.",
    headline: Headline::Latency,
    cases: |shop| Box::pin(async move { Ok(cases(&shop)) }),
};

pub(super) fn cases(shop: &Shop) -> Vec<Case> {
    let ways = |home| {
        let at = &(shop.clone(), home);
        [Way::new("through the router", at, by_router), Way::new("straight, by the SDK", at, straight)]
    };
    let case = |name, home, callers| Case { name, unit: "call", callers, ways: ways(home).into() };
    let middle = Way::new("by a service that asks another", &(shop.clone(), Home::Here), by_middle);
    vec![
        case(NEAR, Home::Here, 1),
        case(NEAR_BUSY, Home::Here, 32),
        case("a member at home 30 ms away", Home::Far, 1),
        Case {
            name: "a service in the middle",
            unit: "call",
            callers: 1,
            ways: [middle].into_iter().chain(ways(Home::Here)).collect(),
        },
    ]
}

fn ask(shop: &Shop, home: Home, Turn { n }: Turn) -> GetMemberRequest {
    GetMemberRequest { user_id: shop.member(home, n) }
}

fn check(response: &GetMemberResponse) -> anyhow::Result<()> {
    ensure!(response.member.is_some(), "no member");
    Ok(())
}

async fn by_middle((shop, home): (Shop, Home), turn: Turn) -> anyhow::Result<()> {
    let mut client = MiddleServiceClient::new(shop.routers().channel());
    check(client.get_member(ask(&shop, home, turn)).await?.get_ref())
}

async fn by_router((shop, home): (Shop, Home), turn: Turn) -> anyhow::Result<()> {
    let mut client = MemberServiceClient::new(shop.routers().channel());
    check(client.get_member(ask(&shop, home, turn)).await?.get_ref())
}

async fn straight((shop, home): (Shop, Home), turn: Turn) -> anyhow::Result<()> {
    let mut options = CallOptions::default();
    (options.no_batch, options.no_coalescing) = (true, true);
    check(&shop.sdk().members.get_member(ask(&shop, home, turn)).options(options).await?.value)
}
