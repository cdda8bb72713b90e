//! `cellmesh.control.v1.WantedCells` ↔ [`cell_map::WantedCells`].

use crate::control_v1::{self as pb, MapVersion};
use cell_map::{Cell, CellId, CellMap, CellState, RegionId, WantedCells, WantedError};
use std::time::Duration;

impl TryFrom<&pb::WantedCells> for WantedCells {
    type Error = WantedError;

    fn try_from(message: &pb::WantedCells) -> Result<Self, WantedError> {
        let mut faults = WantedError::default();
        let global = faults.take("global_cell", CellId::new(&message.global_cell));
        // All of them are looked at, also after a fault.
        let cells = message.cells.iter().enumerate();
        let cells: Vec<_> = cells.map(|(at, cell)| read_cell(at, cell, &mut faults)).collect();
        let distances = message.distances.iter().enumerate();
        let distances: Vec<_> = distances.map(|(at, distance)| read_distance(at, distance, &mut faults)).collect();
        let (cells, distances): (Option<Vec<_>>, Option<Vec<_>>) =
            (cells.into_iter().collect(), distances.into_iter().collect());
        match global.zip(cells).zip(distances) {
            Some(((global_cell, cells), distances)) => faults.finish(Self { global_cell, cells, distances }),
            None => Err(faults),
        }
    }
}

fn read_cell(at: usize, cell: &pb::WantedCell, faults: &mut WantedError) -> Option<Cell> {
    let id = faults.take(format!("cells[{at}].id"), CellId::new(&cell.id));
    let region = faults.take(format!("cells[{at}].region"), RegionId::new(&cell.region));
    Some(Cell {
        weight: cell.weight.unwrap_or(1),
        state: if cell.draining { CellState::Draining } else { CellState::Active },
        peer_endpoints: cell.peer_endpoints.clone(),
        front_endpoints: cell.front_endpoints.clone(),
        ..Cell::new(id?, region?)
    })
}

fn read_distance(
    at: usize,
    distance: &pb::WantedDistance,
    faults: &mut WantedError,
) -> Option<(RegionId, RegionId, Duration)> {
    let from = faults.take(format!("distances[{at}].from"), RegionId::new(&distance.from));
    let to = faults.take(format!("distances[{at}].to"), RegionId::new(&distance.to));
    Some((from?, to?, Duration::from_millis(distance.rtt_ms)))
}

impl From<&CellMap> for MapVersion {
    fn from(map: &CellMap) -> Self {
        Self { incarnation: map.incarnation().get(), epoch: map.epoch().get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_name_is_told_with_its_field() {
        let cell =
            |id: &str, region: &str| pb::WantedCell { id: id.into(), region: region.into(), ..Default::default() };
        let message = pb::WantedCells {
            global_cell: "BJ".into(),
            cells: vec![cell("bj-1", "R!"), cell("", "beijing")],
            distances: vec![pb::WantedDistance { from: "beijing".into(), to: " ".into(), rtt_ms: 1 }],
        };
        let faults = WantedCells::try_from(&message).expect_err("it is wrong").into_faults();
        let fields: Vec<&str> = faults.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["global_cell", "cells[0].region", "cells[1].id", "distances[0].to"]);
        assert!(faults[1].1.contains("R!"), "{faults:?}");
    }

    #[test]
    fn what_is_not_said_of_a_cell_has_its_default() {
        let cell = pb::WantedCell { id: "bj-1".into(), region: "beijing".into(), ..Default::default() };
        let message = pb::WantedCells { global_cell: "bj-1".into(), cells: vec![cell], distances: Vec::new() };
        let wanted = WantedCells::try_from(&message).expect("cells");
        assert_eq!(wanted.cells[0], Cell::new("bj-1".parse().expect("a name"), "beijing".parse().expect("a name")));
        assert_eq!(wanted.cells[0].weight, 1);
    }
}
