//! Calls that name several users.

use crate::support::*;
use mesh_layers::{MeshError, Reason};
use tonic::Code;

/// Answers a batch with a result `<name>:<account>` for each item.
fn batch(asked: Asked, name: &str) {
    let results: Vec<u8> = accounts(&asked.seen.message)
        .iter()
        .flat_map(|account| field_bytes(1, &[text(1, account), text(2, &format!("{name}:{account}"))].concat()))
        .collect();
    asked.messages(&[results]);
}

/// Values of the repeated field 1.
fn accounts(mut message: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let [tag, length, rest @ ..] = message {
        let (value, rest) = rest.split_at(usize::from(*length));
        if *tag == 1 << 3 | 2 {
            found.push(String::from_utf8(value.to_vec()).unwrap());
        }
        message = rest;
    }
    found
}

async fn server(name: &'static str) -> Upstream {
    Upstream::start(move |asked| async move { batch(asked, name) }).await
}

fn request(accounts: &[String]) -> Vec<u8> {
    [accounts.iter().flat_map(|account| text(1, account)).collect::<Vec<u8>>(), text(2, "full")].concat()
}

/// The texts (or code and message) of a batch's results.
fn results(body: &[u8]) -> Vec<String> {
    let mut rest = &body[5..];
    let mut out = Vec::new();
    while let [tag, length, tail @ ..] = rest {
        assert_eq!(*tag, 1 << 3 | 2);
        let (mut result, tail) = tail.split_at(usize::from(*length));
        let mut line = String::new();
        while let [tag, value, after @ ..] = result {
            if tag & 7 == 0 {
                line += &format!("[code {value}]");
                result = after;
            } else {
                let (value, after) = after.split_at(usize::from(*value));
                line += &format!("{}={} ", tag >> 3, String::from_utf8_lossy(value));
                result = after;
            }
        }
        out.push(line.trim().to_owned());
        rest = tail;
    }
    out
}

#[tokio::test]
async fn a_batch_over_several_cells_is_split_and_merged_in_order() {
    let (a, b, c) = (server("a").await, server("b").await, server("c").await);
    let router = start(&[&a], &[("b", &b), ("c", &c)]).await;
    let homes = ["b", "a", "c", "b", "a", "b"];
    let users: Vec<String> = homes.iter().enumerate().map(|(n, home)| text_account(home, n)).collect();
    let answer = call(&mut router.caller().await, "BatchGet", &request(&users), &[]).await;
    assert_eq!(answer.code(), Some(Code::Ok), "{:?}", answer.status());
    let expected: Vec<String> =
        homes.iter().zip(&users).map(|(home, user)| format!("1={user} 2={home}:{user}")).collect();
    assert_eq!(results(&answer.body), expected);
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
    let lines = results(&answer.body);
    assert_eq!(lines[0], format!("1={} 2=a:{}", users[0], users[0]));
    assert!(lines[1].contains("[code 13]") && lines[1].contains(&users[1]), "{lines:?}");
    assert!(lines[2].contains("[code 14]") && lines[2].contains("\"c\""), "{lines:?}");
}

#[tokio::test]
async fn a_batch_of_one_cell_goes_there_whole() {
    let (a, b) = (server("a").await, server("b").await);
    let router = start(&[&a], &[("b", &b)]).await;
    let users: Vec<String> = (0..5).map(|n| text_account("b", n)).collect();
    let answer = call(&mut router.caller().await, "BatchGet", &request(&users), &[]).await;
    assert_eq!(results(&answer.body).len(), 5);
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
            match accounts(&asked.seen.message).contains(&gone) {
                true => asked.wrong_cell("c", epochs(4, 1), true),
                false => batch(asked, "b"),
            }
        }
    });
    let (b, c) = (b.await, server("c").await);
    let router = start(&[&a], &[("b", &b), ("c", &c)]).await;
    let users = [text_account("b", 0), moved.clone(), text_account("b", 2)];
    let answer = call(&mut router.caller().await, "BatchGet", &request(&users), &[]).await;
    let lines = results(&answer.body);
    assert_eq!(lines[0], format!("1={} 2=b:{}", users[0], users[0]));
    assert_eq!(lines[1], format!("1={moved} 2=c:{moved}"));
    assert_eq!(lines[2], format!("1={} 2=b:{}", users[2], users[2]));
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
