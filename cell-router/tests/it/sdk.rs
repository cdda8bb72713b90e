//! The client SDK at a router's front door.

use crate::support::*;
use client_sdk::{
    Code, Idempotency, Key, Mesh, Method, MethodPolicy, Scope, Slot, Source, State, generated::CanonicalKey,
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

#[derive(Clone, PartialEq, prost::Message)]
struct GetRequest {
    #[prost(string, tag = "3")]
    account: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Echo {
    #[prost(string, tag = "1")]
    text: String,
}

struct Get;

impl Method for Get {
    type Request = GetRequest;
    type Response = Echo;
    const POLICY: MethodPolicy =
        MethodPolicy::new("/warehouse.v1.Shelf/Get", Scope::User).side_effects(Idempotency::NoSideEffects);

    fn key(request: &GetRequest) -> Result<Key<'_>, cell_map::KeyError> {
        CanonicalKey::borrowed(request.account.as_bytes())
    }
}

async fn get(mesh: &Mesh, home: &str) -> Result<client_sdk::Reply<Echo>, client_sdk::Error> {
    let request = GetRequest { account: text_account(home, 0) };
    client_sdk::Call::new(mesh, &Slot::<Get>::of(mesh), request).await
}

#[tokio::test]
async fn a_router_tells_clients_what_they_need() {
    let (here, there) = (Upstream::named("a").await, Upstream::named("b").await);
    let router = start(&[&here], &[("b", &there)]).await;
    let mesh = Mesh::builder().seeds([router.front().to_string()]).build().unwrap();
    timeout(Duration::from_secs(20), mesh.ready()).await.unwrap().unwrap();
    assert_eq!(mesh.state(), State::Ready);
    for (home, hops) in [("a", 0), ("b", 1)] {
        let reply = get(&mesh, home).await.unwrap();
        assert_eq!(reply.value.text, home);
        let Source::Remote { cell: Some(served), attempts: 1, hops: made } = reply.source else {
            panic!("{:?}", reply.source);
        };
        // Straight to an instance there are none.
        assert!((served.as_str(), made) == (home, hops) || made == 0, "{served} after {made}");
    }
    let mut next = map().next();
    next.pin(cell_map::UserKey::from_text(&text_account("b", 0)).unwrap(), &cell("a"), cell_map::UserEpoch::new(1))
        .unwrap();
    router.maps.send_replace(Arc::new(next.build().unwrap()));
    timeout(Duration::from_secs(20), async {
        while get(&mesh, "b").await.unwrap().value.text != "a" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_dead_cell_is_named_through_the_router_too() {
    let here = Upstream::named("a").await;
    let there = Upstream::named("b").await;
    let router = start(&[&here], &[("b", &there)]).await;
    let mesh = Mesh::builder().seeds([router.front().to_string()]).build().unwrap();
    assert_eq!(get(&mesh, "b").await.unwrap().value.text, "b", "at once, before anything is known");
    there.kill().await;
    let error = get(&mesh, "b").await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (Code::Unavailable, Some("CELL_UNREACHABLE")));
    assert_eq!(error.cell(), Some(&cell("b")));
    assert_eq!(get(&mesh, "a").await.unwrap().value.text, "a");
}
