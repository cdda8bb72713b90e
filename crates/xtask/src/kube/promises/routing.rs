//! Homing, one hop, a learnt redirect.

use super::super::cells::{CELLS, Cells, namespace, volume};
use crate::workspace::output;
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use std::process::Command;

pub(super) const REGISTER: &str = "shop.member.v1.MemberService/Register";
const GET: &str = "shop.member.v1.MemberService/GetMember";

/// Registers a user at a cell's door, where he is at home from then on.
pub(super) fn register(cells: &Cells<'_>, cell: &str) -> anyhow::Result<String> {
    let answer = cells.call(&cells.front(cell)?, REGISTER, &json!({}), &[])?;
    ensure!(answer.header("cellmesh-cell") == Some(cell), "registered elsewhere: {answer:?}");
    Ok(answer.body["userId"].as_str().context("no user's id")?.to_owned())
}

pub(super) fn look(cells: &Cells<'_>) -> anyhow::Result<()> {
    for cell in CELLS {
        let told = cells.release(cell, &["test", "cellmesh"])?;
        let passed = told.contains("cellmesh-test") && told.contains("Succeeded");
        ensure!(passed, "helm test of {cell} says: {told}");
    }
    for home in CELLS {
        let user = register(cells, home)?;
        for door in CELLS {
            let answer = cells.call(&cells.front(door)?, GET, &json!({"user_id": user}), &[])?;
            let hops = if home == door { "0" } else { "1" };
            let right = answer.header("cellmesh-cell") == Some(home) && answer.header("cellmesh-hops") == Some(hops);
            ensure!(right, "{user} of {home} asked for in {door}: {answer:?}");
        }
    }
    let user = register(cells, "sh-1")?;
    let answer = cells.call_by_tls(GET, &json!({"user_id": user}))?;
    let right = answer.header("cellmesh-cell") == Some("sh-1") && answer.header("cellmesh-hops") == Some("1");
    ensure!(right, "{user} of sh-1 asked for with TLS: {answer:?}");
    redirect(cells)
}

/// A router of bj-1 with an old map, in which every bucket was bj-1's.
fn redirect(cells: &Cells<'_>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let map = folder.path().join("map.pb");
    output(
        Command::new(cells.program("lab")).args(["old-map"]).arg(volume("bj-1").join("map.pb")).arg(&map).arg("bj-1"),
    )?;
    let bj = namespace("bj-1");
    let file = format!("--from-file=map.pb={}", map.display());
    cells.kubectl(&["-n", &bj, "create", "configmap", "old-map", &file])?;
    let pod = cells.pods("bj-1", "router")?.pop().context("no router")?;
    let mut pod: Value = serde_json::from_str(&cells.kubectl(&["-n", &bj, "get", "pod", &pod, "-o", "json"])?)?;
    pod["metadata"] = json!({"name": "old-router", "namespace": bj});
    pod["status"] = Value::Null;
    let spec = pod["spec"].as_object_mut().context("no spec")?;
    spec.remove("nodeName");
    spec.remove("topologySpreadConstraints");
    let volumes = spec["volumes"].as_array_mut().context("no volumes")?;
    volumes.retain(|volume| volume["name"] != "data");
    volumes.push(json!({"name": "data", "configMap": {"name": "old-map"}}));
    let args = spec["containers"][0]["args"].as_array_mut().context("no arguments")?;
    args.extend(["--set", "map.watch=false", "--set", "map.upstream=[]"].map(Value::from));
    cells.apply(&pod.to_string())?;
    cells.kubectl(&["-n", &bj, "wait", "pod/old-router", "--for=condition=Ready", "--timeout=60s"])?;
    let ip = cells.kubectl(&["-n", &bj, "get", "pod", "old-router", "-o", "jsonpath={.status.podIP}"])?;
    let learnt = || -> anyhow::Result<String> {
        let metrics = cells.get(&bj, "pods", "old-router:7001", "/metrics")?;
        let line = metrics.lines().find(|line| line.starts_with("cellmesh_router_redirects_learnt_total"));
        Ok(line.and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned())
    };
    let user = register(cells, "sh-1")?;
    for time in 0..3 {
        let answer = cells.call(&format!("{ip}:7000"), GET, &json!({"user_id": user}), &[])?;
        let right = answer.header("cellmesh-cell") == Some("sh-1") && answer.header("cellmesh-hops") == Some("1");
        ensure!(right, "asked for the {time}th time with an old map: {answer:?}");
        ensure!(learnt()? == "1", "{} redirects were learnt", learnt()?);
    }
    println!("an old map costs one redirect, which is learnt: 1 after 3 calls");
    cells.kubectl(&["-n", &bj, "delete", "pod/old-router", "configmap/old-map"]).map(drop)
}
