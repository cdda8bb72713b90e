//! What the cells promise, each looked at from outside.

mod apart;
mod graph;
mod loss;
mod maps;
mod routing;
mod traces;

use super::{
    Promise,
    cells::{CELLS, Cells, namespace},
};
use anyhow::ensure;

/// Looks whether a promise is kept.
pub(super) fn look(promise: Promise, cells: &Cells<'_>, calls: usize) -> anyhow::Result<()> {
    kept(promise, cells, calls)?;
    // What comes later may drive it out of Jaeger, and pods come and go.
    if promise == Promise::Uninstall { Ok(()) } else { graph::note(cells) }
}

fn kept(promise: Promise, cells: &Cells<'_>, calls: usize) -> anyhow::Result<()> {
    match promise {
        Promise::Routing => routing::look(cells),
        Promise::Traces => traces::look(cells),
        Promise::Apart => apart::look(cells),
        Promise::Restarts => restarts(cells, calls),
        Promise::GlobalLost => loss::look(cells, calls),
        Promise::Graph => graph::look(cells),
        Promise::Uninstall => uninstall(cells),
    }
}

/// Routers, then services and images, under a load of their own each.
fn restarts(cells: &Cells<'_>, calls: usize) -> anyhow::Result<()> {
    let shoppers = cells.shoppers("routers-deleted", &CELLS, calls)?;
    for cell in CELLS {
        for pod in cells.pods(cell, "router")? {
            cells.kubectl(&["-n", &namespace(cell), "delete", "pod", &pod])?;
            cells.ready(cell)?;
        }
    }
    shoppers.end()?;
    let shoppers = cells.shoppers("services-deleted", &CELLS, calls)?;
    for cell in CELLS {
        cells.kubectl(&["-n", &namespace(cell), "delete", "pod", "cellmesh-services-0"])?;
        cells.ready(cell)?;
    }
    shoppers.end()?;
    let shoppers = cells.shoppers("upgraded", &CELLS, calls)?;
    for cell in CELLS {
        cells.helm("upgrade", cell, "2", true)?;
        cells.ready(cell)?;
    }
    shoppers.end()
}

fn uninstall(cells: &Cells<'_>) -> anyhow::Result<()> {
    for cell in CELLS {
        let notes = cells.release(cell, &["get", "notes", "cellmesh"])?;
        cells.release(cell, &["uninstall", "cellmesh", "--wait"])?;
        let selector = ["-l", "app.kubernetes.io/instance=cellmesh", "-o", "name"];
        let kinds =
            "all,configmaps,secrets,persistentvolumeclaims,networkpolicies,poddisruptionbudgets,serviceaccounts";
        let left = || cells.kubectl(&[&["-n", &namespace(cell), "get", kinds], &selector[..]].concat());
        cells.until("pods end", || Ok(!left()?.contains("pod/")))?;
        let left = left()?;
        let claim = "persistentvolumeclaim/data-cellmesh-services-0";
        ensure!(left.trim() == claim, "what is left of {cell}: {left}");
        ensure!(notes.contains("persistentvolumeclaim data-cellmesh-services-0"), "NOTES names no claim: {notes}");
    }
    Ok(())
}
