use crate::cell::{Cell, Setup, assert_mesh, id, two_cells};
use cell_map::{BucketId, CellState};
use futures_util::future::join_all;
use shop_proto::member_v1::{GetMemberRequest, RegisterRequest};
use std::collections::HashSet;
use tonic::{Code, metadata::MetadataMap};

fn request(request_id: &str, display_name: &str) -> RegisterRequest {
    RegisterRequest { request_id: request_id.into(), display_name: display_name.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_at_home_where_he_registers() {
    let cell = Setup::of("sh-1").start().await;
    for _ in 0..20 {
        let registered = cell.member().register(request("", "小明")).await.expect("registered");
        assert_eq!(registered.metadata().get("cellmesh-cell").expect("named"), "sh-1");
        let registered = registered.into_inner();
        let home = cell.map.home(registered.user_id.as_bytes());
        assert_eq!(home.cell.id.as_str(), "sh-1");
        assert!(!cell.map.is_reserved(home.bucket), "nothing is minted in reserved buckets");
        let asked = GetMemberRequest { user_id: registered.user_id.clone() };
        let found = cell.member().get_member(asked).await.expect("at home").into_inner();
        assert_eq!(found.member, registered.member);
        assert_eq!(found.member.expect("there").display_name, "小明");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_registration_gives_the_same_member() {
    let cell = Setup::of("bj-1").start().await;
    let first = cell.member().register(request("r-1", "Ann")).await.expect("registered");
    let again = cell.member().register(request("r-1", "Ann")).await.expect("replayed");
    let token = |headers: &MetadataMap| headers.get("cellmesh-token").map(|token| token.to_str().unwrap().to_owned());
    assert!(token(first.metadata()).is_some());
    assert_eq!(token(first.metadata()), token(again.metadata()), "nobody wrote since");
    assert_eq!(first.into_inner(), again.into_inner());
    let other = cell.member().register(request("r-1", "Bob")).await.expect_err("another request");
    assert_mesh(&other, Code::FailedPrecondition, "IDEMPOTENCY_CONFLICT");
    let anew = [cell.register().await, cell.register().await];
    assert_ne!(anew[0], anew[1], "without a request id every call registers anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_cell_repeats_an_answer_but_registers_nobody() {
    let cell = Setup::of("sh-1").start().await;
    let first = cell.member().register(request("r-1", "Ann")).await.expect("registered").into_inner();
    let (dir, _own) = cell.stop().await;
    let mut draft = two_cells().next();
    draft.set_cell_state(&id("sh-1"), CellState::Draining).expect("a known cell");
    let map = draft.build().expect("valid");
    let cell = Setup { map, dir: Some(dir), ..Setup::of("sh-1") }.start().await;
    let again = cell.member().register(request("r-1", "Ann")).await.expect("replayed").into_inner();
    assert_eq!(first, again);
    let refused = cell.member().register(request("r-2", "Ann")).await.expect_err("mints no id");
    assert_mesh(&refused, Code::Unavailable, "CELL_DRAINING");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_concurrent_registrations_with_one_id_make_one_member() {
    let cell = Setup::of("bj-1").start().await;
    let register = || async {
        loop {
            match cell.member().register(request("r-1", "Ann")).await {
                Ok(registered) => return registered.into_inner().user_id,
                Err(status) => assert_mesh(&status, Code::Aborted, "IDEMPOTENCY_IN_PROGRESS"),
            }
        }
    };
    let ids: HashSet<String> = join_all((0..50).map(|_| register())).await.into_iter().collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_without_buckets_has_no_home_for_anybody() {
    let mut draft = two_cells().next();
    for bucket in BucketId::all() {
        draft.set_bucket_cell(bucket, &id("bj-1")).expect("a known cell");
    }
    let map = draft.build().expect("valid");
    let cell = Setup { map, ..Setup::of("sh-1") }.start().await;
    let refused = cell.member().register(RegisterRequest::default()).await.expect_err("nowhere to mint");
    assert_mesh(&refused, Code::Unavailable, "NO_HOME");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_has_the_last_word_on_where_ids_are_minted() {
    // The database was made when the cell had half the buckets; a newer map gives it the others before they are moved.
    let first = Setup::of("bj-1").start().await;
    let old = first.map.clone();
    let (dir, _own) = first.stop().await;
    let mut draft = two_cells().next();
    for bucket in BucketId::all() {
        draft.set_bucket_cell(bucket, &id("bj-1")).expect("a known cell");
    }
    let map = draft.build().expect("valid");
    let cell: Cell = Setup { map, dir: Some(dir), ..Setup::of("bj-1") }.start().await;
    for _ in 0..20 {
        let user_id = cell.register().await;
        assert_eq!(old.home(user_id.as_bytes()).cell.id.as_str(), "bj-1", "minted in a bucket that is elsewhere");
    }
}
