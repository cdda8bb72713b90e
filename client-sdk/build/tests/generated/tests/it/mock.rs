//! Tests of callers' code need no mesh.

use client_sdk::{
    Code, Error, Source,
    mock::{MockMesh, messages},
};
use client_sdk_generated::{
    clients,
    r#gen::{
        odd::v1::{Match, SelfClient, SelfMock},
        old::v1::{GetOldRequest, GetOldResponse, Id, OldServiceClient, OldServiceMock},
        shapes::v1::{GetNumberRequest, GetNumberResponse, GetOrderRequest, ShapeServiceClient, ShapeServiceMock},
    },
};
use futures_util::{FutureExt, StreamExt, stream};

#[tokio::test]
async fn a_mock_answers_what_it_was_told_and_remembers_what_it_was_asked() {
    let mock = ShapeServiceMock::new();
    let shapes = ShapeServiceClient::new(&mock.mesh());
    let error = shapes.get_number(GetNumberRequest { user_id: 1 }).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert_eq!(error.message(), "the mock has no answer for gen.shapes.v1.ShapeService/GetNumber");
    assert_eq!(error.method(), "/gen.shapes.v1.ShapeService/GetNumber");

    mock.on_get_number(|request| match request.user_id {
        7 => Ok(GetNumberResponse {}),
        other => Err(Error::new(Code::NotFound, format!("nobody is {other}"))),
    });
    let reply = shapes.get_number(GetNumberRequest { user_id: 7 }).await.unwrap();
    assert!(matches!(reply.source, Source::Remote { cell: None, attempts: 1, .. }), "{reply:?}");
    let error = shapes.get_number(GetNumberRequest { user_id: 8 }).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::NotFound, "nobody is 8"));
    assert_eq!(mock.requests_of_get_number().iter().map(|request| request.user_id).collect::<Vec<_>>(), [1, 7, 8]);
}

#[tokio::test]
async fn an_empty_idempotency_key_is_filled_and_another_kept() {
    let mock = ShapeServiceMock::new();
    let shapes = ShapeServiceClient::new(&mock.mesh());
    let _ = shapes.get_order(GetOrderRequest::default()).await;
    let old = OldServiceMock::new();
    let call = Id { id: "mine".to_owned() };
    let _ = OldServiceClient::new(&old.mesh()).get_old(GetOldRequest { user: 1, call, limit: None }).await;
    let sent = &mock.requests_of_get_order()[0];
    assert_eq!(sent.meta.as_ref().unwrap().request_id.as_ref().unwrap().len(), 36);
    assert_eq!(old.requests_of_get_old()[0].call.id, "mine");
}

#[tokio::test]
async fn a_user_that_no_message_names_is_named_by_the_call() {
    let mock = SelfMock::new();
    mock.on_elsewhere(|()| Ok(Match::default()));
    let odd = SelfClient::new(&mock.mesh());
    assert!(odd.elsewhere(()).user_key("anna").unwrap().await.is_ok());
    assert!(odd.watch(Match::default()).user_key("").is_err());
}

#[tokio::test]
async fn several_mocks_share_a_mesh() {
    let all = MockMesh::new();
    let (shapes, old) = (ShapeServiceMock::within(&all), OldServiceMock::within(&all));
    shapes.on_get_number(|_| Ok(GetNumberResponse {}));
    old.on_get_old(|request| Ok(GetOldResponse { name: request.call.id, ..Default::default() }));
    let mesh = all.mesh();
    let reply = ShapeServiceClient::new(&mesh).get_number(GetNumberRequest::default()).await;
    assert!(reply.is_ok());
    let call = Id { id: "x".to_owned() };
    let reply = OldServiceClient::new(&mesh).get_old(GetOldRequest { user: 1, call, limit: None }).await.unwrap();
    assert_eq!((reply.value.name.as_str(), reply.value.at()), ("x", -1));
}

#[tokio::test]
async fn clients_of_messages_elsewhere_call_the_same_methods() {
    let mock = ShapeServiceMock::new();
    mock.on_get_number(|_| Ok(GetNumberResponse {}));
    let client = clients::r#gen::shapes::v1::ShapeServiceClient::new(&mock.mesh());
    assert!(client.get_number(GetNumberRequest { user_id: 3 }).await.is_ok());
}

#[tokio::test]
async fn a_stream_is_opened_by_awaiting_it_and_ends_with_its_error() {
    let mock = SelfMock::new();
    let odd = SelfClient::new(&mock.mesh());
    let error = odd.watch(Match::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);

    let message = |text: &str| Match { r#fn: text.to_owned(), ..Default::default() };
    mock.on_watch(move |_| Ok(messages(["1", "2"].map(message))));
    let mut stream = odd.watch(Match::default()).await.unwrap();
    assert_eq!(stream.message().await.unwrap().map(|message| message.r#fn).as_deref(), Some("1"));
    assert_eq!(stream.next().await.unwrap().unwrap().r#fn, "2");
    assert!(stream.message().await.unwrap().is_none());
    assert!(stream.message().await.unwrap().is_none());

    mock.on_watch(move |_| Ok(stream::iter([Ok(message("1")), Err(Error::new(Code::Aborted, "moved"))])));
    let mut stream = odd.watch(Match::default()).await.unwrap();
    assert!(stream.message().await.is_ok());
    let error = stream.message().await.unwrap_err();
    assert_eq!((error.code(), error.method()), (Code::Aborted, "/gen.odd.v1.self/Watch"));
    assert!(stream.message().await.unwrap().is_none());
    assert_eq!(mock.requests_of_watch()[0].r#fn.len(), 36, "the idempotency key is filled");
}

#[tokio::test]
async fn whoever_gives_up_waiting_loses_no_message() {
    let mock = SelfMock::new();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    mock.on_watch(move |_| {
        let receiver = receiver.lock().unwrap().take().unwrap();
        Ok(stream::once(async move { Ok(receiver.await.unwrap()) }))
    });
    let odd = SelfClient::new(&mock.mesh());
    let mut stream = odd.watch(Match::default()).await.unwrap();
    assert!(stream.message().now_or_never().is_none(), "nothing was sent");
    sender.send(Match { r#fn: "4".to_owned(), ..Default::default() }).unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap().r#fn, "4");
}

#[test]
fn what_is_generated_can_be_sent_between_threads() {
    fn sent<T: Send + Sync + Clone + 'static>(_: T) {}
    let mock = ShapeServiceMock::new();
    sent(ShapeServiceClient::new(&mock.mesh()));
    sent(mock);
}
