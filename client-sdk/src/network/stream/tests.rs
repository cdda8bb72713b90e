use crate::{
    Code, Fresh, Idempotency, InMemory, MethodPolicy, Scope,
    network::{Handle, Network, Settings},
    wire::{Wants, Wire, WireCall, WireStream},
};
use bytes::Bytes;
use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderName, Response};
use mesh_layers::{MeshError, frame};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

static READ: MethodPolicy =
    MethodPolicy::new("/feed.v1.Feed/Watch", Scope::Local).side_effects(Idempotency::NoSideEffects);
static WRITE: MethodPolicy = MethodPolicy::new("/feed.v1.Feed/Take", Scope::Local);

fn call(policy: &'static MethodPolicy, time: Duration) -> WireCall {
    let deadline = Instant::now() + time;
    WireCall {
        policy,
        frame: frame::encode(b""),
        key: None,
        deadline,
        fresh: Fresh::Any,
        metadata: None,
        wants: Wants::default(),
    }
}

/// A network of one router that answers as the test says; how often it was asked.
fn network<F, Fut>(answer: F) -> (Handle, Arc<AtomicUsize>)
where
    F: Fn(usize, SendResponse<Bytes>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (memory, asked) = (InMemory::default(), Arc::new(AtomicUsize::new(0)));
    let (mut listener, count) = (memory.listen("router:1"), Arc::clone(&asked));
    tokio::spawn(async move {
        while let Some(io) = listener.accept().await {
            let (answer, count) = (answer.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let mut incoming = h2::server::handshake(io).await.expect("a client speaks HTTP/2");
                while let Some(Ok((request, mut respond))) = incoming.accept().await {
                    match request.uri().path().starts_with("/cellmesh.") {
                        true => respond.send_reset(Reason::CANCEL),
                        false => drop(tokio::spawn(answer(count.fetch_add(1, Ordering::SeqCst), respond))),
                    }
                }
            });
        }
    });
    let settings = Settings { seeds: vec!["router:1".to_owned()], connector: Arc::new(memory), ..Settings::default() };
    (Network::start(settings).expect("the settings are right"), asked)
}

fn begin(mut respond: SendResponse<Bytes>) -> SendStream<Bytes> {
    let head = Response::builder().header("content-type", "application/grpc").header("cellmesh-cell", "a");
    respond.send_response(head.body(()).expect("a head"), false).expect("the caller is there")
}

fn send(stream: &mut SendStream<Bytes>, message: &[u8]) {
    stream.send_data(frame::encode(message), false).expect("the caller is there");
}

fn end(mut stream: SendStream<Bytes>) {
    let ok = (HeaderName::from_static("grpc-status"), "0".parse().expect("a value"));
    stream.send_trailers(HeaderMap::from_iter([ok])).expect("the caller is there");
}

const LONG: Duration = Duration::from_secs(20);

async fn open(handle: &Handle, policy: &'static MethodPolicy) -> Result<Box<dyn WireStream>, crate::Error> {
    handle.network.stream(call(policy, LONG)).await
}

#[tokio::test]
async fn messages_come_one_after_another_and_the_end_stays_the_end() {
    let (handle, _) = network(|_, respond| async move {
        let mut stream = begin(respond);
        for n in 0..50u8 {
            send(&mut stream, &vec![n; 100_000]);
        }
        end(stream);
    });
    let mut stream = open(&handle, &READ).await.expect("it opens");
    assert_eq!(stream.cell().map(ToString::to_string).as_deref(), Some("a"));
    for n in 0..50u8 {
        let message = stream.next().await.expect("no error").expect("no end");
        assert_eq!((message[0], message.len()), (n, 100_000));
    }
    for _ in 0..2 {
        assert_eq!(stream.next().await.expect("no error"), None);
    }
}

#[tokio::test]
async fn a_stream_may_end_without_a_message() {
    let (handle, _) = network(|_, respond| async move { end(begin(respond)) });
    assert_eq!(open(&handle, &WRITE).await.expect("it opens").next().await.expect("no error"), None);
}

#[tokio::test]
async fn until_the_first_message_it_is_routed_like_any_call() {
    for (policy, times) in [(&READ, 2), (&WRITE, 1)] {
        let (handle, asked) = network(|number, respond| async move {
            let mut stream = begin(respond);
            if number == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                return stream.send_reset(Reason::INTERNAL_ERROR);
            }
            send(&mut stream, b"first");
            end(stream);
        });
        let opened = open(&handle, policy).await;
        assert_eq!(asked.load(Ordering::SeqCst), times);
        match opened {
            Ok(mut stream) => assert_eq!(stream.next().await.expect("no error").as_deref(), Some(&b"first"[..])),
            Err(error) => assert_eq!((policy.path, error.code()), (WRITE.path, Code::Unavailable)),
        }
    }
}

#[tokio::test]
async fn after_the_first_message_a_break_is_the_readers_to_handle() {
    let (handle, asked) = network(|_, respond| async move {
        let mut stream = begin(respond);
        send(&mut stream, b"first");
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    });
    let mut stream = open(&handle, &READ).await.expect("it opens");
    assert!(stream.next().await.expect("no error").is_some());
    let error = stream.next().await.expect_err("it broke");
    assert_eq!(
        (error.code(), error.reason(), error.method()),
        (Code::Unavailable, Some("CELL_UNREACHABLE"), READ.path)
    );
    assert_eq!(error.cell().map(ToString::to_string).as_deref(), Some("a"));
    assert_eq!(stream.next().await.expect("no error"), None, "it stays ended");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_status_at_its_end_is_an_error() {
    let (handle, _) = network(|_, respond| async move {
        let mut stream = begin(respond);
        send(&mut stream, b"first");
        let moved = MeshError::moved(None).into_http::<()>().into_parts().0.headers;
        stream.send_trailers(moved).expect("the caller is there");
    });
    let mut stream = open(&handle, &READ).await.expect("it opens");
    assert!(stream.next().await.expect("no error").is_some());
    assert_eq!(stream.next().await.expect_err("it moved").reason(), Some("MOVED"));
}

#[tokio::test]
async fn a_refusal_is_an_error_of_the_opening() {
    let (handle, _) = network(|_, mut respond| async move {
        let refused = MeshError::bad_request("no").into_http();
        respond.send_response(refused, true).expect("the caller is there");
    });
    let Err(error) = open(&handle, &READ).await else { panic!("it opened") };
    assert_eq!((error.code(), error.method()), (Code::InvalidArgument, READ.path));
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline() {
    let (handle, _) = network(|_, respond| async move {
        let mut stream = begin(respond);
        send(&mut stream, b"first");
        std::future::pending::<()>().await;
    });
    let opened = handle.network.stream(call(&READ, Duration::from_millis(150))).await;
    let mut stream = opened.expect("it opens");
    assert!(stream.next().await.expect("no error").is_some());
    assert_eq!(stream.next().await.expect_err("it is late").code(), Code::DeadlineExceeded);
}
