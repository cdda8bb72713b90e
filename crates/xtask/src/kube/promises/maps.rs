//! Changes of the map by a call, as operators make them.

use super::super::cells::{Cells, namespace};
use crate::workspace::output;
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::{io::Write as _, path::Path, process::Command};
use tempfile::NamedTempFile;

/// The cells that a global cell's values name, changed.
pub(super) fn wanted(cells: &Cells<'_>, cell: &str, edit: impl FnOnce(&mut Value)) -> anyhow::Result<NamedTempFile> {
    let path = "jsonpath={.data.cells\\.json}";
    let text = cells.kubectl(&["-n", &namespace(cell), "get", "configmap", "cellmesh-map", "-o", path])?;
    let mut wanted: Value = serde_json::from_str(&text)?;
    edit(&mut wanted);
    let mut file = tempfile::Builder::new().suffix(".json").tempfile()?;
    file.write_all(wanted.to_string().as_bytes())?;
    Ok(file)
}

/// `cellctl map apply` at a door; the map's epoch then. `news`: whether it is to change something.
pub(super) fn apply(
    cells: &Cells<'_>,
    door: &str,
    token: &Path,
    wanted: &NamedTempFile,
    news: bool,
) -> anyhow::Result<u64> {
    let mut cellctl = Command::new(cells.program("cellctl"));
    cellctl.args(["--router", door, "--json", "map", "apply"]).arg(wanted.path());
    let told: Value = serde_json::from_str(&output(cellctl.arg("--operator-token-file").arg(token))?)?;
    ensure!(told["published"] == news, "map apply says {told}");
    told["epoch"].as_u64().context("no epoch")
}

/// Incarnation and epoch of the map at a door.
pub(super) fn version(cells: &Cells<'_>, door: &str) -> anyhow::Result<(u64, u64)> {
    let mut cellctl = Command::new(cells.program("cellctl"));
    let map: Value = serde_json::from_str(&output(cellctl.args(["--router", door, "--json", "map", "show"]))?)?;
    map["incarnation"].as_u64().zip(map["epoch"].as_u64()).context("a map without a version")
}
