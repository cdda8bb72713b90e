//! The global cell is gone: what needs it is refused, everything else goes on. And changes of the map, which need it.

use super::{
    super::cells::{CELLS, Cells, namespace, volume},
    maps,
    routing::register,
};
use anyhow::{Context as _, ensure};
use serde_json::json;
use std::fs;

const CREATE: &str = "shop.catalog.v1.CatalogService/CreateProduct";
const GET: &str = "shop.catalog.v1.CatalogService/GetProduct";
const REGIONAL: [&str; 2] = ["sh-1", "sh-2"];

pub(super) fn look(cells: &Cells<'_>, calls: usize) -> anyhow::Result<()> {
    let bj = namespace("bj-1");
    let door = cells.front("sh-1")?;
    let scale = |workload: &str, replicas: &str| {
        cells.kubectl(&["-n", &bj, "scale", workload, &format!("--replicas={replicas}")]).map(drop)
    };
    let pods =
        || -> anyhow::Result<usize> { Ok(cells.pods("bj-1", "router")?.len() + cells.pods("bj-1", "services")?.len()) };
    let wanted = |rtt_ms: u64| maps::wanted(cells, "bj-1", |cells| cells["distances"][0]["rtt_ms"] = rtt_ms.into());
    let (usual, other) = (wanted(30)?, wanted(31)?);
    let apply = |wanted, news| maps::apply(cells, &door, cells.operator.path(), wanted, news);
    let first = epoch(cells, "sh-1")?;
    let changed = apply(&other, true)?;
    ensure!(changed == first + 1, "map epoch {first} became {changed}");
    follows(cells, changed)?;
    // Whoever comes later must not wait for it either: the clients start when it is gone.
    scale("deployment/cellmesh-router", "0")?;
    scale("statefulset/cellmesh-services", "0")?;
    cells.kubectl(&["-n", &bj, "delete", "pods", "--all", "--grace-period=0", "--force"])?;
    cells.until("the global cell ends", || Ok(pods()? == 0))?;
    register(cells, "sh-1")?;
    let shoppers = cells.shoppers("global-lost", &REGIONAL, calls)?;
    cells.kubectl(&["-n", &namespace("sh-1"), "delete", "pod", "cellmesh-services-0"])?;
    cells.ready("sh-1")?;
    let router = cells.pods("sh-1", "router")?.pop().context("no router")?;
    cells.kubectl(&["-n", &namespace("sh-1"), "delete", "pod", &router])?;
    cells.ready("sh-1")?;
    let product = json!({"request_id": "kube-test", "product": {
        "sku": "kube-test", "title": "A product", "unit_price": {"currency_code": "CNY", "minor_units": 100},
        "allotments": [{"cell": "sh-1", "quantity": 1}],
    }});
    unavailable("a catalogue write", cells.call(&door, CREATE, &product, &[]))?;
    let token = fs::read_to_string(cells.operator.path())?;
    let header = format!("cellmesh-operator-token: {token}");
    let change = json!({"wanted": {"global_cell": "bj-1", "cells": [{"id": "bj-1", "region": "beijing"}]}});
    unavailable("a map change", cells.call(&door, APPLY, &change, &[&header]))?;
    shoppers.end()?;
    // Its map is lost, too: it goes on where a router of another cell has it, with what was changed by a call.
    for file in ["map.pb", "map.pb.last-good"] {
        fs::remove_file(volume("bj-1").join(file)).with_context(|| format!("removing {file}"))?;
    }
    scale("statefulset/cellmesh-services", "1")?;
    scale("deployment/cellmesh-router", "2")?;
    cells.ready("bj-1")?;
    cells.until("a product can be created again", || Ok(cells.call(&door, CREATE, &product, &[]).is_ok()))?;
    cells.until("the copy catches up", || Ok(cells.call(&door, GET, &json!({"sku": "kube-test"}), &[]).is_ok()))?;
    let kept = epoch(cells, "bj-1")?;
    ensure!(
        kept == changed,
        "the global cell came back with map epoch {kept}, not {changed}: a start undid what was changed"
    );
    let restored = apply(&usual, true)?;
    ensure!(restored == changed + 1, "map epoch {changed} became {restored}");
    follows(cells, restored)?;
    ensure!(apply(&usual, false)? == restored, "the same cells again are no change");
    println!(
        "map changes by a call through sh-1: epochs {first}, {changed}, {restored}; a restart and a lost file undid none"
    );
    let wrong = cells.call(&door, APPLY, &change, &["cellmesh-operator-token: not-the-token-of-operators"]);
    refused("a map change with another token", wrong, "PermissionDenied")
}

const APPLY: &str = "cellmesh.control.v1.MapAdminService/ApplyCells";

fn unavailable<T>(what: &str, answer: anyhow::Result<T>) -> anyhow::Result<()> {
    refused(&format!("{what} without the global cell"), answer, "Unavailable")
}

fn refused<T>(what: &str, answer: anyhow::Result<T>, code: &str) -> anyhow::Result<()> {
    let told = answer.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(told.contains(&format!("Code: {code}")), "{what} is answered by: {told}");
    println!("{what}: {code}, {}", told.lines().find(|line| line.contains("Message")).unwrap_or_default().trim());
    Ok(())
}

/// Waits until the routers of every cell have this version.
fn follows(cells: &Cells<'_>, wanted: u64) -> anyhow::Result<()> {
    cells.until("the changed map is in force everywhere", || {
        CELLS.iter().try_fold(true, |all, cell| Ok(all && epoch(cells, cell)? == wanted))
    })
}

fn epoch(cells: &Cells<'_>, cell: &str) -> anyhow::Result<u64> {
    Ok(maps::version(cells, &cells.front(cell)?)?.1)
}
