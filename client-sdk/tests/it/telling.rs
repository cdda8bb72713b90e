//! What routers tell, and what is left when they do not.

use crate::{
    depot::Depot,
    routing::Cells,
    world::{Router, Told, builder, cell, draft, eventually, map, mesh, nowhere, ready, user, within},
};
use cell_map::{Incarnation, UserEpoch, UserKey};
use client_sdk::{Mesh, State};
use mesh_proto::control_v1::MethodRestriction;
use std::{sync::Arc, time::Duration};

#[tokio::test]
async fn routers_may_go_once_the_world_is_known() {
    let cells = Cells::start().await;
    let (mesh, depot) = mesh(&cells.router).await;
    let Cells { router, a: _a, b: _b, c: _c } = cells;
    let address = router.server.kill().await;
    eventually(async || mesh.state() == State::Stale).await;
    for home in ["a", "b", "c"] {
        assert_eq!(depot.put(&user(home, 0)).await.unwrap().value.text, home);
    }
    let told = Told { map: Some(Arc::new(map())), ..Told::new(&[]) };
    let _back = Router::at(address, told, |asked| async move { asked.echo("router") }).await;
    within(mesh.ready()).await.unwrap();
}

#[tokio::test]
async fn a_process_starts_by_its_last_good_copy_with_all_routers_down() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("mesh.bin");
    let cells = Cells::start().await;
    let (mesh, _depot) = ready(builder(&cells.router).last_good(&copy)).await;
    eventually(async || copy.exists()).await;
    drop(mesh);
    let seeds = [nowhere().await.to_string()];
    let mesh = Mesh::builder().seeds(seeds).last_good(&copy).build().unwrap();
    assert_eq!(mesh.state(), State::Stale);
    let depot = Depot::new(&mesh);
    for home in ["a", "b", "c"] {
        assert_eq!(depot.put(&user(home, 0)).await.unwrap().value.text, home);
    }
    assert_eq!(depot.count().await.unwrap().value.text, "a", "the nearest cell is remembered");
}

#[tokio::test]
async fn a_router_that_has_not_heard_of_a_cell_takes_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("mesh.bin");
    let cells = Cells::start().await;
    let (mesh, depot) = ready(builder(&cells.router).last_good(&copy)).await;
    eventually(async || copy.exists()).await;
    // As after its restart: it knows its own cell only. The restriction shows when it was heard.
    cells.router.told.send_modify(|told| {
        told.instances.retain(|(cell, _)| *cell == "a");
        let method = MethodRestriction { method: "/no.Such/Method".to_owned(), no_batch: true, ..Default::default() };
        told.methods = vec![method];
    });
    let before = std::fs::read(&copy).unwrap();
    eventually(async || std::fs::read(&copy).is_ok_and(|now| now != before)).await;
    assert_eq!(depot.put(&user("b", 0)).await.unwrap().value.text, "b");
    drop(mesh);
    let seeds = [nowhere().await.to_string()];
    let mesh = Mesh::builder().seeds(seeds).last_good(&copy).build().unwrap();
    assert_eq!(Depot::new(&mesh).put(&user("c", 0)).await.unwrap().value.text, "c", "nor from the copy");
    assert!(cells.router.server.seen().is_empty(), "both went straight");
}

#[tokio::test]
async fn a_damaged_last_good_copy_is_as_good_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("mesh.bin");
    let cells = Cells::start().await;
    let (mesh, _depot) = ready(builder(&cells.router).last_good(&copy)).await;
    eventually(async || copy.exists()).await;
    drop(mesh);
    let sound = std::fs::read(&copy).unwrap();
    for damage in 0..6 {
        let mut bytes = sound.clone();
        match damage {
            0 => bytes.truncate(sound.len() / 2),
            1 => bytes[200] ^= 1,
            2 => bytes.clear(),
            3 => bytes[0] = b'X',
            4 => bytes.extend_from_slice(b"more"),
            _ => bytes = vec![0xff; 100],
        }
        std::fs::write(&copy, bytes).unwrap();
        let mesh = builder(&cells.router).last_good(&copy).build().unwrap();
        assert_eq!(mesh.state(), State::Starting, "damage {damage}");
        within(mesh.ready()).await.unwrap();
        assert_eq!(Depot::new(&mesh).get(&user("b", 0)).await.unwrap().value.text, "b");
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_opened_anew_at_the_next_seed() {
    let (silent, cells) = (Cells::start().await, Cells::start().await);
    let seeds = [&silent.router, &cells.router].map(|router| router.server.address.to_string());
    let (mesh, depot) = ready(Mesh::builder().seeds(seeds)).await;
    let idle = cells.router.told.receiver_count();
    silent.router.told.send_modify(|told| told.beats = false);
    // It is stale until then, which may be too short to be seen.
    eventually(async || cells.router.told.receiver_count() > idle).await;
    within(mesh.ready()).await.unwrap();
    // The new one's instances are in force.
    depot.put(&user("b", 0)).await.unwrap();
    assert_eq!((silent.b.seen().len(), cells.b.seen().len()), (0, 1));
}

#[tokio::test]
async fn a_client_returns_to_an_earlier_seed_without_a_break() {
    let (near, far) = (Cells::start().await, Cells::start().await);
    let seeds = [&near.router, &far.router].map(|router| router.server.address.to_string());
    let told = near.router.told.borrow().clone();
    let address = near.router.server.kill().await;
    let (mesh, depot) = ready(Mesh::builder().seeds(seeds)).await;
    depot.put(&user("b", 0)).await.unwrap();
    assert_eq!((near.b.seen().len(), far.b.seen().len()), (0, 1));
    let _back = Router::at(address, told, |asked| async move { asked.echo("router") }).await;
    eventually(async || {
        assert_eq!(mesh.state(), State::Ready);
        depot.put(&user("b", 0)).await.unwrap();
        near.b.seen().len() == 1
    })
    .await;
}

#[tokio::test]
async fn messages_that_lay_in_a_buffer_confirm_nothing() {
    let cells = Cells::start().await;
    let (mesh, _depot) = mesh(&cells.router).await;
    // They go on coming, but each was sent, it says, when the stream was opened.
    cells.router.told.send_modify(|told| told.elapsed_ms = Some(0));
    eventually(async || mesh.state() == State::Stale).await;
    cells.router.told.send_modify(|told| told.elapsed_ms = Some(u64::MAX));
    within(mesh.ready()).await.unwrap();
}

#[tokio::test]
async fn an_older_map_and_another_history_are_refused() {
    let cells = Cells::start().await;
    let moved = user("b", 0);
    let key = || UserKey::from_text(&moved).unwrap();
    let mut next = map().next();
    next.pin(key(), &cell("c"), UserEpoch::new(1)).unwrap();
    cells.router.told.send_modify(|told| told.map = Some(Arc::new(next.build().unwrap())));
    let (mesh, depot) = mesh(&cells.router).await;
    assert_eq!(depot.get(&moved).await.unwrap().value.text, "c");
    cells.router.told.send_modify(|told| told.map = Some(Arc::new(map())));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(depot.get(&moved).await.unwrap().value.text, "c", "an older map was taken");

    let mut other = cell_map::MapDraft::new(Incarnation::new(2));
    for cell in draft().build().unwrap().cells() {
        other.add_cell(cell.clone()).unwrap();
    }
    other.set_global_cell(&cell("a")).spread_buckets().unwrap();
    other.pin(key(), &cell("a"), UserEpoch::new(1)).unwrap();
    cells.router.told.send_modify(|told| told.map = Some(Arc::new(other.build().unwrap())));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(depot.get(&moved).await.unwrap().value.text, "c", "another history was taken");
    mesh.adopt_incarnation(2);
    eventually(async || depot.get(&moved).await.unwrap().value.text == "a").await;
}

#[tokio::test]
async fn a_router_that_talks_nonsense_is_left_for_the_next() {
    let nonsense = crate::server::Server::start(|asked| async move {
        let head = asked.head();
        asked.answer(head, &[mesh_layers::frame::encode(&[0xff; 9])], "0");
    });
    let nonsense = nonsense.await;
    let cells = Cells::start().await;
    let seeds = [nonsense.address, cells.router.server.address].map(|address| address.to_string());
    let (_mesh, depot) = ready(Mesh::builder().seeds(seeds)).await;
    assert_eq!(depot.get(&user("b", 0)).await.unwrap().value.text, "b");
}
