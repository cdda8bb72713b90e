//! Lines 2 and 3: the shop by reflection, homes, hops, and what forged metadata does (nothing).

use crate::{
    grpcurl,
    mesh::{GET_MEMBER, Mesh, balance, get_member, http_get, order_of, products, register, top_up},
};
use shop_proto::{member_v1 as member, trade_v1 as trade};
use testkit::call::Caller;
use tonic::Code;

#[tokio::test]
async fn a_newcomer_finds_the_shop_with_grpcurl() -> anyhow::Result<()> {
    let mut mesh = Mesh::start().await?;
    for (cell, door, admin) in mesh.cells.iter().map(|c| (c.id.clone(), c.front, c.admin)) {
        let list = grpcurl::run(&[], door, &["list"]).await?;
        for service in [
            "shop.member.v1.MemberService",
            "shop.catalog.v1.CatalogService",
            "shop.campaign.v1.CampaignService",
            "shop.trade.v1.PricingService",
            "shop.trade.v1.TradeService",
            "grpc.health.v1.Health",
        ] {
            assert!(list.lines().any(|l| l == service), "{cell} does not list {service}:\n{list}");
        }
        let described = grpcurl::run(&[], door, &["describe", "shop.trade.v1.TradeService"]).await?;
        assert!(described.contains("rpc PlaceOrder ( .shop.trade.v1.PlaceOrderRequest )"), "{described}");
        let health = grpcurl::run(&[], door, &["grpc.health.v1.Health/Check"]).await?;
        assert!(health.contains("SERVING"), "{health}");
        assert_eq!(http_get(admin, "/readyz").await?.0, 200);

        let told = grpcurl::run(&["-d", "{}"], door, &["shop.member.v1.MemberService/Register"]).await?;
        let told: serde_json::Value = serde_json::from_str(&told)?;
        let user = told["userId"].as_str().expect("an id").to_owned();
        let body = format!("{{\"user_id\": \"{user}\"}}");
        let seen = grpcurl::run(&["-v", "-d", &body], door, &["shop.member.v1.MemberService/GetMember"]).await?;
        assert!(
            seen.contains(&format!("cellmesh-cell: {cell}")),
            "a user registered at {cell}'s door lives there:\n{seen}"
        );
        assert!(seen.contains("cellmesh-hops: 0"), "{seen}");
    }
    mesh.shutdown().await
}

#[tokio::test]
async fn every_door_leads_home_and_forged_metadata_leads_nowhere_else() -> anyhow::Result<()> {
    let mut mesh = Mesh::start().await?;
    let (bj, sh) = (mesh.bj().front, mesh.sh().front);
    let (bj_user, sh_user) = (register(bj).await?, register(sh).await?);
    let forged: &[(&str, &str)] = &[
        ("cellmesh-hops", "1"),
        ("cellmesh-map-epoch", "999999"),
        ("cellmesh-user-epoch", "999999"),
        ("cellmesh-bucket-epoch", "999999"),
        ("cellmesh-cell", "bj-1"),
        ("cellmesh-peer-token", "forged"),
        ("cellmesh-unprocessed", "1"),
    ];
    for (door, user, home, hops) in [
        (bj, &sh_user, "sh-1", "1"),
        (sh, &sh_user, "sh-1", "0"),
        (sh, &bj_user, "bj-1", "1"),
        (bj, &bj_user, "bj-1", "0"),
    ] {
        for extra in [&[][..], forged] {
            let answer = get_member(door, user, extra).await?;
            assert_eq!(answer.code(), Some(Code::Ok), "{answer:?}");
            assert_eq!(answer.header("cellmesh-cell"), Some(home), "{extra:?}");
            assert_eq!(answer.header("cellmesh-hops"), Some(hops), "{extra:?}");
            let got = answer.message::<member::GetMemberResponse>()?.member.expect("a member");
            assert_eq!(&got.user_id, user);
        }
    }

    // A key in the metadata is a hint: alone it routes nothing that has a key, and it may not contradict the message.
    let contradicting = get_member(bj, &sh_user, &[("cellmesh-user", &bj_user)]).await?;
    assert_eq!(contradicting.code(), Some(Code::InvalidArgument));
    assert_eq!(contradicting.error_info().expect("ErrorInfo").reason, "BAD_REQUEST");
    let agreeing = get_member(bj, &sh_user, &[("cellmesh-user", &sh_user)]).await?;
    assert_eq!(agreeing.code(), Some(Code::Ok));

    // A service called directly serves nobody else's user, whatever the metadata claims.
    let direct = mesh.bj().services_front;
    for extra in [&[][..], forged, &[("cellmesh-user", bj_user.as_str())]] {
        let answer = get_member(direct, &sh_user, extra).await?;
        let reason = answer.error_info().expect("ErrorInfo").reason;
        assert!(["WRONG_CELL", "BAD_REQUEST"].contains(&reason.as_str()), "{extra:?}: {answer:?}");
        assert!(answer.body.is_empty(), "no data comes with a refusal");
    }
    let mut caller = Caller::connect(direct).await?;
    let foreign = top_up(&mut caller, &sh_user, "forged", 100).await?;
    assert_eq!(foreign.error_info().expect("ErrorInfo").reason, "WRONG_CELL");
    let mut caller = Caller::connect(sh).await?;
    assert_eq!(balance(&mut caller, &sh_user).await?, 0, "the refused top-up left nothing");

    // Without the token, a peer listener is closed.
    let peer = get_member(mesh.sh().peer, &sh_user, &[("cellmesh-hops", "1")]).await?;
    assert_eq!(peer.code(), Some(Code::Unauthenticated), "{peer:?}");
    let peer = get_member(mesh.bj().services_peer, &bj_user, &[("cellmesh-peer-token", "wrong")]).await?;
    assert_eq!(peer.code(), Some(Code::Unauthenticated), "{peer:?}");
    mesh.shutdown().await
}

#[tokio::test]
async fn one_request_id_is_one_order_and_one_charge() -> anyhow::Result<()> {
    let mut mesh = Mesh::start().await?;
    let (bj, sh) = (mesh.bj().front, mesh.sh().front);
    let user = register(sh).await?;
    let product = products(bj).await?.remove(0);
    let price = product.unit_price.expect("a price").minor_units;
    let mut caller = Caller::connect(bj).await?;
    let paid = top_up(&mut caller, &user, "top-up-1", price * 5).await?;
    assert_eq!(paid.code(), Some(Code::Ok), "{paid:?}");

    let order = order_of(&user, "order-1", &product.sku);
    let mut ids = Vec::new();
    for door in [bj, sh, bj] {
        let answer = Caller::connect(door).await?.message(crate::mesh::PLACE_ORDER, &order, &[]).await?;
        assert_eq!(answer.header("cellmesh-cell"), Some("sh-1"));
        ids.push(answer.message::<trade::PlaceOrderResponse>()?.order.expect("an order").order_id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "one request_id, one order");
    assert_eq!(balance(&mut caller, &user).await?, price * 4, "charged once");

    let mut other = order.clone();
    other.lines[0].quantity = 2;
    let conflict = caller.message(crate::mesh::PLACE_ORDER, &other, &[]).await?;
    assert_eq!(conflict.code(), Some(Code::FailedPrecondition));
    assert_eq!(conflict.error_info().expect("ErrorInfo").reason, "IDEMPOTENCY_CONFLICT");
    let cross = caller.message(GET_MEMBER, &member::GetMemberRequest { user_id: user }, &[]).await?;
    assert_eq!(cross.header("cellmesh-hops"), Some("1"));
    mesh.shutdown().await
}
