//! `map apply`.

use super::{Maps, connect, request, to_json};
use crate::wanted::Wanted;
use anyhow::Context as _;
use cell_map::{CellMap, Incarnation, diff};
use clap::Args;
use map_store::{FileStore, StoreError};
use mesh_proto::control_v1::GetMapRequest;
use serde_json::json;
use std::{path::PathBuf, time::SystemTime};

/// Options of `cellctl map apply`.
#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    /// File with the cells that are wanted, in TOML or JSON
    cells: PathBuf,
    /// The map's file, on this machine
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Where there is no map's file, begin with the map of the first of these front doors that has one; repeatable
    #[arg(long, value_name = "HOST:PORT")]
    restore_from: Vec<String>,
}

pub(super) async fn run(args: &ApplyArgs, as_json: bool) -> anyhow::Result<String> {
    let wanted = Wanted::read(&args.cells)?;
    if !args.dry_run && matches!(FileStore::open(&args.file).load(), Err(StoreError::NotFound { .. })) {
        restore(args).await?;
    }
    // A history is told from another by the second it began in.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let (before, after) = wanted.apply(&args.file, Incarnation::new(now), args.dry_run)?;
    let changes = changes(before.as_ref(), &after);
    Ok(if as_json {
        to_json(&json!({
            "epoch": after.epoch().get(),
            "incarnation": after.incarnation().get(),
            "published": !args.dry_run && !changes.is_empty(),
            "changes": changes,
        }))
    } else {
        let version = format!("map epoch {} of incarnation {}", after.epoch(), after.incarnation());
        match (changes.is_empty(), args.dry_run) {
            (true, _) => format!("{version} has these cells already"),
            (false, true) => format!("{version} would say:\n  {}", changes.join("\n  ")),
            (false, false) => format!("{version} published:\n  {}", changes.join("\n  ")),
        }
    })
}

/// A map that was lost goes on where the others have it: they would not take a history that begins anew.
async fn restore(args: &ApplyArgs) -> anyhow::Result<()> {
    for address in &args.restore_from {
        let map = match ask(address).await {
            Ok(map) => map,
            Err(error) => {
                eprintln!("no map from {address}: {error:#}");
                continue;
            }
        };
        let copied = FileStore::open(&args.file).copy(&map);
        copied.with_context(|| format!("keeping the map of {address} in {}", args.file.display()))?;
        eprintln!("map epoch {} of incarnation {} restored from {address}", map.epoch(), map.incarnation());
        return Ok(());
    }
    Ok(())
}

async fn ask(address: &str) -> anyhow::Result<CellMap> {
    let response = Maps::new(connect(address).await?).get_map(request(GetMapRequest {})).await?;
    Ok(CellMap::try_from(response.into_inner().map.context("the answer holds none")?)?)
}

fn changes(before: Option<&CellMap>, after: &CellMap) -> Vec<String> {
    let Some(before) = before else {
        let first = |cell: &cell_map::Cell| {
            let buckets = after.index_of(&cell.id).map_or(0, |index| after.bucket_count(index));
            format!("first map: cell {} with {buckets} buckets", cell.id)
        };
        return after.cells().iter().map(first).collect();
    };
    let diff = diff(before, after);
    let added = diff.cells_added.iter().map(|id| format!("cell {id} added; nobody is at home there yet"));
    let removed = diff.cells_removed.iter().map(|id| format!("cell {id} removed"));
    let changed = diff.cells_changed.iter().map(|id| format!("cell {id} changed"));
    let global = diff.global_cell.iter().map(|(from, to)| format!("global cell {to} instead of {from}"));
    let distances = diff.distances_changed.then(|| "distances changed".to_owned());
    added.chain(removed).chain(changed).chain(global).chain(distances).collect()
}
