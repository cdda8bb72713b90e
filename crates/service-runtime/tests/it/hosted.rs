//! The services of a process, called from within it.

use crate::{
    notes::WRITE,
    world::{World, elsewhere, here},
};
use http::Request;
use http_body_util::Full;
use mesh_layers::{error::Redirect, frame, layer::Response};
use prost::Message;
use service_runtime::Hosted;
use tonic::{Code, body::Body};
use tower::ServiceExt;

#[derive(Clone, PartialEq, prost::Message)]
struct Write {
    #[prost(string, tag = "1")]
    user_id: String,
    #[prost(string, tag = "2")]
    text: String,
}

async fn write(hosted: &Hosted, user: &str, epoch: u64) -> Response {
    let message = Write { user_id: user.to_owned(), text: "a note".to_owned() };
    let request = Request::post(WRITE).header("content-type", "application/grpc").header("te", "trailers");
    let request = request.header("cellmesh-user-epoch", epoch);
    let body = Body::new(Full::new(frame::encode(&message.encode_to_vec())));
    let Ok(response) = hosted.clone().oneshot(request.body(body).unwrap()).await;
    response
}

#[tokio::test]
async fn a_caller_in_the_process_is_believed_as_a_peer_is() {
    let world = World::start().await;
    let hosted = world.running.hosted();
    assert_eq!((hosted.cell().as_str(), hosted.services()), ("bj-1", vec!["test.notes.v1.NoteService"]));
    let response = write(&hosted, &here(), 0).await;
    assert_eq!(response.headers()["cellmesh-cell"], "bj-1");
    assert!(!response.headers().contains_key("grpc-status"), "{:?}", response.headers());
    let response = write(&hosted, &here(), 7).await;
    assert!(matches!(Redirect::decode(response.headers()), Some(Redirect::Moving { unprocessed: true, .. })));
    let response = write(&hosted, &elsewhere(), 0).await;
    let Some(Redirect::WrongCell { to, unprocessed: true }) = Redirect::decode(response.headers()) else {
        panic!("{:?}", response.headers());
    };
    assert_eq!(to.owner.as_str(), "sh-1");
    world.end().await;
    let response = write(&hosted, &here(), 0).await;
    assert_eq!(response.headers()["grpc-status"], (Code::Unavailable as i32).to_string());
    assert!(hosted.services().is_empty());
}
