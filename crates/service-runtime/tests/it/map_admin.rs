//! Changes of the map by calls, in the process that keeps its file.

use crate::{
    notes::Notes,
    world::{World, cell, eventually, map},
};
use cell_map::{CellMap, Guard};
use map_store::FileStore;
use mesh_proto::control_v1::{
    ApplyCellsRequest, ApplyCellsResponse, WantedCell, WantedCells, map_admin_service_client::MapAdminServiceClient,
};
use service_runtime::Config;
use std::path::Path;
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::StatusExt as _;

const TOKEN: &str = "the-token-of-operators";

/// A process that keeps the map's file in `folder`, as `edit` changes it.
async fn keeper(folder: &Path, edit: impl FnOnce(&mut Config)) -> (World, MapAdminServiceClient<Channel>) {
    let file = folder.join("map.pb");
    if !file.exists() {
        FileStore::open(&file).publish(&map(), None, Guard::default()).unwrap();
    }
    std::fs::write(folder.join("token"), format!("{TOKEN}\n")).unwrap();
    let world = World::with(Notes::default(), |config| {
        config.map.file = file;
        config.operator.token_file = Some(folder.join("token"));
        edit(config);
    })
    .await;
    let front = format!("http://{}", world.running.bound().front);
    let channel = Channel::from_shared(front).unwrap().connect().await.unwrap();
    (world, MapAdminServiceClient::new(channel))
}

fn wanted(draining: bool) -> WantedCells {
    let cell = |id: &str, region: &str, draining| WantedCell {
        id: id.into(),
        region: region.into(),
        draining,
        peer_endpoints: vec![format!("{id}:7002")],
        front_endpoints: vec![format!("{id}:7000")],
        weight: None,
    };
    let cells = vec![cell("bj-1", "beijing", false), cell("sh-1", "shanghai", draining)];
    WantedCells { global_cell: "bj-1".into(), cells, distances: Vec::new() }
}

fn request(wanted: WantedCells, token: &str) -> Request<ApplyCellsRequest> {
    let mut request = Request::new(ApplyCellsRequest { wanted: Some(wanted), ..Default::default() });
    if !token.is_empty() {
        request.metadata_mut().insert("cellmesh-operator-token", token.parse().unwrap());
    }
    request
}

async fn apply(
    client: &mut MapAdminServiceClient<Channel>,
    edit: impl FnOnce(&mut ApplyCellsRequest),
) -> Result<ApplyCellsResponse, Status> {
    let mut request = request(wanted(true), TOKEN);
    edit(request.get_mut());
    client.apply_cells(request).await.map(tonic::Response::into_inner)
}

fn stored(folder: &Path) -> CellMap {
    FileStore::open(folder.join("map.pb")).load().unwrap()
}

fn epochs(applied: &ApplyCellsResponse) -> (u64, u64) {
    (applied.before.unwrap().epoch, applied.after.unwrap().epoch)
}

#[tokio::test]
async fn cells_are_applied_once_however_often_they_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (world, mut client) = keeper(folder.path(), |_| {}).await;
    let told = apply(&mut client, |request| request.dry_run = true).await.unwrap();
    assert_eq!((epochs(&told), told.changes.len()), ((1, 2), 2), "{told:?}");
    assert_eq!(stored(folder.path()).epoch().get(), 1, "a dry run changes nothing");

    let applied = apply(&mut client, |_| {}).await.unwrap();
    assert_eq!((epochs(&applied), &applied.changes), ((1, 2), &told.changes));
    let again = apply(&mut client, |request| request.expected_epoch = 1).await.unwrap();
    assert_eq!((epochs(&again), again.changes.len()), ((2, 2), 0), "a retry finds it done");
    let map = stored(folder.path());
    assert!(map.epoch().get() == 2 && !map.cell(&cell("sh-1")).unwrap().is_active(), "{:?}", map.cells());

    // Another change, built upon a map that is not there any more.
    let late = apply(&mut client, |request| (request.expected_epoch, request.wanted) = (1, Some(wanted(false)))).await;
    let late = late.expect_err("somebody was faster");
    assert_eq!(late.code(), Code::Aborted, "{late:?}");
    assert_eq!(stored(folder.path()).epoch().get(), 2);
    world.end().await;
}

#[tokio::test]
async fn of_changes_at_once_each_is_whole_and_the_epoch_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let (world, client) = keeper(folder.path(), |_| {}).await;
    let change = async |weight: u32| {
        let mut client = client.clone();
        loop {
            let applied = apply(&mut client, |request| {
                request.wanted.as_mut().unwrap().cells[1].weight = Some(weight);
            });
            match applied.await {
                Ok(applied) => return epochs(&applied).1,
                Err(status) => assert_eq!(status.code(), Code::Aborted, "{status:?}"),
            }
        }
    };
    let mut epochs: Vec<u64> = futures_util::future::join_all((2..10).map(change)).await;
    epochs.sort_unstable();
    assert_eq!(epochs, (2..10).collect::<Vec<_>>());
    assert_eq!(stored(folder.path()).epoch().get(), 9);
    world.end().await;
}

#[tokio::test]
async fn without_the_token_of_operators_nothing_is_changed_or_told() {
    let folder = tempfile::tempdir().unwrap();
    let (world, mut client) = keeper(folder.path(), |_| {}).await;
    for token in ["", "the-token-of-operatorz", "the-token-of-operator"] {
        // Not even that the cells are wrong.
        let refused = client.apply_cells(request(WantedCells::default(), token)).await.expect_err(token);
        assert_eq!(refused.code(), Code::PermissionDenied, "{token:?}: {refused:?}");
        assert!(!refused.message().contains(TOKEN), "{refused:?}");
    }
    // The token may come, change and go while the process runs.
    std::fs::write(folder.path().join("token"), "another-token-of-operators").unwrap();
    let old = apply(&mut client, |_| {}).await.expect_err("the old token");
    assert_eq!(old.code(), Code::PermissionDenied);
    std::fs::remove_file(folder.path().join("token")).unwrap();
    let none = apply(&mut client, |_| {}).await.expect_err("no token");
    assert_eq!(none.code(), Code::FailedPrecondition);
    assert!(none.message().contains("operator.token_file"), "{none:?}");
    assert_eq!(stored(folder.path()).epoch().get(), 1);
    world.end().await;
}

type Edit = fn(&mut WantedCells);

#[tokio::test]
async fn wrong_cells_are_refused_by_their_fields() {
    let folder = tempfile::tempdir().unwrap();
    let (world, mut client) = keeper(folder.path(), |_| {}).await;
    let edits: [(&str, Edit); 6] = [
        ("wanted.cells[1].region", |wanted| wanted.cells[1].region = "R!".into()),
        ("wanted.cells[0]", |wanted| wanted.cells[0].peer_endpoints = vec!["nowhere".into()]),
        ("wanted.cells[2].id", |wanted| wanted.cells.push(wanted.cells[0].clone())),
        ("wanted.cells", |wanted| drop(wanted.cells.pop())),
        ("wanted.cells", |wanted| wanted.cells.clear()),
        ("wanted.global_cell", |wanted| wanted.global_cell = "sh-1".into()),
    ];
    for (field, edit) in edits {
        let refused = apply(&mut client, |request| edit(request.wanted.as_mut().unwrap())).await;
        let refused = refused.expect_err(field);
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}: {refused:?}");
        let violations = refused.get_details_bad_request().expect("violations").field_violations;
        assert!(violations.iter().any(|violation| violation.field == field), "{field}: {violations:?}");
    }
    let missing = apply(&mut client, |request| request.wanted = None).await.expect_err("no cells");
    assert_eq!(missing.get_details_bad_request().unwrap().field_violations[0].field, "wanted");
    assert_eq!(stored(folder.path()).epoch().get(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_process_that_copies_the_map_does_not_serve_changes_and_one_of_another_cell_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = testkit::ports::free().unwrap().to_string();
    let (world, mut client) = keeper(folder.path(), |config| config.map.upstream = vec![nobody]).await;
    let refused = apply(&mut client, |_| {}).await.expect_err("it is a copy");
    assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
    world.end().await;

    let mut next = map().next();
    next.set_global_cell(&cell("sh-1"));
    let next = next.build().unwrap();
    let (world, mut client) = keeper_of(folder.path(), &next).await;
    let refused = apply(&mut client, |_| {}).await.expect_err("not the global cell");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert!(refused.message().contains("sh-1"), "{refused:?}");
    world.end().await;
}

/// The same, where another map is in force.
async fn keeper_of(folder: &Path, map: &CellMap) -> (World, MapAdminServiceClient<Channel>) {
    FileStore::open(folder.join("map.pb")).publish(map, Some(stored(folder).epoch()), Guard::default()).unwrap();
    keeper(folder, |_| {}).await
}

#[tokio::test]
async fn what_was_applied_comes_into_force_in_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let (world, mut client) = keeper(folder.path(), |_| {}).await;
    apply(&mut client, |_| {}).await.unwrap();
    let map = &world.running.context().map;
    eventually(async || map.load().epoch().get() == 2).await;
    world.end().await;
}
