//! Calls that travel together, and parts that may fail, over real connections to cells that may be down.

use crate::{
    depot::{Ask, BatchGetRequest, BatchGetResponse, Depot, Echo, ItemResult},
    server::{Asked, Server},
    world::{Router, Told, cell, eventually, mesh, user},
};
use client_sdk::{Code, Source, fanout};
use mesh_layers::{MeshError, frame};
use prost::Message;
use std::time::Duration;

/// A user whom no server serves.
const REFUSED: &str = "refused";

/// Answers each user with his own name and its cell's.
fn serve(asked: Asked, name: &'static str) {
    let asked = asked.with("cellmesh-cell", name);
    let of = |user: &str| Echo { text: format!("{user} of {name}") };
    if !asked.seen.path.ends_with("/BatchLoad") {
        let ask = Ask::decode(asked.seen.message.clone()).unwrap();
        if ask.text == REFUSED {
            let asked = asked.with("grpc-status", "5").with("grpc-message", &format!("no {}", ask.user));
            let head = asked.head();
            return asked.send_head(head);
        }
        return asked.echo(&of(&ask.user).text);
    }
    let request = BatchGetRequest::decode(asked.seen.message.clone()).unwrap();
    let results = request.users.iter().zip(&request.texts).map(|(user, text)| match &**text {
        REFUSED => ItemResult { echo: None, code: 5, message: format!("no {user}") },
        _ => ItemResult { echo: Some(of(user)), code: 0, message: String::new() },
    });
    let response = BatchGetResponse { results: results.collect() };
    let head = asked.head();
    asked.answer(head, &[frame::encode(&response.encode_to_vec())], "0");
}

async fn server(name: &'static str) -> Server {
    Server::start(move |asked| async move { serve(asked, name) }).await
}

/// Cells `b` and `c`, and a router whose way to `c` is down whenever the client's is.
async fn cells() -> (Server, Server, Router) {
    let (b, c) = (server("b").await, server("c").await);
    let told = Told::new(&[("b", &b), ("c", &c)]);
    let unreachable = |asked: Asked| async move { asked.fail(MeshError::cell_unreachable(&cell("c")), false) };
    (b, c, Router::with(told, unreachable).await)
}

async fn down(depot: &Depot, c: Server) {
    c.kill().await;
    eventually(async || depot.get(&user("c", 0)).await.is_err()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_single_gets_are_few_calls_and_each_has_his_own_result_or_error() {
    let (b, _c, router) = cells().await;
    let (_mesh, depot) = mesh(&router).await;
    let mut callers = tokio::task::JoinSet::new();
    let users: Vec<String> = (0..5).map(|n| user("b", n)).collect();
    for n in 0..1_000 {
        let (depot, user) = (depot.clone(), users[n % users.len()].clone());
        // Every call has another text, so that none is another's twin.
        let text = if n % 100 == 7 { REFUSED.to_owned() } else { n.to_string() };
        callers.spawn(async move {
            let answer = depot.load(&user, text.clone()).await;
            (user, text, answer)
        });
    }
    let mut batched = 0;
    while let Some(caller) = callers.join_next().await {
        let (user, text, answer) = caller.unwrap();
        match answer {
            Ok(reply) => {
                assert_eq!((reply.value.text, &*text == REFUSED), (format!("{user} of b"), false));
                batched += usize::from(matches!(reply.source, Source::Batched { .. }));
            }
            Err(error) => {
                assert_eq!((error.code(), &*text), (Code::NotFound, REFUSED), "{error}");
                assert!(error.message().contains(&user), "{error}");
            }
        }
    }
    let rpcs = b.seen().len();
    println!("figure: single gets over connections N=1000 rpcs={rpcs} batched={batched}");
    assert!(rpcs <= 40, "{rpcs} calls were made");
}

#[tokio::test]
async fn a_batch_over_two_cells_comes_back_whole_or_names_its_failed_items() {
    let (_b, c, router) = cells().await;
    let (_mesh, depot) = mesh(&router).await;
    let users = [user("b", 0), user("c", 0), user("b", 1), user("c", 1)];
    let texts = async || {
        let reply = depot.batch_load(users.clone().into()).await.unwrap();
        let text = |result: ItemResult| result.echo.map(|echo| echo.text).ok_or((result.code, result.message));
        reply.value.results.into_iter().map(text).collect::<Vec<_>>()
    };
    let own = |n: usize, cell: &str| Ok(format!("{} of {cell}", users[n]));
    assert_eq!(texts().await, [own(0, "b"), own(1, "c"), own(2, "b"), own(3, "c")]);
    down(&depot, c).await;
    let partly = texts().await;
    assert_eq!((&partly[0], &partly[2]), (&own(0, "b"), &own(2, "b")));
    for failed in [&partly[1], &partly[3]] {
        let (code, why) = failed.as_ref().unwrap_err();
        assert!(*code == 14 && why.contains("cell c"), "{code} {why}");
    }
}

#[tokio::test]
async fn a_leader_who_goes_harms_no_waiter() {
    let (gate, b) = held().await;
    let router = Router::start(Told::new(&[("b", &b)])).await;
    let (_mesh, depot) = mesh(&router).await;
    let get = |depot: Depot| async move { depot.get(&user("b", 0)).await };
    let leader = tokio::spawn(get(depot.clone()));
    eventually(async || b.seen().len() == 1).await;
    let waiters: Vec<_> = (0..10).map(|_| tokio::spawn(get(depot.clone()))).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    gate.add_permits(10);
    for waiter in waiters {
        assert!(waiter.await.unwrap().is_ok());
    }
    assert_eq!(b.seen().len(), 1, "one call for all");
}

/// A server that answers when it is let.
async fn held() -> (std::sync::Arc<tokio::sync::Semaphore>, Server) {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let open = std::sync::Arc::clone(&gate);
    let server = Server::start(move |asked| {
        let open = std::sync::Arc::clone(&open);
        async move {
            open.acquire().await.unwrap().forget();
            serve(asked, "b");
        }
    });
    (gate, server.await)
}

#[tokio::test]
async fn with_a_cell_down_optional_parts_degrade_by_name_and_core_errors_name_the_cell() {
    let (_b, c, router) = cells().await;
    let (_mesh, depot) = mesh(&router).await;
    let (near, far) = (user("b", 0), user("c", 0));
    down(&depot, c).await;
    let page = fanout! {
        deadline = Duration::from_secs(5);
        core: user = depot.get(&near);
        optional: liked = depot.get(&far) => Echo { text: "nobody knows".to_owned() }, read = depot.get(&near) => Echo::default()
    };
    let page = page.await.unwrap();
    assert_eq!((page.user.text, &*page.liked.text), (format!("{near} of b"), "nobody knows"));
    assert_eq!(page.read.text, format!("{near} of b"));
    let [degraded] = &page.degraded[..] else { panic!("{:?}", page.degraded) };
    assert_eq!((degraded.part, degraded.error.cell()), ("liked", Some(&cell("c"))));
    let failed = fanout!(core: user = depot.get(&near), cart = depot.get(&far)).await;
    let error = failed.map(|page| (page.user, page.cart)).unwrap_err();
    assert_eq!((error.code(), error.cell()), (Code::Unavailable, Some(&cell("c"))));
    assert!(error.message().contains("part \"cart\""), "{error}");
}
