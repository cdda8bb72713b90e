//! 2.7: a member's home page, whose five parts do not depend on each other.

use super::{Case, Headline, Home, Row, Shop, Turn, Way, shop::orders};
use anyhow::ensure;
use client_sdk::fanout;
use shop_proto::{
    follow_v1::{ListFollowingRequest, ListFollowingResponse, follow_service_client::FollowServiceClient},
    member_v1::{
        GetMemberRequest, GetMemberResponse, ListActivitiesRequest, ListActivitiesResponse,
        activity_service_client::ActivityServiceClient, member_service_client::MemberServiceClient,
    },
    trade_v1::{
        GetWalletRequest, GetWalletResponse, ListOrdersRequest, ListOrdersResponse,
        trade_service_client::TradeServiceClient,
    },
};

pub(super) const ROW: Row = Row {
    id: "2.7",
    what: "Parallel calls",
    guide: "800 → 300 ms",
    lives: &[("client-sdk/src/fanout.rs", "`fanout!`"), ("lab/src/rows/parallel.rs", "a member's home page")],
    note: "A page is profile, wallet, five orders, five activities and ten of those whom the member follows, all at his home.",
    headline: Headline::Latency,
    cases: |shop| Box::pin(cases(shop)),
};

async fn cases(shop: Shop) -> anyhow::Result<Vec<Case>> {
    orders(&shop, Home::Here).await?;
    orders(&shop, Home::Far).await?;
    let case = |name, home| {
        let at = &(shop.clone(), home);
        let ways = vec![
            Way::new("one after the other", at, serial),
            Way::new("at once, the same client", at, parallel),
            Way::new("fan-out of the SDK", at, fan_out),
        ];
        Case { name, unit: "page", callers: 1, ways }
    };
    Ok(vec![case("a member at home here", Home::Here), case("a member at home 30 ms away", Home::Far)])
}

/// What a page asks for.
struct Page {
    member: GetMemberRequest,
    wallet: GetWalletRequest,
    orders: ListOrdersRequest,
    activities: ListActivitiesRequest,
    following: ListFollowingRequest,
}

impl Page {
    fn of(shop: &Shop, home: Home, Turn { n }: Turn) -> Self {
        let user_id = || shop.member(home, n);
        let page_token = String::new;
        Self {
            member: GetMemberRequest { user_id: user_id() },
            wallet: GetWalletRequest { user_id: user_id() },
            orders: ListOrdersRequest { user_id: user_id(), page_size: 5, page_token: page_token() },
            activities: ListActivitiesRequest { user_id: user_id(), page_size: 5, page_token: page_token() },
            following: ListFollowingRequest { user_id: user_id(), page_size: 10, page_token: page_token() },
        }
    }
}

/// Activities, the fifth part, come by events, a moment after the orders.
fn check(
    member: &GetMemberResponse,
    wallet: &GetWalletResponse,
    orders: &ListOrdersResponse,
    following: &ListFollowingResponse,
) -> anyhow::Result<()> {
    let there = member.member.is_some() && wallet.wallet.is_some();
    ensure!(there && orders.orders.len() == 5 && following.target_ids.len() == 10, "a page without its parts");
    Ok(())
}

async fn serial((shop, home): (Shop, Home), turn: Turn) -> anyhow::Result<()> {
    let (page, pool) = (Page::of(&shop, home, turn), shop.routers());
    let member = MemberServiceClient::new(pool.channel()).get_member(page.member).await?;
    let wallet = TradeServiceClient::new(pool.channel()).get_wallet(page.wallet).await?;
    let orders = TradeServiceClient::new(pool.channel()).list_orders(page.orders).await?;
    ActivityServiceClient::new(pool.channel()).list_activities(page.activities).await?;
    let following = FollowServiceClient::new(pool.channel()).list_following(page.following).await?;
    check(member.get_ref(), wallet.get_ref(), orders.get_ref(), following.get_ref())
}

async fn parallel((shop, home): (Shop, Home), turn: Turn) -> anyhow::Result<()> {
    let (page, pool) = (Page::of(&shop, home, turn), shop.routers());
    let (mut members, mut wallets) =
        (MemberServiceClient::new(pool.channel()), TradeServiceClient::new(pool.channel()));
    let (mut trade, mut doings) = (TradeServiceClient::new(pool.channel()), ActivityServiceClient::new(pool.channel()));
    let mut follows = FollowServiceClient::new(pool.channel());
    let (member, wallet, orders, _, following) = tokio::try_join!(
        members.get_member(page.member),
        wallets.get_wallet(page.wallet),
        trade.list_orders(page.orders),
        doings.list_activities(page.activities),
        follows.list_following(page.following),
    )?;
    check(member.get_ref(), wallet.get_ref(), orders.get_ref(), following.get_ref())
}

async fn fan_out((shop, home): (Shop, Home), turn: Turn) -> anyhow::Result<()> {
    let (asked, sdk) = (Page::of(&shop, home, turn), shop.sdk());
    let page = fanout!(
        core: member = sdk.members.get_member(asked.member), wallet = sdk.trade.get_wallet(asked.wallet);
        optional:
            orders = sdk.trade.list_orders(asked.orders) => ListOrdersResponse::default(),
            activities = sdk.activities.list_activities(asked.activities) => ListActivitiesResponse::default(),
            following = sdk.follows.list_following(asked.following) => ListFollowingResponse::default()
    )
    .await?;
    check(&page.member, &page.wallet, &page.orders, &page.following)
}
