//! 7.7: reads that are repeated within a request, and by many requests at once.

use super::{Case, Headline, Home, Row, Shop, Turn, Way};
use anyhow::ensure;
use client_sdk::RequestScope;
use shop_proto::{
    member_v1::{GetMemberRequest, member_service_client::MemberServiceClient},
    trade_v1::{GetWalletRequest, trade_service_client::TradeServiceClient},
};

pub(super) const ROW: Row = Row {
    id: "7.7",
    what: "No repeated calls",
    guide: "3×",
    lives: &[
        ("client-sdk/src/scope.rs", "`RequestScope::load`: what one request read"),
        ("client-sdk/src/flight.rs", "equal reads in flight become one call"),
    ],
    note: "A page has four parts, each of which reads the member and his wallet. \"one member's\": all callers read the same.",
    headline: Headline::Latency,
    cases: |shop| Box::pin(async move { Ok(cases(&shop)) }),
};

/// Parts of a page that each need both.
const PARTS: usize = 4;

fn cases(shop: &Shop) -> Vec<Case> {
    let case = |name, home, callers, same| {
        let at = &(shop.clone(), home, same);
        let mut ways =
            vec![Way::new("each part by itself", at, by_itself), Way::new("the request's scope", at, scoped)];
        if same {
            ways.insert(1, Way::new("single-flight, parts unchanged", at, single_flight));
        }
        Case { name, unit: "page", callers, ways }
    };
    vec![
        case("a member at home here", Home::Here, 1, false),
        case("a member at home 30 ms away", Home::Far, 1, false),
        case("one member's page, by many", Home::Here, 32, true),
    ]
}

fn user((shop, home, same): &(Shop, Home, bool), Turn { n }: Turn) -> String {
    shop.member(*home, if *same { 0 } else { n })
}

async fn by_itself(at: (Shop, Home, bool), turn: Turn) -> anyhow::Result<()> {
    let (user_id, pool) = (user(&at, turn), at.0.routers());
    for _ in 0..PARTS {
        let request = GetMemberRequest { user_id: user_id.clone() };
        let member = MemberServiceClient::new(pool.channel()).get_member(request).await?.into_inner();
        let request = GetWalletRequest { user_id: user_id.clone() };
        let wallet = TradeServiceClient::new(pool.channel()).get_wallet(request).await?.into_inner();
        ensure!(member.member.is_some() && wallet.wallet.is_some(), "a part without its data");
    }
    Ok(())
}

async fn single_flight(at: (Shop, Home, bool), turn: Turn) -> anyhow::Result<()> {
    let (user_id, sdk) = (user(&at, turn), at.0.sdk());
    for _ in 0..PARTS {
        let member = sdk.members.get_member(GetMemberRequest { user_id: user_id.clone() }).await?.value;
        let wallet = sdk.trade.get_wallet(GetWalletRequest { user_id: user_id.clone() }).await?.value;
        ensure!(member.member.is_some() && wallet.wallet.is_some(), "a part without its data");
    }
    Ok(())
}

async fn scoped(at: (Shop, Home, bool), turn: Turn) -> anyhow::Result<()> {
    let (user_id, sdk, scope) = (user(&at, turn), at.0.sdk(), RequestScope::default());
    for _ in 0..PARTS {
        let member = scope.load(sdk.members.get_member(GetMemberRequest { user_id: user_id.clone() })).await?.value;
        let wallet = scope.load(sdk.trade.get_wallet(GetWalletRequest { user_id: user_id.clone() })).await?.value;
        ensure!(member.member.is_some() && wallet.wallet.is_some(), "a part without its data");
    }
    Ok(())
}
