//! A cell whose services are processes of their own, and which keeps nothing: its calls between services cross the network, and
//! its map outlives the pod that keeps it.

use super::{
    super::cells::{Cells, namespace},
    graph, traces,
};
use crate::workspace::output;
use anyhow::ensure;
use serde_json::Value;
use std::process::Command;

pub(super) const CELL: &str = "solo";
const VALUES: &str = "cell.id=solo,services.grouping=each,services.seed=true,persistence.enabled=false,\
                      telemetry.otlp=http://jaeger.tracing.svc:4317";

pub(super) fn look(cells: &Cells<'_>) -> anyhow::Result<()> {
    let space = namespace(CELL);
    cells.kubectl(&["create", "namespace", &space])?;
    cells.kubectl(&["label", "namespace", &space, "pod-security.kubernetes.io/enforce=restricted"])?;
    let set = ["--set", VALUES, "--set-string", "image.tag=1", "--wait", "--timeout", "300s"];
    cells.release(CELL, &[&["install", "cellmesh", "helm/cellmesh"], &set[..]].concat())?;
    ensure!(cells.release(CELL, &["test", "cellmesh"])?.contains("Succeeded"), "helm test failed");
    let spans = traces::place_order(cells, CELL, CELL)?;
    let edges = traces::edges(&spans);
    ensure!(edges.contains(&("cell-services of solo", "cell-router of solo")), "an event takes no router: {edges:?}");
    let map = || -> anyhow::Result<(Value, Value)> {
        let keeper = cells.cluster_ip(CELL, "cellmesh-catalog")?;
        let mut cellctl = Command::new(cells.program("cellctl"));
        let map = output(cellctl.args(["--router", &format!("{keeper}:7000"), "--json", "map", "show"]))?;
        let map: Value = serde_json::from_str(&map)?;
        Ok((map["incarnation"].clone(), map["epoch"].clone()))
    };
    let before = map()?;
    cells.kubectl(&["-n", &space, "delete", "pod", "cellmesh-catalog-0"])?;
    let ready = ["wait", "pod/cellmesh-catalog-0", "--for=condition=Ready", "--timeout=120s"];
    cells.kubectl(&[&["-n", &space], &ready[..]].concat())?;
    ensure!(map()? == before, "the map {before:?} became {:?}", map()?);
    println!("the map outlives its keeper: incarnation and epoch {before:?}");
    graph::note(cells)?;
    cells.release(CELL, &["uninstall", "cellmesh", "--wait"]).map(drop)
}
