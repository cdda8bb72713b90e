//! `map apply`: to a file, or by a call.

mod call;

use super::{Maps, connect, request, to_json};
use crate::wanted::Wanted;
use anyhow::{Context as _, bail};
use cell_map::{CellMap, Incarnation, told_changes};
use clap::Args;
use map_store::{FileStore, StoreError};
use mesh_proto::control_v1::{self as pb, GetMapRequest, MapVersion};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Options of `cellctl map apply`.
#[derive(Debug, Clone, Args)]
pub struct ApplyArgs {
    /// File with the cells that are wanted, in TOML or JSON
    cells: PathBuf,
    /// The map's file, on this machine
    #[arg(long, value_name = "FILE", conflicts_with = "operator_token_file")]
    file: Option<PathBuf>,
    /// Through the router, with the operator token in this file
    #[arg(long, value_name = "FILE")]
    operator_token_file: Option<PathBuf>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Where there is no map's file, begin with the map of the first of these front doors that has one; repeatable
    #[arg(long, value_name = "HOST:PORT", requires = "file")]
    restore_from: Vec<String>,
    /// Leave the map alone if these are the cells that were applied to the file last: what was changed by calls since then stays
    #[arg(long, requires = "file")]
    if_changed: bool,
}

/// What became of the cells.
struct Outcome {
    after: MapVersion,
    changes: Vec<String>,
    /// These cells were applied before, so nothing was done.
    known: bool,
}

pub(super) async fn run(address: &str, args: &ApplyArgs, as_json: bool) -> anyhow::Result<String> {
    let wanted = Wanted::read(&args.cells)?;
    let outcome = match (&args.file, &args.operator_token_file) {
        (Some(file), _) => to_file(file, args, &wanted).await?,
        (None, Some(token)) => call::apply(address, token, &wanted, args.dry_run).await?,
        (None, None) => bail!(
            "where is the map? Give --operator-token-file FILE to change it through the router ({address}), or --file FILE if \
             its file is on this machine and no process keeps it"
        ),
    };
    let Outcome { after: MapVersion { incarnation, epoch }, changes, known } = outcome;
    Ok(if as_json {
        to_json(&json!({
            "epoch": epoch,
            "incarnation": incarnation,
            "published": !args.dry_run && !changes.is_empty(),
            "changes": changes,
        }))
    } else {
        let version = format!("map epoch {epoch} of incarnation {incarnation}");
        match (changes.is_empty(), args.dry_run) {
            _ if known => format!("these cells were applied before; {version} stays as it is"),
            (true, _) => format!("{version} has these cells already"),
            (false, true) => format!("{version} would say:\n  {}", changes.join("\n  ")),
            (false, false) => format!("{version} published:\n  {}", changes.join("\n  ")),
        }
    })
}

async fn to_file(file: &Path, args: &ApplyArgs, wanted: &Wanted) -> anyhow::Result<Outcome> {
    let store = FileStore::open(file);
    if !args.dry_run && matches!(store.load(), Err(StoreError::NotFound { .. })) {
        restore(&store, &args.restore_from).await?;
    }
    let message = pb::WantedCells::from(wanted);
    if args.if_changed
        && store.last_applied().as_ref() == Some(&message)
        && let Ok(map) = store.load()
    {
        return Ok(Outcome { after: (&map).into(), changes: Vec::new(), known: true });
    }
    // A history is told from another by the second it began in.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let applied = wanted.apply(file, Incarnation::new(now), args.dry_run)?;
    if !args.dry_run {
        store.note_applied(&message).context("noting what was applied")?;
    }
    let changes = told_changes(applied.before.as_ref(), &applied.after);
    Ok(Outcome { after: (&applied.after).into(), changes, known: false })
}

/// A map that was lost goes on where the others have it: they would not take a history that begins anew.
async fn restore(store: &FileStore, addresses: &[String]) -> anyhow::Result<()> {
    for address in addresses {
        let map = match ask(address).await {
            Ok(map) => map,
            Err(error) => {
                eprintln!("no map from {address}: {error:#}");
                continue;
            }
        };
        let copied = store.copy(&map);
        copied.with_context(|| format!("keeping the map of {address} in {}", store.path().display()))?;
        eprintln!("map epoch {} of incarnation {} restored from {address}", map.epoch(), map.incarnation());
        return Ok(());
    }
    Ok(())
}

async fn ask(address: &str) -> anyhow::Result<CellMap> {
    let response = Maps::new(connect(address).await?).get_map(request(GetMapRequest {})).await?;
    Ok(CellMap::try_from(response.into_inner().map.context("the answer holds none")?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(weight: u32) -> Wanted {
        let cells = format!(
            r#"{{"global": "a", "cells": [
                {{"id": "a", "region": "r", "weight": {weight}, "peer_endpoints": [], "front_endpoints": []}}]}}"#
        );
        serde_json::from_str(&cells).expect("cells")
    }

    #[tokio::test]
    async fn cells_that_were_applied_last_undo_nothing_that_was_changed_since() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("map.pb");
        let args = ApplyArgs {
            cells: PathBuf::new(),
            file: Some(file.clone()),
            operator_token_file: None,
            dry_run: false,
            restore_from: Vec::new(),
            if_changed: true,
        };
        let weight = || FileStore::open(&file).load().expect("a map").cells()[0].weight;
        let start = async |cells: &Wanted| to_file(&file, &args, cells).await.expect("applied");
        assert!(!start(&wanted(1)).await.known);
        // As by a call.
        let changed = wanted(7).apply(&file, Incarnation::new(1), false).expect("a next version");
        let outcome = start(&wanted(1)).await;
        assert!(outcome.known && outcome.after == (&changed.after).into() && weight() == 7, "it was undone");
        start(&wanted(3)).await;
        assert_eq!(weight(), 3, "other cells than last time are news");
        let always = ApplyArgs { if_changed: false, ..args.clone() };
        wanted(7).apply(&file, Incarnation::new(1), false).expect("a next version");
        to_file(&file, &always, &wanted(3)).await.expect("applied");
        assert_eq!(weight(), 3, "without the option the file has its way");
    }
}
