//! What callers are answered.

use crate::{
    notes::{
        MISBEHAVE, MisbehaveRequest, MisbehaveResponse, READ, ReadNotesRequest, ReadNotesResponse, WRITE,
        WriteNoteRequest, WriteNoteResponse,
    },
    world::{TOKEN, World, elsewhere, here, reason},
};
use std::time::{Duration, Instant};
use testkit::call::{Answer, Caller};
use tonic::Code;

async fn misbehave(caller: &mut Caller, how: &str, user_id: &str) -> Answer {
    let message = MisbehaveRequest { how: how.into(), user_id: user_id.into() };
    caller.message(MISBEHAVE, &message, &[]).await.unwrap()
}

async fn write(caller: &mut Caller, user_id: &str, extra: &[(&str, &str)]) -> Answer {
    let message = WriteNoteRequest { user_id: user_id.into(), text: "hello".into() };
    caller.message(WRITE, &message, extra).await.unwrap()
}

#[tokio::test]
async fn a_user_at_home_is_served() {
    let world = World::start().await;
    let mut caller = world.front().await;
    let answer = write(&mut caller, &here(), &[]).await;
    assert_eq!(answer.message::<WriteNoteResponse>().unwrap().count, 1);
    assert_eq!(answer.header("cellmesh-cell"), Some("bj-1"));
    assert_eq!(answer.header("cellmesh-hops"), Some("0"));
    assert_eq!(answer.header("cellmesh-token"), Some("bj-1;0;1"), "its own position");
    assert_eq!(write(&mut caller, &here(), &[]).await.header("cellmesh-token"), Some("bj-1;0;2"));
    let read = caller.message(READ, &ReadNotesRequest { user_id: here() }, &[]).await.unwrap();
    assert_eq!(read.message::<ReadNotesResponse>().unwrap().texts, ["hello", "hello"]);
    assert_eq!(read.header("cellmesh-token"), Some("bj-1;0;2"), "that of its snapshot");
    let forged = [("cellmesh-token", "sh-1;9;9")];
    assert_eq!(write(&mut caller, &here(), &forged).await.header("cellmesh-token"), Some("bj-1;0;3"));
    let other = misbehave(&mut caller, "behave", "").await;
    assert_eq!(other.header("cellmesh-token"), None, "it touched nobody's data");
    world.end().await;
}

#[tokio::test]
async fn a_user_at_home_elsewhere_is_refused_unprocessed_with_the_owner() {
    let world = World::start().await;
    let mut caller = world.front().await;
    let answer = write(&mut caller, &elsewhere(), &[]).await;
    assert_eq!(answer.code(), Some(Code::FailedPrecondition));
    let info = answer.error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["owner"].as_str()), ("WRONG_CELL", "sh-1"));
    assert_eq!((info.metadata["user_epoch"].as_str(), info.metadata["bucket_epoch"].as_str()), ("0", "1"));
    assert_eq!(answer.header("cellmesh-unprocessed"), Some("1"));
    assert_eq!(answer.header("cellmesh-token"), None);
    world.end().await;
}

#[tokio::test]
async fn a_refusal_after_a_commit_is_aborted() {
    let world = World::start().await;
    let mut caller = world.front().await;
    for how in ["write then be refused", "have it written, then be refused"] {
        let answer = misbehave(&mut caller, how, &here()).await;
        assert_eq!(answer.code(), Some(Code::Aborted), "{how}");
        assert_eq!(reason(&answer), "WRONG_CELL", "{how}");
        assert_eq!(answer.header("cellmesh-unprocessed"), None, "{how}");
    }
    world.end().await;
}

#[tokio::test]
async fn epochs_are_believed_from_peers_only() {
    let world = World::start().await;
    let newer = [("cellmesh-bucket-epoch", "9"), ("cellmesh-hops", "1")];
    let answer = write(&mut world.front().await, &here(), &newer).await;
    assert_eq!(answer.code(), Some(Code::Ok), "a stranger's epochs change nothing");
    assert_eq!(answer.header("cellmesh-hops"), Some("0"));

    let token = TOKEN.replace(' ', "-");
    let mut peer = world.peer().await;
    let known = [newer[0], newer[1], ("cellmesh-peer-token", token.as_str())];
    let answer = write(&mut peer, &here(), &known).await;
    assert_eq!((answer.code(), reason(&answer).as_str()), (Some(Code::Unavailable), "MOVING"));
    assert_eq!(answer.header("cellmesh-unprocessed"), Some("1"));
    assert_eq!(answer.header("cellmesh-hops"), Some("1"));

    for wrong in [&[][..], &[("cellmesh-peer-token", "another token")]] {
        let answer = write(&mut peer, &here(), wrong).await;
        assert_eq!((answer.code(), reason(&answer).as_str()), (Some(Code::Unauthenticated), "UNAUTHENTICATED_PEER"));
    }
    world.end().await;
}

#[tokio::test]
async fn what_handlers_do_wrong_is_answered_right() {
    let world = World::start().await;
    let mut caller = world.front().await;
    for (how, code, why) in [
        ("panic", Code::Internal, "INTERNAL"),
        ("forge", Code::Internal, "INTERNAL"),
        ("leak", Code::Internal, "INTERNAL"),
        ("sleep", Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    ] {
        let began = Instant::now();
        let answer = misbehave(&mut caller, how, "").await;
        assert_eq!((answer.code(), reason(&answer).as_str()), (Some(code), why), "{how}");
        assert!(began.elapsed() < Duration::from_secs(3), "{how}: its policy gives it 400 ms");
        assert_eq!(answer.header("cellmesh-unprocessed"), None, "{how}");
    }
    assert_eq!(misbehave(&mut caller, "behave", "").await.code(), Some(Code::Ok), "the connection lives on");
    world.end().await;
}

#[tokio::test]
async fn services_of_one_process_call_each_other_through_the_layers() {
    let world = World::start().await;
    let mut caller = world.front().await;
    write(&mut caller, &here(), &[]).await;
    let answer = misbehave(&mut caller, "call", &here()).await;
    assert_eq!(answer.message::<MisbehaveResponse>().unwrap().text, "hello");
    let reads = &["rpc_method=\"ReadNotes\"", "listener=\"peer\"", "rpc_grpc_status_code=\"OK\""];
    assert_eq!(world.count("cellmesh_server_calls_total", reads).await, 1);

    let answer = misbehave(&mut caller, "call", &elsewhere()).await;
    assert_eq!((answer.code(), reason(&answer).as_str()), (Some(Code::Unavailable), "UNAVAILABLE"));
    assert_eq!(answer.header("cellmesh-unprocessed"), None, "another call's refusal is not this one's");
    world.end().await;
}

#[tokio::test]
async fn a_call_for_a_user_elsewhere_goes_on_to_the_router() {
    // Another process stands in for the router: it takes calls on its peer listener.
    let router = World::start().await;
    let address = router.running.bound().peer.to_string();
    let world = World::with(crate::notes::Notes::default(), |config| config.services.router_peer = address).await;
    let answer = misbehave(&mut world.front().await, "call", &elsewhere()).await;
    // The stand-in is the same cell and refuses too; what counts is that it was asked, as a peer.
    assert_eq!(answer.code(), Some(Code::Unavailable));
    let asked = &["rpc_method=\"ReadNotes\"", "listener=\"peer\"", "FAILED_PRECONDITION"];
    assert_eq!(router.count("cellmesh_server_calls_total", asked).await, 1);
    world.end().await;
    router.end().await;
}

#[tokio::test]
async fn bad_input_has_its_code_and_reason() {
    let world = World::start().await;
    let mut caller = world.front().await;
    let long = "x".repeat(4096);
    let long = prost::Message::encode_to_vec(&WriteNoteRequest { user_id: here(), text: long });
    let known = prost::Message::encode_to_vec(&WriteNoteRequest { user_id: here(), text: String::new() });
    let truncated = [0x0a, 0x20, b'x'];
    let not_utf8 = [0x0a, 0x02, 0xff, 0xfe];
    let plain: &[(&str, &str)] = &[];
    for (what, path, message, extra, code, why) in [
        ("no such method", "/test.notes.v1.NoteService/Nope", &[][..], plain, Code::Unimplemented, "METHOD_UNKNOWN"),
        ("no such service", "/x.Y/Z", &[], plain, Code::Unimplemented, "METHOD_UNKNOWN"),
        ("truncated protobuf", WRITE, &truncated, plain, Code::InvalidArgument, "BAD_REQUEST"),
        ("invalid utf-8", WRITE, &not_utf8, plain, Code::InvalidArgument, "BAD_REQUEST"),
        ("empty user", WRITE, &[], plain, Code::InvalidArgument, "BAD_REQUEST"),
        ("too large", WRITE, &long, plain, Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        ("timeout unit", WRITE, &[], &[("grpc-timeout", "1x")], Code::InvalidArgument, "BAD_REQUEST"),
        ("no time", WRITE, &[], &[("grpc-timeout", "0n")], Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        (
            "two users",
            WRITE,
            &[],
            &[("cellmesh-user", "a"), ("cellmesh-user", "b")],
            Code::InvalidArgument,
            "BAD_REQUEST",
        ),
        (
            "another user in metadata",
            WRITE,
            &known,
            &[("cellmesh-user", "someone-else")],
            Code::InvalidArgument,
            "BAD_REQUEST",
        ),
        ("base64", WRITE, &[], &[("x-bin", "?")], Code::InvalidArgument, "BAD_REQUEST"),
        ("not ascii", WRITE, &[], &[("x-note", "é")], Code::InvalidArgument, "BAD_REQUEST"),
        ("encoding", WRITE, &[], &[("grpc-encoding", "br")], Code::Unimplemented, "BAD_REQUEST"),
    ] {
        let answer = caller.unary(path, message, extra).await.unwrap();
        assert_eq!((answer.code(), reason(&answer).as_str()), (Some(code), why), "{what}");
    }
    let user = here();
    let answer = caller.unary(WRITE, &known, &[("cellmesh-user", &user)]).await.unwrap();
    assert_eq!(answer.code(), Some(Code::Ok), "a hint that agrees is welcome");
    let violation = caller.unary(WRITE, &[], &[]).await.unwrap();
    assert!(violation.status().unwrap().message().contains("\"user_id\""));
    world.end().await;
}
