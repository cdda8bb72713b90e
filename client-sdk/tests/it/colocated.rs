//! Services in this process.

use crate::{
    routing::Cells,
    server::echo,
    world::{SERVICE, builder, cell, draft, epochs, ready, user},
};
use cell_map::{UserEpoch, UserKey};
use client_sdk::{Code, tonic::colocated};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use mesh_layers::{MeshError, error::WrongCell, frame};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tonic::body::Body;

type Headers = Arc<Mutex<Vec<http::HeaderMap>>>;

/// A service that answers "inside", or refuses users whose message says so.
fn service(
    seen: Headers,
    refuse: bool,
) -> impl tower::Service<
    Request<Body>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send,
> + Clone
+ Send
+ Sync {
    tower::service_fn(move |request: Request<Body>| {
        let seen = Arc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            seen.lock().unwrap().push(head.headers);
            body.collect().await.unwrap();
            if refuse {
                let redirect = WrongCell { owner: cell("c"), epochs: epochs(1, 1), map_epoch: None };
                let mut response: Response<Body> = MeshError::wrong_cell(&redirect).into_http();
                response.headers_mut().insert("cellmesh-unprocessed", "1".parse().unwrap());
                return Ok(response);
            }
            let trailers =
                http::HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), "0".parse().unwrap())]);
            let body = Full::new(frame::encode(&echo("inside"))).with_trailers(std::future::ready(Some(Ok(trailers))));
            Ok(Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap())
        }
    })
}

#[tokio::test]
async fn a_service_of_this_process_is_called_without_a_socket() {
    let cells = Cells::start().await;
    let (mut pinned, moved) = (draft(), user("c", 0));
    pinned.pin(UserKey::from_text(&moved).unwrap(), &cell("b"), UserEpoch::new(7)).unwrap();
    cells.router.told.send_modify(|told| told.map = Some(Arc::new(pinned.build().unwrap())));
    let seen = Headers::default();
    let inside = colocated("b", [SERVICE], service(Arc::clone(&seen), false)).unwrap();
    let (mesh, depot) = ready(builder(&cells.router).colocated(inside)).await;
    let reply = depot.put(&moved).await.unwrap();
    assert_eq!((reply.value.text.as_str(), reply.source.cell()), ("inside", Some(&cell("b"))));
    assert_eq!(depot.get(&user("a", 0)).await.unwrap().value.text, "a", "other cells are called as ever");
    assert!(cells.b.seen().is_empty());
    let headers = seen.lock().unwrap()[0].clone();
    assert_eq!(headers["cellmesh-user-epoch"], "7", "it believes what its own process knows");
    assert!(headers.contains_key("grpc-timeout"));
    let b = mesh.stats().cells[&cell("b")];
    assert_eq!((b.attempts, b.connects), (1, 0));
}

#[tokio::test]
async fn its_answers_of_ownership_are_followed_like_any_others() {
    let cells = Cells::start().await;
    let seen = Headers::default();
    let inside = colocated("b", [SERVICE], service(Arc::clone(&seen), true)).unwrap();
    let (_mesh, depot) = ready(builder(&cells.router).colocated(inside)).await;
    assert_eq!(depot.put(&user("b", 0)).await.unwrap().value.text, "c");
    assert_eq!(depot.put(&user("b", 0)).await.unwrap().value.text, "c");
    assert_eq!(seen.lock().unwrap().len(), 1, "the redirect is learnt");
}

#[tokio::test]
async fn it_names_a_cell() {
    let error = colocated("No Cell", [SERVICE], service(Headers::default(), false)).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}
