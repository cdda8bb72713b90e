//! The layers together, around handlers of every kind.

use super::{
    AroundLayer, MethodRules, Methods, Next, Request, Response,
    calls::{Admission, Calls},
    limit::Limit,
    message::Messages,
    observe::{Finished, Observe, Recorder, UNKNOWN},
};
use crate::{
    CallContext, Listener, MeshError, Reason,
    budget::ByteBudget,
    call::Refusal,
    error::{Details, Redirect, WrongCell},
    frame,
    metadata::MALFORMED,
    trust::PeerToken,
};
use bytes::Bytes;
use cell_map::{BucketEpoch, CellId, OwnerEpochs, UserEpoch};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use tonic::{Code, Status, body::Body};
use tower::{Layer, service_fn};

const UNARY: &str = "/t.S/Unary";
const STREAM: &str = "/t.S/Stream";
const GLOBAL_STREAM: &str = "/t.S/GlobalStream";
const TOKEN: &str = "0123456789abcdef";

#[derive(Default)]
struct Log(Mutex<Vec<(String, Code)>>);

impl Recorder for Log {
    fn started(&self, _: &str, _: &str) {}

    fn finished(&self, finished: &Finished<'_>) {
        self.0.lock().unwrap().push((finished.method.to_owned(), finished.code));
    }
}

impl Log {
    fn taken(&self) -> Vec<(String, Code)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn cell(name: &str) -> CellId {
    CellId::new(name).unwrap()
}

fn methods() -> Arc<Methods> {
    let rules = |server_streaming, global| MethodRules {
        default_deadline: None,
        max_deadline: Some(Duration::from_millis(200)),
        max_request_bytes: Some(100),
        route_key: None,
        unary_request: true,
        server_streaming,
        global,
    };
    let mut methods = Methods::default();
    methods.add(UNARY, rules(false, false));
    methods.add(STREAM, rules(true, false));
    methods.add(GLOBAL_STREAM, rules(true, true));
    Arc::new(methods)
}

/// All layers around a handler, on a listener.
fn on<H, F>(listener: Listener, log: &Arc<Log>, limit: usize, handler: H) -> impl Next + use<H, F>
where
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let token = (listener == Listener::Peer).then(|| PeerToken::new(TOKEN).unwrap());
    let admission = Admission {
        cell: cell("bj-1"),
        listener,
        token,
        default_deadline: Duration::from_millis(100),
        max_deadline: Duration::from_secs(1),
    };
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let service = AroundLayer(Messages::new(methods(), 100, ByteBudget::new(10_000))).layer(service);
    let limit = Limit::new(limit).with_streams(limit, methods());
    let service = AroundLayer(limit).layer(service);
    let service = AroundLayer(Calls::new(admission, methods())).layer(service);
    let recorder = Arc::clone(log) as Arc<dyn Recorder>;
    AroundLayer(Observe::new(cell("bj-1"), listener, methods(), recorder)).layer(service)
}

fn front<H, F>(handler: H) -> impl Next + use<H, F>
where
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    on(Listener::Front, &Arc::default(), 10, handler)
}

fn request(path: &str, headers: &[(&'static str, &str)]) -> Request {
    let mut request = Request::new(Body::new(Full::new(frame::encode(b"hi"))));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = path.parse().unwrap();
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
    }
    request
}

/// A unary reply, with these trailers.
fn reply(trailers: HeaderMap) -> Response {
    let frames = [Frame::data(frame::encode(b"ok")), Frame::trailers(trailers)].map(Ok::<_, Status>);
    http::Response::new(Body::new(StreamBody::new(stream::iter(frames))))
}

fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    headers
}

async fn ok() -> Response {
    reply(trailers(&Status::ok("")))
}

fn redirect() -> WrongCell {
    let epochs = OwnerEpochs::new(UserEpoch::new(3), BucketEpoch::new(1));
    WrongCell { owner: cell("sh-1"), epochs, map_epoch: None }
}

/// What the fence does when it refuses.
fn refuse() -> Status {
    CallContext::current().expect("handlers run in a call").note_refusal(Refusal::WrongCell(redirect()));
    MeshError::wrong_cell(&redirect()).into()
}

/// Code, details and trailers of a whole response.
async fn end(response: Response) -> (Code, Option<Details>, HeaderMap) {
    let mut headers = response.headers().clone();
    let collected = response.into_body().collect().await.expect("bodies end with trailers, never with an error");
    headers.extend(collected.trailers().cloned().unwrap_or_default());
    let code = headers.get("grpc-status").map_or(Code::Unknown, |value| Code::from_bytes(value.as_bytes()));
    (code, Details::from_headers(&headers), headers)
}

async fn reason(response: Response) -> (Code, Option<Reason>) {
    let (code, details, _) = end(response).await;
    (code, details.and_then(|details| details.mesh_reason()))
}

#[tokio::test]
async fn a_refusal_by_the_fence_may_be_sent_again() {
    let service = front(async |_| refuse().into_http());
    let response = service.answer(request(UNARY, &[])).await;
    assert_eq!(Redirect::decode(response.headers()), Some(Redirect::WrongCell { to: redirect(), unprocessed: true }));
    assert_eq!(response.headers()["cellmesh-cell"], "bj-1");
    assert_eq!(response.headers()["cellmesh-hops"], "0");
}

#[tokio::test]
async fn a_refusal_after_a_commit_is_aborted_and_not_sent_again() {
    let service = front(async |_| {
        CallContext::with_current(CallContext::note_fenced_commit);
        refuse().into_http()
    });
    let response = service.answer(request(UNARY, &[])).await;
    assert_eq!(response.headers()["grpc-status"], "10");
    assert_eq!(Redirect::decode(response.headers()), Some(Redirect::WrongCell { to: redirect(), unprocessed: false }));
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_a_stream_is_moved() {
    let service = front(async |_| {
        let frames = stream::iter([()]).map_frames();
        http::Response::new(Body::new(frames))
    });
    let (code, details, headers) = end(service.answer(request(STREAM, &[])).await).await;
    let details = details.expect("the mesh explains itself");
    assert_eq!((code, details.mesh_reason()), (Code::Unavailable, Some(Reason::Moved)));
    assert_eq!(WrongCell::from_details(&details), Some(redirect()), "it still tells where to");
    assert!(!headers.contains_key("cellmesh-unprocessed"));
}

/// A body that is refused after its first message, while it is polled.
trait MapFrames {
    fn map_frames(self) -> StreamBody<stream::BoxStream<'static, Result<Frame<Bytes>, Status>>>;
}

impl<S: futures_util::Stream<Item = ()> + Send + 'static> MapFrames for S {
    fn map_frames(self) -> StreamBody<stream::BoxStream<'static, Result<Frame<Bytes>, Status>>> {
        use futures_util::StreamExt;
        let first = self.map(|()| Ok(Frame::data(frame::encode(b"one"))));
        let last = stream::once(async { Ok(Frame::trailers(trailers(&refuse()))) });
        StreamBody::new(first.chain(last).boxed())
    }
}

#[tokio::test]
async fn forged_ownership_answers_become_internal() {
    for status in [
        MeshError::wrong_cell(&redirect()).into(),
        MeshError::moving(Duration::ZERO).into(),
        MeshError::moved(Some(&redirect())).into(),
    ] {
        let status: Status = status;
        let forged = status.clone();
        let service = front(move |_| std::future::ready(forged.clone().into_http()));
        let response = service.answer(request(UNARY, &[])).await;
        assert_eq!(reason(response).await, (Code::Internal, Some(Reason::Internal)));

        let service = front(move |_| std::future::ready(reply(trailers(&status))));
        let response = service.answer(request(UNARY, &[])).await;
        assert_eq!(reason(response).await, (Code::Internal, Some(Reason::Internal)), "in trailers too");
    }
}

#[tokio::test]
async fn another_refusal_than_the_fence_gave_is_forged() {
    let service = front(async |_| {
        let _ = refuse();
        let other = WrongCell { owner: cell("gz-1"), ..redirect() };
        Status::from(MeshError::wrong_cell(&other)).into_http()
    });
    assert_eq!(reason(service.answer(request(UNARY, &[])).await).await.0, Code::Internal);
}

#[tokio::test]
async fn business_code_cannot_speak_for_the_mesh() {
    let service = front(async |_| {
        let mut response = Status::not_found("no").into_http();
        for name in ["cellmesh-unprocessed", "cellmesh-cell", "cellmesh-source"] {
            response.headers_mut().insert(name, HeaderValue::from_static("1"));
        }
        response
    });
    let (code, details, headers) = end(service.answer(request(UNARY, &[])).await).await;
    assert_eq!(code, Code::NotFound);
    assert_eq!(details.expect("every error is explained").mesh_reason(), Some(Reason::NotFound));
    assert!(!headers.contains_key("cellmesh-unprocessed") && !headers.contains_key("cellmesh-source"));
    assert_eq!(headers["cellmesh-cell"], "bj-1");
}

#[tokio::test]
async fn a_message_that_does_not_decode_is_the_callers_fault() {
    let service = front(async |_| Status::internal("failed to decode Protobuf message: é").into_http());
    let (code, details, headers) = end(service.answer(request(UNARY, &[])).await).await;
    assert_eq!((code, details.unwrap().mesh_reason()), (Code::InvalidArgument, Some(Reason::BadRequest)));
    let status = Status::from_header_map(&headers).unwrap();
    assert_eq!(status.message(), "failed to decode Protobuf message: é");
}

#[tokio::test]
async fn what_could_not_be_read_is_marked_and_by_the_layers_only() {
    let marked = |response: &Response| response.headers().contains_key(MALFORMED);
    let undecodable = front(async |_| Status::internal("failed to decode Protobuf message: é").into_http());
    assert!(marked(&undecodable.clone().answer(request(UNARY, &[])).await), "a message that does not decode");
    assert!(marked(&undecodable.clone().answer(request(UNARY, &[("grpc-timeout", "1x")])).await), "a head");
    for frame in [&[0, 0, 0, 0, 9, 1][..], &[7, 0, 0, 0, 1, 1], &[0, 0xff, 0xff, 0xff, 0xff]] {
        let broken = request(UNARY, &[]).map(|_| Body::new(Full::new(Bytes::from_static(frame))));
        assert!(marked(&undecodable.clone().answer(broken).await), "{frame:?}");
    }
    assert!(!marked(&undecodable.answer(request(UNARY, &[("grpc-timeout", "0S")])).await), "what comes late");
    let refusing = front(async |_| {
        let mut response: Response = MeshError::bad_request("no such size").into_http();
        response.headers_mut().insert(MALFORMED, HeaderValue::from_static("1"));
        response
    });
    assert!(!marked(&refusing.answer(request(UNARY, &[])).await), "a handler's refusal, whatever it says");
}

#[tokio::test(start_paused = true)]
async fn an_expired_deadline_is_deadline_exceeded() {
    let service = front(async |_| {
        tokio::time::sleep(Duration::from_secs(10)).await;
        ok().await
    });
    let began = tokio::time::Instant::now();
    let response = service.clone().answer(request(UNARY, &[])).await;
    assert_eq!(reason(response).await, (Code::DeadlineExceeded, Some(Reason::DeadlineExceeded)));
    assert!(began.elapsed() < Duration::from_millis(150), "the default is 100 ms");

    let began = tokio::time::Instant::now();
    let response = service.answer(request(UNARY, &[("grpc-timeout", "99999999H")])).await;
    assert_eq!(reason(response).await.0, Code::DeadlineExceeded);
    assert!(began.elapsed() < Duration::from_millis(250), "the method's maximum is 200 ms");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_the_deadline_with_trailers() {
    let service = front(async |_| {
        use futures_util::StreamExt;
        let first = stream::iter([Ok::<_, Status>(Frame::data(frame::encode(b"one")))]);
        http::Response::new(Body::new(StreamBody::new(first.chain(stream::pending()))))
    });
    let response = service.answer(request(STREAM, &[])).await;
    assert_eq!(reason(response).await, (Code::DeadlineExceeded, Some(Reason::DeadlineExceeded)));
}

#[tokio::test]
async fn panics_end_their_own_call_only() {
    let handler = front(async |request: Request| match request.uri().path() {
        UNARY => panic!("secret"),
        _ => {
            let frames = stream::once(async { panic!("secret") as Result<Frame<Bytes>, Status> });
            http::Response::new(Body::new(StreamBody::new(Box::pin(frames))))
        }
    });
    for path in [UNARY, STREAM] {
        let (code, details, headers) = end(handler.clone().answer(request(path, &[])).await).await;
        assert_eq!((code, details.unwrap().mesh_reason()), (Code::Internal, Some(Reason::Internal)), "{path}");
        assert!(!format!("{headers:?}").contains("secret"));
    }
}

/// Headers, and what they are answered.
type Case = (&'static [(&'static str, &'static str)], StatusCode, Code, Reason);

#[tokio::test]
async fn bad_requests_never_reach_the_handler() {
    let service = front(async |_| -> Response { panic!("reached") });
    let cases: &[Case] = &[
        (
            &[("content-type", "text/plain")],
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::InvalidArgument,
            Reason::BadRequest,
        ),
        (
            &[("content-type", "application/grpc-web")],
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::InvalidArgument,
            Reason::BadRequest,
        ),
        (&[("grpc-timeout", "1x")], StatusCode::OK, Code::InvalidArgument, Reason::BadRequest),
        (&[("grpc-timeout", "123456789m")], StatusCode::OK, Code::InvalidArgument, Reason::BadRequest),
        (&[("grpc-timeout", "0S")], StatusCode::OK, Code::DeadlineExceeded, Reason::DeadlineExceeded),
        (&[("a-bin", "*")], StatusCode::OK, Code::InvalidArgument, Reason::BadRequest),
        (&[("cellmesh-user", "0")], StatusCode::OK, Code::InvalidArgument, Reason::BadRequest),
        (&[("grpc-encoding", "br")], StatusCode::OK, Code::Unimplemented, Reason::BadRequest),
    ];
    for (headers, http, code, why) in cases {
        let response = service.clone().answer(request(UNARY, headers)).await;
        assert_eq!(response.status(), *http, "{headers:?}");
        assert_eq!(reason(response).await, (*code, Some(*why)), "{headers:?}");
    }
    let response = service.clone().answer(request(UNARY, &[("grpc-encoding", "br")])).await;
    assert_eq!(response.headers()["grpc-accept-encoding"], frame::ACCEPTED);

    let mut get = request(UNARY, &[]);
    *get.method_mut() = http::Method::GET;
    let response = service.clone().answer(get).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);

    let mut large = request(UNARY, &[]);
    *large.body_mut() = Body::new(Full::new(frame::encode(&[0; 101])));
    let response = service.answer(large).await;
    assert_eq!(reason(response).await, (Code::ResourceExhausted, Some(Reason::MessageTooLarge)));
}

#[tokio::test]
async fn strangers_are_stripped_and_peers_are_believed() {
    let claims = [("cellmesh-hops", "1"), ("cellmesh-user-epoch", "7"), ("cellmesh-peer-token", TOKEN)];
    let log = Arc::default();
    for (listener, hops) in [(Listener::Front, 0), (Listener::Peer, 1)] {
        let service = on(listener, &log, 10, move |request: Request| async move {
            let call = CallContext::current().unwrap();
            assert_eq!((call.hops(), call.asked().user.get()), (hops, u64::from(hops) * 7));
            assert!(!request.headers().keys().any(|name| name.as_str().starts_with("cellmesh-")));
            ok().await
        });
        let (code, _, headers) = end(service.answer(request(UNARY, &claims)).await).await;
        assert_eq!(code, Code::Ok);
        assert_eq!(headers["cellmesh-hops"], hops.to_string().as_str());
    }
    let service = on(Listener::Peer, &log, 10, |_| ok());
    let response = service.answer(request(UNARY, &[])).await;
    assert_eq!(reason(response).await, (Code::Unauthenticated, Some(Reason::UnauthenticatedPeer)));
}

#[tokio::test]
async fn a_stream_is_counted_until_its_end_and_takes_no_place_of_a_call_or_of_a_global_stream() {
    let log = Arc::default();
    let service = on(Listener::Front, &log, 1, |_| ok());
    let open = service.clone().answer(request(STREAM, &[])).await;
    let response = service.clone().answer(request(STREAM, &[])).await;
    assert_eq!(reason(response).await, (Code::ResourceExhausted, Some(Reason::RateLimited)));
    let global = service.clone().answer(request(GLOBAL_STREAM, &[])).await;
    let response = service.clone().answer(request(GLOBAL_STREAM, &[])).await;
    assert_eq!(reason(response).await, (Code::ResourceExhausted, Some(Reason::RateLimited)));
    assert_eq!(end(global).await.0, Code::Ok);
    let call = service.clone().answer(request(UNARY, &[])).await;
    let response = service.clone().answer(request(UNARY, &[])).await;
    assert_eq!(reason(response).await, (Code::ResourceExhausted, Some(Reason::RateLimited)));
    assert_eq!((end(open).await.0, end(call).await.0), (Code::Ok, Code::Ok));
    assert_eq!(end(service.clone().answer(request(STREAM, &[])).await).await.0, Code::Ok);
    assert_eq!(end(service.answer(request(UNARY, &[])).await).await.0, Code::Ok);
}

#[tokio::test]
async fn a_unary_answer_tells_where_its_one_user_stood() {
    let service = front(async |request: Request| {
        let note = |user: &str, epoch, position| {
            let user = cell_map::UserKey::from_text(user).unwrap();
            CallContext::with_current(|call| call.note_standing(&user, UserEpoch::new(epoch), position));
        };
        match request.headers().get("x-do").map(|value| value.as_bytes()) {
            Some(b"one user") => {
                note("ann", 1, 7);
                note("ann", 2, 3);
                note("ann", 2, 2);
            }
            Some(b"two users") => {
                note("ann", 1, 7);
                note("bob", 1, 8);
                note("ann", 1, 9);
            }
            Some(b"fail") => {
                note("ann", 1, 7);
                return Status::not_found("no").into_http();
            }
            _ => {}
        }
        let mut response = ok().await;
        response.headers_mut().insert("cellmesh-token", HeaderValue::from_static("made;up;by-business"));
        response
    });
    for (path, what, token) in [
        (UNARY, "one user", Some("bj-1;2;3")),
        (UNARY, "two users", None),
        (UNARY, "fail", None),
        (UNARY, "nobody", None),
        (STREAM, "one user", None),
    ] {
        let response = service.clone().answer(request(path, &[("x-do", what)])).await;
        let told = response.headers().get("cellmesh-token").map(|value| value.to_str().unwrap());
        assert_eq!(told, token, "{path} {what}");
    }
}

#[tokio::test]
async fn every_call_is_recorded_once_however_it_ends() {
    let log: Arc<Log> = Arc::default();
    let service = on(Listener::Front, &log, 10, |request: Request| async move {
        match request.headers().get("x-do").map(|value| value.as_bytes()) {
            Some(b"panic") => panic!("asked to"),
            Some(b"hang") => std::future::pending().await,
            _ => ok().await,
        }
    });
    let ended = |code| vec![("Unary".to_owned(), code)];

    end(service.clone().answer(request(UNARY, &[])).await).await;
    assert_eq!(log.taken(), ended(Code::Ok));

    end(service.clone().answer(request(UNARY, &[("x-do", "panic")])).await).await;
    assert_eq!(log.taken(), ended(Code::Internal));

    end(service.clone().answer(request(UNARY, &[("grpc-timeout", "0m")])).await).await;
    assert_eq!(log.taken(), ended(Code::DeadlineExceeded));

    let hanging = service.clone().answer(request(UNARY, &[("x-do", "hang")]));
    assert!(tokio::time::timeout(Duration::from_millis(5), hanging).await.is_err());
    assert_eq!(log.taken(), ended(Code::Cancelled), "a caller that went away");

    drop(service.clone().answer(request(UNARY, &[])).await);
    assert_eq!(log.taken(), ended(Code::Cancelled), "a caller that went away before the body");

    end(service.answer(request("/made.Up/Path", &[])).await).await;
    assert_eq!(log.taken(), vec![(UNKNOWN.to_owned(), Code::Ok)]);
}
