//! `map show`.

use super::{Maps, refused, request, to_json};
use anyhow::Context as _;
use cell_map::{BUCKET_COUNT, CellMap};
use mesh_proto::control_v1::GetMapRequest;
use serde_json::json;

pub(super) async fn run(mut client: Maps, as_json: bool) -> anyhow::Result<String> {
    let response = client.get_map(request(GetMapRequest {})).await;
    let map = response.map_err(|status| refused(&status))?.into_inner().map.context("the router sent no map")?;
    let map =
        CellMap::try_from(map).context("the router's map is not valid: its version may not fit this cellctl's")?;
    Ok(if as_json { to_json(&value(&map)) } else { text(&map) })
}

/// Cells with their buckets: all, and those that are reserved.
fn cells(map: &CellMap) -> impl Iterator<Item = (&cell_map::Cell, usize, usize)> {
    map.cells().iter().filter_map(|cell| {
        let index = map.index_of(&cell.id)?;
        let buckets = map.bucket_count(index);
        Some((cell, buckets, buckets - map.mintable_count(index)))
    })
}

fn value(map: &CellMap) -> serde_json::Value {
    let cells: Vec<_> = cells(map)
        .map(|(cell, buckets, reserved)| {
            json!({
                "id": cell.id.as_str(),
                "region": cell.region.as_str(),
                "state": cell.state.to_string(),
                "weight": cell.weight,
                "buckets": buckets,
                "reserved_buckets": reserved,
                "peer_endpoints": cell.peer_endpoints,
                "front_endpoints": cell.front_endpoints,
            })
        })
        .collect();
    let distances: Vec<_> = map
        .distances()
        .map(|(from, to, rtt)| json!({"from": from.as_str(), "to": to.as_str(), "rtt_us": rtt.as_micros() as u64}))
        .collect();
    json!({
        "incarnation": map.incarnation().get(),
        "epoch": map.epoch().get(),
        "global_cell": map.global_cell().id.as_str(),
        "cells": cells,
        "distances": distances,
        "pins": pins(map),
        "forced_reason": map.forced_reason(),
    })
}

/// Users pinned to a cell; dropped pins are not counted.
fn pins(map: &CellMap) -> usize {
    map.pins().filter(|pin| pin.cell.is_some()).count()
}

fn text(map: &CellMap) -> String {
    let global = &map.global_cell().id;
    let mut lines = vec![
        format!("map epoch {} of incarnation {}, {} pinned users", map.epoch(), map.incarnation(), pins(map)),
        String::new(),
        format!(
            "{:<12} {:<12} {:<9} {:>6} {:>8} {:>7} {:>9}  front doors",
            "cell", "region", "state", "weight", "buckets", "share", "reserved"
        ),
    ];
    for (cell, buckets, reserved) in cells(map) {
        let share = 100.0 * buckets as f64 / BUCKET_COUNT as f64;
        let (id, region, state) = (cell.id.as_str(), cell.region.as_str(), cell.state.to_string());
        let doors = cell.front_endpoints.join(", ");
        let role = if cell.id == *global { "  (global)" } else { "" };
        lines.push(format!(
            "{id:<12} {region:<12} {state:<9} {:>6} {buckets:>8} {share:>6.2}% {reserved:>9}  {doors}{role}",
            cell.weight
        ));
    }
    lines.push(String::new());
    lines.extend(
        map.distances().map(|(from, to, rtt)| format!("{from} to {to} and back: {:.1} ms", rtt.as_secs_f64() * 1e3)),
    );
    if let Some(reason) = map.forced_reason() {
        lines.push(format!("this version was forced past the publisher's guard: {reason}"));
    }
    lines.join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cell_map::{Cell, CellId, Incarnation, MapDraft, RegionId};

    fn map() -> CellMap {
        let mut draft = MapDraft::new(Incarnation::new(1));
        for (id, region) in [("bj-1", "beijing"), ("sh-1", "shanghai")] {
            let cell = Cell::new(CellId::new(id).expect("a name"), RegionId::new(region).expect("a name"));
            draft.add_cell(cell).expect("a new name");
        }
        draft.set_global_cell(&CellId::new("bj-1").expect("a name"));
        draft.spread_buckets().expect("both have weight");
        draft.build().expect("a valid map")
    }

    #[test]
    fn every_bucket_is_counted_once() {
        let shown = value(&map());
        let cells = shown["cells"].as_array().expect("a list");
        let sum = |field: &str| cells.iter().filter_map(|cell| cell[field].as_u64()).sum::<u64>();
        assert_eq!(sum("buckets"), 65_536);
        assert_eq!(sum("reserved_buckets"), 65_536 / 8);
    }

    #[test]
    fn the_text_names_each_cell_its_share_and_the_global_one() {
        let shown = text(&map());
        assert!(shown.contains("map epoch 1 of incarnation 1"), "{shown}");
        let global: Vec<_> = shown.lines().filter(|line| line.ends_with("(global)")).collect();
        assert!(matches!(global[..], [line] if line.starts_with("bj-1") && line.contains("50.00%")), "{shown}");
    }
}
