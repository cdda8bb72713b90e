//! The channel for tonic's own clients.

use crate::{
    depot::{Ask, Echo, Plain},
    routing::Cells,
    server::{Asked, Server},
    world::{Router, Told, epochs, mesh, user},
};
use client_sdk::{Code, Mesh, tonic::Channel};
use mesh_layers::frame;
use std::time::Duration;
use tokio_stream::StreamExt;
use tonic::{Request, Status, client::Grpc};
use tonic_prost::ProstCodec;

fn descriptors() -> Vec<u8> {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto");
    let mut compiler = protox::Compiler::new([here, root]).unwrap();
    compiler.include_imports(true).open_file("depot.proto").unwrap();
    compiler.encode_file_descriptor_set()
}

fn client(mesh: &Mesh) -> Grpc<Channel> {
    Grpc::new(Channel::new(mesh, [&descriptors()[..]]).unwrap())
}

fn path(method: &str) -> http::uri::PathAndQuery {
    format!("/depot.v1.Depot/{method}").parse().unwrap()
}

/// What a generated client does.
async fn unary<M: prost::Message + Default + 'static>(
    client: &mut Grpc<Channel>,
    method: &str,
    request: Request<M>,
) -> Result<tonic::Response<Echo>, Status> {
    client.ready().await.unwrap();
    client.unary(request, path(method), ProstCodec::default()).await
}

fn ask(user: &str) -> Request<Ask> {
    Request::new(Ask { user: user.to_owned(), text: String::new() })
}

#[tokio::test]
async fn calls_are_routed_by_the_key_in_their_bytes() {
    let cells = Cells::start().await;
    let (mesh, _) = mesh(&cells.router).await;
    let mut client = client(&mesh);
    for home in ["a", "b", "c"] {
        let reply = unary(&mut client, "Put", ask(&user(home, 0))).await.unwrap();
        assert_eq!(reply.get_ref().text, home);
        assert_eq!(reply.metadata().get("cellmesh-cell").unwrap(), home);
    }
    let mut hinted = Request::new(Plain::default());
    hinted.metadata_mut().insert("cellmesh-user", user("c", 0).parse().unwrap());
    hinted.metadata_mut().insert("x-note", "hello".parse().unwrap());
    assert_eq!(unary(&mut client, "Note", hinted).await.unwrap().get_ref().text, "c");
    let seen = cells.c.seen().pop().unwrap();
    assert_eq!((seen.header("cellmesh-user"), seen.header("x-note")), (Some(&*user("c", 0)), Some("hello")));
    assert_eq!(unary(&mut client, "Publish", Request::new(Plain::default())).await.unwrap().get_ref().text, "a");
    assert!(cells.router.server.seen().is_empty());
}

#[tokio::test]
async fn what_has_no_policy_goes_through_the_router() {
    let cells = Cells::start().await;
    let (mesh, _) = mesh(&cells.router).await;
    let mut client = client(&mesh);
    assert_eq!(unary(&mut client, "Stray", Request::new(Plain::default())).await.unwrap().get_ref().text, "router");
    assert_eq!(unary(&mut client, "Put", ask("")).await.unwrap().get_ref().text, "router", "a call that names nobody");
}

#[tokio::test]
async fn redirects_are_followed_and_nothing_is_done_twice() {
    let stale = Server::start(|asked| async move { asked.wrong_cell("c", epochs(0, 2), true) }).await;
    let breaks = Server::start(|asked| async move {
        match asked.number {
            0 => asked.echo("c"),
            _ => asked.reset(h2::Reason::INTERNAL_ERROR),
        }
    });
    let breaks = breaks.await;
    let router = Router::start(Told::new(&[("b", &stale), ("c", &breaks)])).await;
    let (mesh, _) = mesh(&router).await;
    let mut client = client(&mesh);
    assert_eq!(unary(&mut client, "Put", ask(&user("b", 0))).await.unwrap().get_ref().text, "c");
    let status = unary(&mut client, "Put", ask(&user("b", 0))).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let details = mesh_layers::error::Details::from_status(&status).unwrap();
    assert_eq!((details.reason.as_str(), &*details.info["cell"]), ("CELL_UNREACHABLE", "c"));
    assert_eq!(breaks.seen().len(), 2, "one call each");
    let _ = unary(&mut client, "Get", ask(&user("b", 0))).await;
    assert!(breaks.seen().len() > 3, "a read is tried again");
}

#[tokio::test]
async fn calls_have_deadlines() {
    let silent = Server::start(|asked| async move { asked.hold().await }).await;
    let router = Router::start(Told::new(&[("b", &silent)])).await;
    let (mesh, _) = mesh(&router).await;
    let mut request = ask(&user("b", 0));
    request.set_timeout(Duration::from_millis(100));
    let status = unary(&mut client(&mesh), "Put", request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    assert!(silent.seen()[0].header("grpc-timeout").is_some());
}

#[tokio::test]
async fn a_server_stream_comes_through_and_its_end_too() {
    let b = Server::start(|mut asked: Asked| async move {
        let head = asked.head();
        let mut stream = asked.respond.send_response(head, false).unwrap();
        for n in 0..3 {
            stream.send_data(frame::encode(&crate::server::echo(&n.to_string())), false).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let moved = mesh_layers::MeshError::moved(None);
        let trailers = moved.into_http::<()>().into_parts().0.headers;
        stream.send_trailers(trailers).unwrap();
    });
    let b = b.await;
    let router = Router::start(Told::new(&[("b", &b)])).await;
    let (mesh, _) = mesh(&router).await;
    let mut client = client(&mesh);
    client.ready().await.unwrap();
    let codec = ProstCodec::<Ask, Echo>::default();
    let reply = client.server_streaming(ask(&user("b", 0)), path("Watch"), codec).await.unwrap();
    let all: Vec<Result<Echo, Status>> = reply.into_inner().collect().await;
    let texts: Vec<String> = all.iter().flatten().map(|echo| echo.text.clone()).collect();
    assert_eq!(texts, ["0", "1", "2"]);
    assert_eq!(all.last().unwrap().as_ref().unwrap_err().code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn a_server_stream_without_a_deadline_runs_on() {
    let cells = Cells::start().await;
    let (mesh, _) = mesh(&cells.router).await;
    let mut client = client(&mesh);
    for (method, least, most) in [("Follow", 24 * 3600, u64::MAX), ("Watch", 29, 30)] {
        client.ready().await.unwrap();
        let codec = ProstCodec::<Ask, Echo>::default();
        client.server_streaming(ask(&user("b", 0)), path(method), codec).await.unwrap();
        let timeout = cells.b.seen().last().unwrap().header("grpc-timeout").map(str::to_owned).unwrap();
        let seconds = mesh_layers::timeout::parse(timeout.as_bytes()).unwrap().as_secs();
        assert!((least..=most).contains(&seconds), "{method}: {timeout}");
    }
}

#[tokio::test]
async fn client_streams_go_through_the_router_both_ways() {
    // The whole of what it is sent comes back.
    let router = Router::with(Told::new(&[]), |asked: Asked| async move {
        let length = asked.seen.message.len();
        asked.echo(&format!("{} bytes", length + 5));
    });
    let router = router.await;
    let (mesh, _) = mesh(&router).await;
    let mut client = client(&mesh);
    client.ready().await.unwrap();
    let messages = tokio_stream::iter((0..100).map(|_| Plain { text: "x".repeat(10_000) }));
    let codec = ProstCodec::<Plain, Echo>::default();
    let reply = client.streaming(Request::new(messages), path("Upload"), codec).await.unwrap();
    let all: Vec<Result<Echo, Status>> = reply.into_inner().collect().await;
    assert_eq!(all[0].as_ref().unwrap().text, format!("{} bytes", 100 * (5 + 3 + 10_000)));
}

#[tokio::test]
async fn a_client_stream_that_is_reset_ends_with_an_error_and_is_not_sent_again() {
    let router = Router::with(Told::new(&[]), |asked: Asked| async move { asked.reset(h2::Reason::INTERNAL_ERROR) });
    let router = router.await;
    let (mesh, _) = mesh(&router).await;
    let mut client = client(&mesh);
    client.ready().await.unwrap();
    let messages = tokio_stream::iter((0..10).map(|_| Plain { text: "x".repeat(10_000) }));
    let codec = ProstCodec::<Plain, Echo>::default();
    let error = client.streaming(Request::new(messages), path("Upload"), codec).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::Unavailable);
    assert_eq!(router.server.seen().len(), 1);
}

/// The server hears of it in the midst of the messages, and does not take what came for the whole.
#[tokio::test]
async fn a_client_stream_that_its_caller_drops_is_reset() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let seed = listener.local_addr().unwrap().to_string();
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut kept = Vec::new();
        while let Some(Ok((request, respond))) = connection.accept().await {
            let upload = request.uri().path().ends_with("/Upload");
            kept.push(respond);
            let (mut body, ended) = (request.into_body(), ended.clone());
            tokio::spawn(async move {
                let mut bytes = 0;
                let end = loop {
                    match body.data().await {
                        Some(Ok(data)) => bytes += data.len(),
                        Some(Err(error)) => break error.reason(),
                        None => break None,
                    }
                    if upload && bytes > 0 {
                        let _ = ended.send((bytes, None));
                    }
                };
                if upload {
                    let _ = ended.send((bytes, Some(end)));
                }
            });
        }
    });
    let mesh = Mesh::builder().seeds([seed]).build().unwrap();
    let mut client = client(&mesh);
    client.ready().await.unwrap();
    let messages = tokio_stream::iter([Plain { text: "first".to_owned() }]).chain(tokio_stream::pending());
    let codec = ProstCodec::<Plain, Echo>::default();
    let call = tokio::spawn(async move { client.streaming(Request::new(messages), path("Upload"), codec).await });
    let next = crate::world::within(ends.recv()).await.unwrap();
    assert!(next.1.is_none(), "the first message is there");
    call.abort();
    let reason = crate::world::within(async {
        loop {
            if let (_, Some(reason)) = ends.recv().await.unwrap() {
                return reason;
            }
        }
    });
    assert_eq!(reason.await, Some(h2::Reason::CANCEL));
}

#[tokio::test]
async fn a_wrong_policy_is_an_error_at_once() {
    let cells = Cells::start().await;
    let (mesh, _) = mesh(&cells.router).await;
    let error = Channel::new(&mesh, [&b"nonsense"[..]]).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}
