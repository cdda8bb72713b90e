//! A cell whose services are processes of their own, and which keeps nothing: its calls between services cross the network, and
//! its map outlives the pod that keeps it.

use super::{
    super::cells::{Cells, namespace},
    graph, maps, traces,
};
use anyhow::ensure;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use std::io::Write as _;
use tempfile::NamedTempFile;

pub(super) const CELL: &str = "solo";
const GET_STOCK: &str = "shop.catalog.v1.CatalogService/GetStock";
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
    // Which the catalogue asks trade for.
    let stock = cells.call(&cells.front(CELL)?, GET_STOCK, &json!({"sku": "tea-longjing"}), &[])?.body;
    ensure!(stock["cell"] == CELL, "stock is told as {stock}");
    let map = || maps::version(cells, &format!("{}:7000", cells.cluster_ip(CELL, "cellmesh-catalog")?));
    let before = map()?;
    cells.kubectl(&["-n", &space, "delete", "pod", "cellmesh-catalog-0"])?;
    let ready = ["wait", "pod/cellmesh-catalog-0", "--for=condition=Ready", "--timeout=120s"];
    cells.kubectl(&[&["-n", &space], &ready[..]].concat())?;
    ensure!(map()? == before, "the map {before:?} became {:?}", map()?);
    println!("the map outlives its keeper: incarnation and epoch {before:?}");
    let secret = ["get", "secret", "cellmesh-mesh", "-o", "jsonpath={.data.operator-token}"];
    let token = BASE64_STANDARD.decode(cells.kubectl(&[&["-n", &space], &secret[..]].concat())?)?;
    let file = NamedTempFile::new()?;
    file.as_file().write_all(&token)?;
    let heavier = maps::wanted(cells, CELL, |cells| cells["cells"][0]["weight"] = 2.into())?;
    let epoch = maps::apply(cells, &cells.front(CELL)?, file.path(), &heavier, true)?;
    ensure!(epoch == before.1 + 1, "map epoch {} became {epoch}", before.1);
    println!("the keeper of {CELL} changes the map by a call: epoch {epoch}");
    graph::note(cells)?;
    cells.release(CELL, &["uninstall", "cellmesh", "--wait"]).map(drop)
}
