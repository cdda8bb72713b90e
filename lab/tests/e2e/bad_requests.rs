//! Line 7: bad requests, each with its named code and ErrorInfo, the same through the router and at the service's own port.

use crate::mesh::{GET_MEMBER, Mesh, PLACE_ORDER, TOP_UP, balance, order_of, products, register, top_up};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::Method;
use prost::Message as _;
use shop_proto::{member_v1 as member, trade_v1 as trade};
use std::io::Write as _;
use testkit::call::{Answer, Caller, frame};
use tonic::Code;

/// One bad request.
struct Case {
    name: &'static str,
    method: Method,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    code: Code,
    reason: &'static str,
    /// The field that `google.rpc.BadRequest` or the message must name.
    names: &'static str,
}

fn gzip(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn framed(flag: u8, announced: u32, bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(flag);
    out.put_u32(announced);
    out.put_slice(bytes);
    out.freeze()
}

fn twice(body: &Bytes) -> Bytes {
    [body.as_ref(), body.as_ref()].concat().into()
}

/// Every case, for a user whose home is asked.
fn cases(user: &str, sku: &str, price: i64) -> anyhow::Result<Vec<Case>> {
    let get = member::GetMemberRequest { user_id: user.to_owned() };
    let good = frame(&get.encode_to_vec());
    let case = |name, path, body: Bytes, code, reason, names| Case {
        name,
        method: Method::POST,
        path,
        headers: Vec::new(),
        body,
        code,
        reason,
        names,
    };
    let with = |name, header: &'static str, value: &str, code, reason| Case {
        headers: vec![(header, value.to_owned())],
        ..case(name, GET_MEMBER, good.clone(), code, reason, "")
    };
    let message = |m: &[u8]| frame(m);
    let order = |change: &dyn Fn(&mut trade::PlaceOrderRequest)| {
        let mut order = order_of(user, "bad", sku);
        change(&mut order);
        frame(&order.encode_to_vec())
    };
    let amount = |currency: &str, minor_units: i64| {
        let amount = Some(trade::Money { currency_code: currency.to_owned(), minor_units });
        let request = trade::TopUpRequest { user_id: user.to_owned(), request_id: "bad-money".to_owned(), amount };
        frame(&request.encode_to_vec())
    };
    let id = |id: &str| frame(&member::GetMemberRequest { user_id: id.to_owned() }.encode_to_vec());
    let bomb = gzip(&member::GetMemberRequest { user_id: "x".repeat(20 << 20) }.encode_to_vec())?;
    let nested = {
        // Field 1000 as a message inside a message, 200 deep: unknown, but over protobuf's nesting limit for groups.
        let mut bytes = get.encode_to_vec();
        bytes.extend(std::iter::repeat_n([0xc3, 0x3e], 200).flatten());
        bytes.extend(std::iter::repeat_n([0xc4, 0x3e], 200).flatten());
        bytes
    };
    let (bad, large) = (Code::InvalidArgument, Code::ResourceExhausted);
    Ok(vec![
        // gRPC frames
        case("shorter than announced", GET_MEMBER, framed(0, 100, b"short"), Code::Internal, "", ""),
        case("two messages on a unary call", GET_MEMBER, twice(&good), Code::Unimplemented, "", ""),
        case("no message at all", GET_MEMBER, Bytes::new(), Code::Unimplemented, "", ""),
        case("compressed without an encoding", GET_MEMBER, framed(1, 4, b"abcd"), Code::Internal, "", ""),
        Case {
            headers: vec![("grpc-encoding", "lzma".to_owned())],
            ..case("unknown encoding", GET_MEMBER, framed(1, 4, b"abcd"), Code::Unimplemented, "", "")
        },
        Case {
            headers: vec![("grpc-encoding", "gzip".to_owned())],
            ..case("gzip bomb", GET_MEMBER, framed(1, bomb.len() as u32, &bomb), large, "MESSAGE_TOO_LARGE", "")
        },
        case(
            "larger than the method's limit",
            GET_MEMBER,
            message(&vec![0x0a; 70_000]),
            large,
            "MESSAGE_TOO_LARGE",
            "",
        ),
        case(
            "unknown method",
            "/shop.member.v1.MemberService/Nothing",
            good.clone(),
            Code::Unimplemented,
            "METHOD_UNKNOWN",
            "",
        ),
        // metadata
        with("bad base64 in -bin", "cellmesh-user-bin", "!!!", bad, "BAD_REQUEST"),
        Case {
            headers: vec![("cellmesh-user", user.to_owned()), ("cellmesh-user", user.to_owned())],
            ..case("user named twice", GET_MEMBER, good.clone(), bad, "BAD_REQUEST", "cellmesh-user")
        },
        with("another user in the metadata", "cellmesh-user", "somebody-else", bad, "BAD_REQUEST"),
        // timeouts
        with("timeout with a bad unit", "grpc-timeout", "10x", bad, "BAD_REQUEST"),
        with("timeout of nine digits", "grpc-timeout", "123456789S", bad, "BAD_REQUEST"),
        with("timeout of nothing", "grpc-timeout", "0n", Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        // protobuf
        case("truncated field", GET_MEMBER, message(&[0x0a, 0x20, b'x']), bad, "BAD_REQUEST", ""),
        case("invalid UTF-8", GET_MEMBER, message(&[0x0a, 0x02, 0xff, 0xfe]), bad, "BAD_REQUEST", ""),
        case("nested too deep", GET_MEMBER, message(&nested), bad, "BAD_REQUEST", ""),
        // ids
        case("no user", GET_MEMBER, id(""), bad, "BAD_REQUEST", "user_id"),
        case("user of 4 KiB", GET_MEMBER, id(&"u".repeat(4096)), bad, "BAD_REQUEST", "user_id"),
        // money
        case("nothing to top up", TOP_UP, amount("CNY", 0), bad, "BAD_REQUEST", "amount"),
        case("negative top-up", TOP_UP, amount("CNY", -1), bad, "BAD_REQUEST", "amount"),
        case("all the money there is", TOP_UP, amount("CNY", i64::MAX), bad, "BAD_REQUEST", "amount"),
        case("no such currency", TOP_UP, amount("???", price), bad, "BAD_REQUEST", "amount"),
        case("no lines", PLACE_ORDER, order(&|o| o.lines.clear()), bad, "BAD_REQUEST", "lines"),
        case("negative quantity", PLACE_ORDER, order(&|o| o.lines[0].quantity = -1), bad, "BAD_REQUEST", "quantity"),
        case(
            "quantity past the limit",
            PLACE_ORDER,
            order(&|o| o.lines[0].quantity = i32::MAX),
            bad,
            "BAD_REQUEST",
            "quantity",
        ),
        case(
            "SQL for a SKU",
            PLACE_ORDER,
            order(&|o| o.lines[0].sku = "' OR 1=1 --".to_owned()),
            bad,
            "BAD_REQUEST",
            "sku",
        ),
        case("no request id", PLACE_ORDER, order(&|o| o.request_id.clear()), bad, "BAD_REQUEST", "request_id"),
        case(
            "request id of 256 bytes",
            PLACE_ORDER,
            order(&|o| o.request_id = "r".repeat(256)),
            bad,
            "BAD_REQUEST",
            "request_id",
        ),
        case(
            "forged preview token",
            PLACE_ORDER,
            order(&|o| o.preview_token = "forged".to_owned()),
            Code::FailedPrecondition,
            "PREVIEW_MISMATCH",
            "",
        ),
    ])
}

fn check(place: &str, case: &Case, answer: &Answer) -> Result<(), String> {
    let name = case.name;
    if answer.code() != Some(case.code) {
        return Err(format!("{place}: {name}: wanted {:?}, got {:?} {:?}", case.code, answer.code(), answer.status()));
    }
    let Some(info) = answer.error_info() else {
        return Err(format!("{place}: {name}: no ErrorInfo: {:?}", answer.status()));
    };
    if info.domain.is_empty() || (!case.reason.is_empty() && info.reason != case.reason) {
        return Err(format!("{place}: {name}: wanted reason {}, got {info:?}", case.reason));
    }
    let status = answer.status().expect("checked above");
    let told = format!("{} {}", status.message(), String::from_utf8_lossy(status.details()));
    if !told.contains(case.names) {
        return Err(format!("{place}: {name}: does not name {}: {told}", case.names));
    }
    Ok(())
}

#[tokio::test]
async fn each_bad_request_has_its_code_and_reason_at_both_doors() -> anyhow::Result<()> {
    let mut mesh = Mesh::start().await?;
    let door = mesh.bj().front;
    let user = register(door).await?;
    let product = products(door).await?.remove(0);
    let price = product.unit_price.expect("a price").minor_units;
    let mut caller = Caller::connect(door).await?;
    top_up(&mut caller, &user, "start", price).await?;

    let cases = cases(&user, &product.sku, price)?;
    println!("figure: bad requests N={} at 2 doors", cases.len());
    let mut wrong = Vec::new();
    for (place, addr) in [("router", door), ("service", mesh.bj().services_front)] {
        for case in &cases {
            let mut caller = Caller::connect(addr).await?;
            let headers: Vec<(&str, &str)> = case.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            match caller.send(case.method.clone(), case.path, case.body.clone(), &headers).await {
                Ok(answer) => wrong.extend(check(place, case, &answer).err()),
                Err(error) => wrong.push(format!("{place}: {}: no answer: {error:#}", case.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let mut caller = Caller::connect(door).await?;
    assert_eq!(balance(&mut caller, &user).await?, price, "no bad request moved money");
    mesh.shutdown().await
}

#[tokio::test]
async fn what_is_not_grpc_is_told_so_in_http() -> anyhow::Result<()> {
    let mut mesh = Mesh::start().await?;
    for addr in [mesh.bj().front, mesh.bj().services_front] {
        let mut caller = Caller::connect(addr).await?;
        let get = caller.send(Method::GET, GET_MEMBER, Bytes::new(), &[]).await?;
        assert_eq!(get.http, 405, "{addr}: {get:?}");
        let json = caller.send(Method::POST, GET_MEMBER, Bytes::new(), &[("content-type", "application/json")]).await?;
        assert_eq!(json.http, 415, "{addr}: {json:?}");
        let long = "h".repeat(9 << 10);
        match caller.unary(GET_MEMBER, b"", &[("x-long", &long)]).await {
            Ok(answer) => assert_eq!(answer.http, 431, "{addr}"),
            Err(error) => assert!(format!("{error:#}").contains("PROTOCOL_ERROR"), "{addr}: {error:#}"),
        }
    }
    mesh.shutdown().await
}

#[tokio::test]
async fn another_users_order_is_not_found() -> anyhow::Result<()> {
    let mut mesh = Mesh::start().await?;
    let door = mesh.bj().front;
    let (owner, thief) = (register(door).await?, register(door).await?);
    let product = products(door).await?.remove(0);
    let price = product.unit_price.expect("a price").minor_units;
    let mut caller = Caller::connect(door).await?;
    top_up(&mut caller, &owner, "start", price).await?;
    let placed = caller.message(PLACE_ORDER, &order_of(&owner, "mine", &product.sku), &[]).await?;
    let order_id = placed.message::<trade::PlaceOrderResponse>()?.order.expect("an order").order_id;
    let request = trade::GetOrderRequest { user_id: thief, order_id };
    let answer = caller.message("/shop.trade.v1.TradeService/GetOrder", &request, &[]).await?;
    assert_eq!(answer.code(), Some(Code::NotFound));
    mesh.shutdown().await
}
