//! 2.5: whether a member follows an author, asked of the follow service or decided in the client by streamed data.

use super::{Case, Headline, Home, Row, Shop, Turn, Way, shop::FOLLOWED};
use anyhow::{Context as _, ensure};
use client_sdk::Source;
use shop_proto::{
    follow_v1::{IsFollowingRequest, follow_service_client::FollowServiceClient},
    member_v1::{GetMemberRequest, member_service_client::MemberServiceClient},
};
use std::time::Duration;
use tokio::time::{sleep, timeout};

pub(super) const ROW: Row = Row {
    id: "2.5",
    what: "Client tool methods",
    guide: "+30 % throughput",
    lives: &[
        ("services/client/src/logic/follow.rs", "`FollowCheck`"),
        ("client-sdk/src/local/answer.rs", "the data's lease, and the comparison with the server's answer"),
    ],
    note: "The check alone, and an author's page: a profile (called the same way each time) and the check. The data is in, and \
           one answer in a thousand is compared with the server's behind the caller's back.",
    headline: Headline::Throughput,
    cases: |shop| Box::pin(cases(shop)),
};

async fn cases(shop: Shop) -> anyhow::Result<Vec<Case>> {
    for home in [Home::Here, Home::Far] {
        timeout(Duration::from_secs(30), stream(&shop, home)).await.context("never answered inside")??;
    }
    let case = |name, unit, home, callers, page| {
        let at = |local| (shop.clone(), home, Kind { page, local });
        let ways = vec![Way::new("called", &at(false), act), Way::new("decided in the client", &at(true), act)];
        Case { name, unit, callers, ways }
    };
    Ok(vec![
        case("the check alone", "check", Home::Here, 1, false),
        case("an author's page", "page", Home::Here, 32, true),
        case("an author's page, the reader at home 30 ms away", "page", Home::Far, 32, true),
    ])
}

/// Waits until the data of all members of a cell is in.
async fn stream(shop: &Shop, home: Home) -> anyhow::Result<()> {
    for n in 0..shop.members(home).len() {
        while !matches!(shop.sdk().follows.is_following(ask(shop, home, n)).await?.source, Source::Local { .. }) {
            sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Kind {
    page: bool,
    local: bool,
}

/// One of two is followed.
fn author(n: usize) -> usize {
    n / 7 % (2 * FOLLOWED)
}

fn ask(shop: &Shop, home: Home, n: usize) -> IsFollowingRequest {
    IsFollowingRequest { user_id: shop.member(home, n), target_id: format!("author-{}", author(n)) }
}

async fn act((shop, home, kind): (Shop, Home, Kind), Turn { n }: Turn) -> anyhow::Result<()> {
    if kind.page {
        let request = GetMemberRequest { user_id: shop.member(Home::Here, n / 3) };
        let member = MemberServiceClient::new(shop.routers().channel()).get_member(request).await?;
        ensure!(member.into_inner().member.is_some(), "no author");
    }
    let request = ask(&shop, home, n);
    let follows = if kind.local {
        shop.sdk().follows.is_following(request).await?.value
    } else {
        FollowServiceClient::new(shop.routers().channel()).is_following(request).await?.into_inner()
    };
    ensure!(follows.following == author(n).is_multiple_of(2), "a wrong answer");
    Ok(())
}
