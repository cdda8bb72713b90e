//! The global cell is gone.

use super::{
    super::cells::{Cells, namespace},
    routing::register,
};
use anyhow::{Context as _, ensure};
use serde_json::json;

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
    // Whoever comes later must not wait for it either: the clients start when it is gone.
    scale("deployment/cellmesh-router", "0")?;
    scale("statefulset/cellmesh-services", "0")?;
    cells.kubectl(&["-n", &bj, "delete", "pods", "--all", "--grace-period=0", "--force"])?;
    cells.until("the global cell ends", || Ok(pods()? == 0))?;
    register(cells, "sh-1")?;
    cells.shoppers("global-lost", &REGIONAL, calls, 90)?;
    cells.kubectl(&["-n", &namespace("sh-1"), "delete", "pod", "cellmesh-services-0"])?;
    cells.ready("sh-1")?;
    let router = cells.pods("sh-1", "router")?.pop().context("no router")?;
    cells.kubectl(&["-n", &namespace("sh-1"), "delete", "pod", &router])?;
    cells.ready("sh-1")?;
    let product = json!({"request_id": "kube-test", "product": {
        "sku": "kube-test", "title": "A product", "unit_price": {"currency_code": "CNY", "minor_units": 100},
        "allotments": [{"cell": "sh-1", "quantity": 1}],
    }});
    let refused = cells.call(&door, CREATE, &product, &[]).err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refused.contains("Code: Unavailable"), "a catalogue write is answered by: {refused}");
    println!(
        "a catalogue write without the global cell: {}",
        refused.lines().find(|l| l.contains("Message")).unwrap_or_default().trim()
    );
    cells.shopped("global-lost")?;
    scale("statefulset/cellmesh-services", "1")?;
    scale("deployment/cellmesh-router", "2")?;
    cells.ready("bj-1")?;
    cells.until("a product can be created again", || Ok(cells.call(&door, CREATE, &product, &[]).is_ok()))?;
    cells.until("the copy catches up", || Ok(cells.call(&door, GET, &json!({"sku": "kube-test"}), &[]).is_ok()))
}
