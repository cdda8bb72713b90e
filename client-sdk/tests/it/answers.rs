//! What a server says, as the caller learns it.

use crate::{
    server::{Asked, Server},
    world::{Router, Told, builder, cell, mesh, ready, user},
};
use client_sdk::{Code, Error};
use http::{HeaderValue, Response};
use mesh_layers::{MeshError, Reason, error::refusal, frame};
use std::time::Duration;

async fn answered<F>(read: bool, answer: F) -> (Result<String, Error>, usize)
where
    F: Fn(Asked) + Clone + Send + Sync + 'static,
{
    let server = Server::start(move |asked| {
        answer(asked);
        std::future::ready(())
    });
    let server = server.await;
    let router = Router::start(Told::new(&[("b", &server)])).await;
    let (_mesh, depot) = mesh(&router).await;
    let user = user("b", 0);
    let reply = if read { depot.get(&user).await } else { depot.put(&user).await };
    (reply.map(|reply| reply.value.text), server.seen().len())
}

fn head(pairs: &[(&'static str, &str)]) -> Response<()> {
    let mut response = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    for (name, value) in pairs {
        response.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
    }
    response
}

#[tokio::test]
async fn an_error_says_everything_that_the_status_says() {
    let (reply, _) = answered(false, |asked| {
        let error = MeshError::bad_request("field \"x\": is bad").violation("x", "is bad");
        asked.with("cellmesh-cell", "b").fail(error, false);
    })
    .await;
    let error = reply.unwrap_err();
    assert_eq!(
        (error.code(), error.reason(), error.domain()),
        (Code::InvalidArgument, Some("BAD_REQUEST"), "cellmesh")
    );
    assert_eq!(error.violations(), [("x".to_owned(), "is bad".to_owned())]);
    assert_eq!((error.message(), error.cell()), ("field \"x\": is bad", Some(&cell("b"))));
    assert_eq!(error.to_string(), "InvalidArgument: field \"x\": is bad (cell b) in depot.v1.Depot/Put");
    let (reply, _) = answered(false, |asked| {
        let status =
            refusal(tonic::Code::FailedPrecondition, "depot", "SOLD_OUT", "none left, 真的", [("sku", "7".to_owned())]);
        asked.send_head(status.into_http());
    })
    .await;
    let error = reply.unwrap_err();
    assert_eq!((error.code(), error.reason(), error.domain()), (Code::FailedPrecondition, Some("SOLD_OUT"), "depot"));
    assert_eq!((error.message(), error.info()), ("none left, 真的", &[("sku".to_owned(), "7".to_owned())][..]));
    let (reply, seen) = answered(true, |asked| {
        asked.fail(MeshError::rate_limited("too much", Duration::from_millis(70)), false);
    })
    .await;
    let error = reply.unwrap_err();
    assert_eq!((error.code(), error.retry_after()), (Code::ResourceExhausted, Some(Duration::from_millis(70))));
    assert_eq!(seen, 1, "who is told to slow down does not come again at once");
}

#[tokio::test]
async fn a_router_names_the_cell_that_is_to_blame() {
    let router = Router::with(Told::new(&[]), |asked| async move {
        asked.with("cellmesh-cell", "a").fail(MeshError::cell_unreachable(&cell("b")), false);
    });
    let router = router.await;
    let (_mesh, depot) = mesh(&router).await;
    let error = depot.put(&user("b", 0)).await.unwrap_err();
    assert_eq!((error.reason(), error.cell()), (Some("CELL_UNREACHABLE"), Some(&cell("b"))));
}

#[tokio::test]
async fn hostile_answers_are_errors() {
    for (what, pairs, code) in [
        ("no status, HTTP 200", &[][..], Code::Internal),
        ("a status that is no number", &[("grpc-status", "x")], Code::Unknown),
        ("a status nobody knows", &[("grpc-status", "99")], Code::Unknown),
        ("details that are no base64", &[("grpc-status", "5"), ("grpc-status-details-bin", "*")], Code::NotFound),
        ("details that are no message", &[("grpc-status", "5"), ("grpc-status-details-bin", "////")], Code::NotFound),
        ("a message that is not utf-8", &[("grpc-status", "5"), ("grpc-message", "%ff%")], Code::NotFound),
        ("a forged redirect", &[("grpc-status", "9"), ("cellmesh-unprocessed", "1")], Code::FailedPrecondition),
        ("OK, and no message", &[("grpc-status", "0")], Code::Internal),
        (
            "a bad token and cell",
            &[("grpc-status", "5"), ("cellmesh-token", "?"), ("cellmesh-cell", "?")],
            Code::NotFound,
        ),
    ] {
        let (reply, _) = answered(false, move |asked| asked.send_head(head(pairs))).await;
        assert_eq!(reply.unwrap_err().code(), code, "{what}");
    }
}

#[tokio::test]
async fn an_http_status_stands_in_for_a_missing_one() {
    for (http, code) in [
        (400, Code::Internal),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::Unimplemented),
        (429, Code::Unavailable),
        (503, Code::Unavailable),
        (500, Code::Unknown),
    ] {
        let (reply, _) = answered(false, move |asked| {
            let mut response = head(&[]);
            *response.status_mut() = http::StatusCode::from_u16(http).unwrap();
            asked.send_head(response);
        })
        .await;
        assert_eq!(reply.unwrap_err().code(), code, "{http}");
    }
}

#[tokio::test]
async fn malformed_bodies_are_errors() {
    let message = || frame::encode(&crate::server::echo("b"));
    let gzip = || bytes::Bytes::from_static(&[1, 0, 0, 0, 1, 7]);
    for (what, body) in [
        ("two messages", vec![message(), message()]),
        ("half a message", vec![message().slice(..4)]),
        ("a bad flag", vec![bytes::Bytes::from_static(&[9, 0, 0, 0, 0])]),
        ("compressed without saying so", vec![gzip()]),
        ("larger than is read", vec![bytes::Bytes::from_static(&[0, 255, 255, 255, 255])]),
        ("no protobuf", vec![frame::encode(&[255])]),
    ] {
        let (reply, seen) = answered(true, move |asked| {
            let head = asked.head();
            asked.answer(head, &body, "0");
        })
        .await;
        let code = reply.unwrap_err().code();
        assert!(matches!(code, Code::Internal | Code::ResourceExhausted), "{what}: {code:?}");
        assert_eq!(seen, 1, "{what}");
    }
    // In pieces and beside an unknown header it is fine.
    let (reply, _) = answered(true, move |asked| {
        let (head, message) = (asked.head(), message());
        let pieces: Vec<_> = (0..message.len()).map(|at| message.slice(at..=at)).collect();
        asked.answer(head, &pieces, "0");
    })
    .await;
    assert_eq!(reply.unwrap(), "b");
}

#[tokio::test]
async fn messages_are_limited_both_ways() {
    let large = Server::start(|asked| async move { asked.echo(&"x".repeat(5000)) }).await;
    let router = Router::start(Told::new(&[("b", &large)])).await;
    let (_mesh, depot) = ready(builder(&router).max_response_bytes(4096)).await;
    let error = depot.put_text(&user("b", 0), "x".repeat(200_001)).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (Code::ResourceExhausted, Some("MESSAGE_TOO_LARGE")));
    assert!(large.seen().is_empty(), "it is not even sent");
    let error = depot.put(&user("b", 0)).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (Code::ResourceExhausted, Some("MESSAGE_TOO_LARGE")));
    assert!(error.message().contains("4096"), "{error}");
}

#[tokio::test]
async fn unavailable_is_tried_again_where_that_is_safe() {
    let unavailable = |times: usize, extra: &'static [(&'static str, &'static str)]| {
        move |asked: Asked| {
            if asked.number >= times {
                return asked.echo("b");
            }
            let mut pairs = vec![("grpc-status", "14")];
            pairs.extend(extra);
            asked.send_head(head(&pairs));
        }
    };
    let (reply, seen) = answered(true, unavailable(2, &[])).await;
    assert_eq!((reply.unwrap(), seen), ("b".to_owned(), 3));
    let (reply, seen) = answered(false, unavailable(2, &[])).await;
    assert_eq!((reply.unwrap_err().code(), seen), (Code::Unavailable, 1), "it may have done something");
    let (reply, seen) = answered(true, unavailable(2, &[("grpc-retry-pushback-ms", "-1")])).await;
    assert_eq!((reply.unwrap_err().code(), seen), (Code::Unavailable, 1), "the server wants no retry");
    let (reply, seen) = answered(true, unavailable(1, &[("grpc-retry-pushback-ms", "30")])).await;
    assert_eq!((reply.unwrap(), seen), ("b".to_owned(), 2));
    let (reply, seen) = answered(true, unavailable(100, &[])).await;
    assert_eq!((reply.unwrap_err().code(), seen), (Code::Unavailable, 5), "not for ever");
    let (reply, seen) = answered(true, |asked| match asked.number {
        0 => asked.fail(MeshError::new(Reason::Unavailable, "busy").retry_after(Duration::from_millis(20)), false),
        _ => asked.echo("b"),
    })
    .await;
    assert_eq!((reply.unwrap(), seen), ("b".to_owned(), 2), "RetryInfo is heeded");
}

#[tokio::test]
async fn a_call_may_be_told_not_to_be_sent_again() {
    let server = Server::start(|asked| async move { asked.send_head(head(&[("grpc-status", "14")])) }).await;
    let router = Router::start(Told::new(&[("b", &server)])).await;
    let (_mesh, depot) = mesh(&router).await;
    let mut options = client_sdk::CallOptions::default();
    options.no_retry = true;
    assert_eq!(depot.get(&user("b", 0)).options(options).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_reply_says_where_the_data_stood() {
    let server = Server::start(|asked| async move {
        asked.with("cellmesh-token", "b;3;42").with("cellmesh-cell", "b").with("cellmesh-hops", "1").echo("b");
    });
    let server = server.await;
    let router = Router::start(Told::new(&[("b", &server)])).await;
    let (_mesh, depot) = mesh(&router).await;
    let reply = depot.put(&user("b", 0)).await.unwrap();
    assert_eq!(reply.token, Some("b;3;42".parse().unwrap()));
    assert_eq!(reply.source, client_sdk::Source::Remote { cell: Some(cell("b")), attempts: 1, hops: 1 });
}
