//! Calls that name several users.

use crate::support::*;
use bytes::Bytes;
use cell_map::OwnerEpochs;
use h2::{RecvStream, client::SendRequest};
use http::{Request, Response};
use mesh_layers::{MeshError, Reason};
use prost::Message as _;
use std::sync::atomic::Ordering::Relaxed;
use testkit::call::Answer;
use tonic::Code;

#[derive(Clone, PartialEq, prost::Message)]
struct Batch {
    #[prost(string, repeated, tag = "1")]
    accounts: Vec<String>,
    #[prost(string, tag = "2")]
    view: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Results {
    #[prost(message, repeated, tag = "1")]
    results: Vec<Line>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Line {
    #[prost(string, tag = "1")]
    account: String,
    #[prost(string, tag = "2")]
    text: String,
    #[prost(int32, tag = "3")]
    code: i32,
    #[prost(string, tag = "4")]
    message: String,
}

/// Answers a batch with a result `<name>:<account>` for each item.
fn batch(asked: Asked, name: &str) {
    let line = |account| Line { text: format!("{name}:{account}"), account, ..Line::default() };
    let results = accounts(&asked).into_iter().map(line).collect();
    asked.messages(&[Results { results }.encode_to_vec()]);
}

fn accounts(asked: &Asked) -> Vec<String> {
    Batch::decode(&*asked.seen.message).unwrap().accounts
}

async fn server(name: &'static str) -> Upstream {
    Upstream::start(move |asked| async move { batch(asked, name) }).await
}

/// A server that has none of these users any more: they are at home in `owner`.
async fn moved_to(owner: &'static str, at: OwnerEpochs) -> Upstream {
    Upstream::start(move |asked| async move { asked.wrong_cell(owner, at, true) }).await
}

fn request(accounts: &[String]) -> Vec<u8> {
    Batch { accounts: accounts.to_vec(), view: "full".into() }.encode_to_vec()
}

#[track_caller]
fn results(answer: &Answer) -> Vec<Line> {
    assert_eq!(answer.code(), Some(Code::Ok), "{:?}", answer.status());
    Results::decode(&answer.body[5..]).unwrap().results
}

/// That a user was served, and by whom.
#[track_caller]
fn served(line: &Line, user: &str, by: &str) {
    let expected = Line { account: user.into(), text: format!("{by}:{user}"), ..Line::default() };
    assert_eq!(*line, expected);
}

#[tokio::test]
async fn a_batch_over_several_cells_is_split_and_merged_in_order() {
    let (a, b, c) = (server("a").await, server("b").await, server("c").await);
    let router = start(&[&a], &[("b", &b), ("c", &c)]).await;
    let homes = ["b", "a", "c", "b", "a", "b"];
    let users: Vec<String> = homes.iter().enumerate().map(|(n, home)| text_account(home, n)).collect();
    let answer = call(&mut router.caller().await, "BatchGet", &request(&users), &[]).await;
    let lines = results(&answer);
    assert_eq!(lines.len(), homes.len());
    for ((line, home), user) in lines.iter().zip(homes).zip(&users) {
        served(line, user, home);
    }
    assert_eq!(answer.header("cellmesh-hops"), Some("1"));
    assert_eq!([&a, &b, &c].map(|upstream| upstream.seen().len()), [1, 1, 1], "one call a cell");
}

#[tokio::test]
async fn items_of_a_cell_that_fails_say_so_and_the_others_are_served() {
    let a = server("a").await;
    let b = Upstream::start(|asked| async move { asked.fail(MeshError::new(Reason::Internal, "out of order"), false) });
    let b = b.await;
    let router = start(&[&a], &[("b", &b)]).await;
    let users = [text_account("a", 0), text_account("b", 0), text_account("c", 0)];
    let answer = call(&mut router.caller().await, "BatchGet", &request(&users), &[]).await;
    let lines = results(&answer);
    served(&lines[0], &users[0], "a");
    assert_eq!((lines[1].code, &lines[1].account), (13, &users[1]), "{lines:?}");
    assert!(lines[2].code == 14 && lines[2].message.contains("\"c\""), "{lines:?}");
}

#[tokio::test]
async fn a_batch_of_one_cell_goes_there_whole() {
    let (a, b) = (server("a").await, server("b").await);
    let router = start(&[&a], &[("b", &b)]).await;
    let users: Vec<String> = (0..5).map(|n| text_account("b", n)).collect();
    let answer = call(&mut router.caller().await, "BatchGet", &request(&users), &[]).await;
    assert_eq!(results(&answer).len(), 5);
    assert_eq!(b.seen().len(), 1);
    assert_eq!(b.seen()[0].message, request(&users));
    assert_eq!(answer.header("cellmesh-source"), None, "nothing was merged");
}

#[tokio::test]
async fn a_batch_refused_for_one_of_its_users_is_divided() {
    let a = server("a").await;
    let moved = text_account("b", 1);
    let gone = moved.clone();
    let b = Upstream::start(move |asked| {
        let gone = gone.clone();
        async move {
            match accounts(&asked).contains(&gone) {
                true => asked.wrong_cell("c", epochs(4, 1), true),
                false => batch(asked, "b"),
            }
        }
    });
    let (b, c) = (b.await, server("c").await);
    let router = start(&[&a], &[("b", &b), ("c", &c)]).await;
    let users = [text_account("b", 0), moved.clone(), text_account("b", 2)];
    let answer = call(&mut router.caller().await, "BatchGet", &request(&users), &[]).await;
    let lines = results(&answer);
    served(&lines[0], &users[0], "b");
    served(&lines[1], &moved, "c");
    served(&lines[2], &users[2], "b");
}

#[tokio::test]
async fn a_part_whose_users_have_all_moved_is_divided_again() {
    let (a, b, c) = (server("a").await, moved_to("c", epochs(4, 1)).await, server("c").await);
    let router = start(&[&a], &[("b", &b), ("c", &c)]).await;
    let users = [text_account("b", 0), text_account("a", 0), text_account("b", 1)];
    let mut caller = router.caller().await;
    for round in 0..2 {
        let lines = results(&call(&mut caller, "BatchGet", &request(&users), &[]).await);
        for (line, by) in lines.iter().zip(["c", "a", "c"]) {
            served(line, &line.account, by);
        }
        assert_eq!(lines.iter().map(|line| &line.account).collect::<Vec<_>>(), users.iter().collect::<Vec<_>>());
        assert_eq!(b.seen().len(), 3, "round {round}: asked for both, then for each, and not again when it is known");
    }
    assert_eq!(c.seen().len(), 3, "asked for each, then for both at once");
}

#[tokio::test]
async fn dividing_again_has_an_end() {
    let (a, b, c) = (server("a").await, moved_to("c", epochs(4, 1)).await, moved_to("b", epochs(4, 1)).await);
    let router = start(&[&a], &[("b", &b), ("c", &c)]).await;
    let users = [text_account("a", 0), text_account("b", 0), text_account("b", 1)];
    let lines = results(&call(&mut router.caller().await, "BatchGet", &request(&users), &[]).await);
    served(&lines[0], &users[0], "a");
    assert_eq!(lines[1..].iter().map(|line| line.code).collect::<Vec<_>>(), [14, 14], "{lines:?}");
    let asked = b.seen().len() + c.seen().len();
    assert!(asked <= 1 + 2 * 4, "asked {asked} times");
}

#[tokio::test]
async fn what_the_parts_of_a_batch_hold_is_paid_from_the_budget() {
    let (a, b) = (server("a").await, server("b").await);
    let mut config = config("a", &[a.address], &[("b", b.address)]);
    config.limits.connection_budget_bytes = 20_000;
    let router = start_with(config, map()).await;
    router.reaches(&["a", "b"]).await;
    let mut caller = router.caller().await;
    let apart = [text_account("a", 0), text_account("b", 0)];
    let of = |view: usize| Batch { accounts: apart.to_vec(), view: "x".repeat(view) }.encode_to_vec();
    for _ in 0..20 {
        let answer = call(&mut caller, "BatchGet", &of(12_000), &[]).await;
        assert_eq!(refused(&answer), (Code::ResourceExhausted, "RATE_LIMITED".into()));
    }
    assert!(a.seen().is_empty() && b.seen().is_empty(), "nothing was sent");
    for _ in 0..20 {
        assert_eq!(results(&call(&mut caller, "BatchGet", &of(8_000), &[]).await).len(), 2, "all is given back");
    }
}

/// A server that answers each item with so much text.
async fn wordy(bytes: usize) -> Upstream {
    Upstream::start(move |asked| async move {
        let line = |account| Line { account, text: "x".repeat(bytes), ..Line::default() };
        let results = accounts(&asked).into_iter().map(line).collect();
        asked.messages(&[Results { results }.encode_to_vec()]);
    })
    .await
}

#[tokio::test]
async fn collected_answers_are_paid_from_the_budget() {
    let (a, b) = (wordy(30_000).await, wordy(30_000).await);
    let mut config = config("a", &[a.address], &[("b", b.address)]);
    config.limits.connection_budget_bytes = 50_000;
    let router = start_with(config, map()).await;
    router.reaches(&["a", "b"]).await;
    let mut caller = router.caller().await;
    let users = [text_account("a", 0), text_account("b", 0)];
    for round in 0..20 {
        let lines = results(&call(&mut caller, "BatchGet", &request(&users), &[]).await);
        let mut codes: Vec<i32> = lines.iter().map(|line| line.code).collect();
        codes.sort_unstable();
        assert_eq!(codes, [0, 8], "round {round}: there is room for one answer, and the other item says so");
    }
}

/// Begins a batch and does not read its answer.
async fn begin(sender: &mut SendRequest<Bytes>, users: &[String], timeout: &str) -> Response<RecvStream> {
    let head = Request::post(format!("http://x{SHELF}/BatchGet")).header("content-type", "application/grpc");
    let head = head.header("grpc-timeout", timeout).body(()).unwrap();
    let (response, mut body) = sender.send_request(head, false).unwrap();
    body.send_data(mesh_layers::frame::encode(&request(users)), true).unwrap();
    response.await.unwrap()
}

/// Reads an answer to its end, as fast as it comes.
async fn finish(response: Response<RecvStream>) -> Answer {
    let (head, mut from) = response.into_parts();
    let mut body = Vec::new();
    while let Some(data) = from.data().await {
        let data = data.unwrap();
        let _ = from.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    let trailers = from.trailers().await.unwrap().unwrap_or_else(|| head.headers.clone());
    Answer { http: head.status, headers: head.headers, trailers, body: body.into() }
}

#[tokio::test]
async fn a_merged_answer_is_sent_at_the_callers_pace_on_the_budget_and_until_the_deadline() {
    let (a, b) = (wordy(100_000).await, wordy(100_000).await);
    let mut config = config("a", &[a.address], &[("b", b.address)]);
    config.limits.connection_budget_bytes = 320_000;
    let router = start_with(config, map()).await;
    router.reaches(&["a", "b"]).await;
    let mut sender = router.raw().await.ready().await.unwrap();
    let users = [text_account("a", 0), text_account("b", 0)];
    // Its window is full before the end of the answer, and stays so.
    let unread = begin(&mut sender, &users, "2S").await;
    let meanwhile = results(&finish(begin(&mut sender, &users, "2S").await).await);
    assert!(meanwhile.iter().any(|line| line.code == 8), "what waits to be sent counts");

    let mut body = unread.into_body();
    let mut got = 0;
    while let Some(data) = body.data().await {
        got += data.unwrap().len();
    }
    let trailers = body.trailers().await.unwrap().expect("it ends with trailers");
    assert_eq!(trailers["grpc-status"], "4", "{trailers:?}");
    assert!((1..200_000).contains(&got), "{got} bytes came");
    let lines = results(&finish(begin(&mut sender, &users, "5S").await).await);
    assert!(lines.iter().all(|line| line.code == 0 && line.text.len() == 100_000), "all was given back");
    assert_eq!(router.router.brain().in_flight.load(Relaxed), 0);
}

#[tokio::test]
async fn several_users_without_a_batch_policy_must_live_together() {
    let (a, b) = (Upstream::named("a").await, Upstream::named("b").await);
    let router = start(&[&a], &[("b", &b)]).await;
    let mut caller = router.caller().await;
    let together = request(&[text_account("b", 0), text_account("b", 1)]);
    assert_eq!(echoed(&call(&mut caller, "Many", &together, &[]).await), "b");
    let apart = request(&[text_account("a", 0), text_account("b", 1)]);
    let answer = call(&mut caller, "Many", &apart, &[]).await;
    assert_eq!(refused(&answer), (Code::InvalidArgument, "BAD_REQUEST".into()));
    assert_eq!(answer.error_info().unwrap().metadata["foreign_keys"], text_account("b", 1));
}
