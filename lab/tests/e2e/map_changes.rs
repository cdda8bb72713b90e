//! The map is changed by a call through any router, and by nobody while the global cell is gone.

use crate::mesh::{Mesh, get_member, register};
use cell_map::CellMap;
use map_store::FileStore;
use mesh_proto::control_v1::{ApplyCellsRequest, ApplyCellsResponse, WantedCell, WantedCells};
use std::{net::SocketAddr, time::Duration};
use testkit::call::{Answer, Caller};
use tonic::Code;

const APPLY: &str = "/cellmesh.control.v1.MapAdminService/ApplyCells";

/// The cells of a map, the last one draining or not.
fn cells(map: &CellMap, draining: bool) -> WantedCells {
    let last = map.cells().len() - 1;
    let cell = |(at, cell): (usize, &cell_map::Cell)| WantedCell {
        id: cell.id.to_string(),
        region: cell.region.to_string(),
        weight: Some(cell.weight),
        draining: draining && at == last,
        peer_endpoints: cell.peer_endpoints.clone(),
        front_endpoints: cell.front_endpoints.clone(),
    };
    let cells = map.cells().iter().enumerate().map(cell).collect();
    WantedCells { global_cell: map.global_cell().id.to_string(), cells, distances: Vec::new() }
}

async fn apply(door: SocketAddr, wanted: WantedCells, token: &str) -> anyhow::Result<Answer> {
    let request = ApplyCellsRequest { wanted: Some(wanted), ..Default::default() };
    Caller::connect(door).await?.message(APPLY, &request, &[("cellmesh-operator-token", token)]).await
}

#[tokio::test]
async fn a_change_goes_through_any_router_and_waits_for_the_global_cell() -> anyhow::Result<()> {
    let mut mesh = Mesh::start().await?;
    let token = std::fs::read_to_string(mesh.operator_token_file())?;
    let store = FileStore::open(mesh.map_path());
    let map = store.load()?;
    let (bj, sh) = (mesh.bj().front, mesh.sh().front);
    let user = register(sh).await?;

    for (door, draining) in [(sh, true), (bj, false)] {
        let answer = apply(door, cells(&map, draining), &token).await?;
        assert_eq!(answer.header("cellmesh-cell"), Some("bj-1"), "{answer:?}");
        let applied = answer.message::<ApplyCellsResponse>()?;
        assert_eq!(applied.changes, ["cell sh-1 changed"]);
        let now = store.load()?;
        assert_eq!(applied.after.expect("a version").epoch, now.epoch().get());
        assert_eq!(now.cells()[1].is_active(), !draining);
        assert_eq!(now.bucket_table_bytes(), map.bucket_table_bytes(), "nobody's home changes");
    }
    let peer_token = mesh.peer_token().to_owned();
    for wrong in ["not-the-token-of-operators", &peer_token] {
        let answer = apply(sh, cells(&map, true), wrong).await?;
        assert_eq!(answer.code(), Some(Code::PermissionDenied), "{answer:?}");
    }

    mesh.cells[0].kill9_router().await?;
    mesh.cells[0].kill9_services().await?;
    let refused = apply(sh, cells(&map, true), &token).await?;
    assert_eq!(refused.code(), Some(Code::Unavailable), "{refused:?}");
    assert_eq!(get_member(sh, &user, &[]).await?.code(), Some(Code::Ok), "everything else goes on");
    assert_eq!(store.load()?.epoch().get(), map.epoch().get() + 2, "nothing was changed");

    mesh.cells[0].start_services().await?;
    mesh.cells[0].start_router().await?;
    let mut code = None;
    for _ in 0..200 {
        code = apply(sh, cells(&map, true), &token).await?.code();
        if code != Some(Code::Unavailable) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(code, Some(Code::Ok), "it is changed again");
    assert_eq!(store.load()?.epoch().get(), map.epoch().get() + 3);
    mesh.shutdown().await
}
