//! The cells that an operator wants, and the version of the map that has them.

use crate::{Cell, CellId, CellMap, Incarnation, MapDraft, RegionId, diff};
use std::{
    collections::BTreeSet,
    fmt::{self, Display},
    time::Duration,
};

/// All cells of a mesh, as an operator wants them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedCells {
    /// The cell that writes global data.
    pub global_cell: CellId,
    /// The cells.
    pub cells: Vec<Cell>,
    /// How far regions are apart, there and back; a pair that is not named stays as it is.
    pub distances: Vec<(RegionId, RegionId, Duration)>,
}

/// What is wrong with wanted cells: the path of each field at fault, like `cells[1].region`, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedError(Vec<(String, String)>);

impl std::error::Error for WantedError {}

impl Display for WantedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (field, why)) in self.0.iter().enumerate() {
            write!(f, "{}{field}: {why}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl WantedError {
    /// Most faults told at once.
    const MAX: usize = 20;

    /// One fault.
    #[must_use]
    pub fn of(field: impl Into<String>, why: impl Display) -> Self {
        Self(vec![(field.into(), why.to_string())])
    }

    /// Notes a fault.
    pub fn note(&mut self, field: impl Into<String>, why: impl Display) {
        if self.0.len() < Self::MAX {
            self.0.push((field.into(), why.to_string()));
        }
    }

    /// The value, or `None` after noting what is wrong with the field.
    pub fn take<T>(&mut self, field: impl Into<String>, checked: Result<T, impl Display>) -> Option<T> {
        checked.map_err(|why| self.note(field, why)).ok()
    }

    /// The value if there was no fault.
    ///
    /// # Errors
    /// The faults.
    pub fn finish<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }

    /// The faults, as (field, why).
    #[must_use]
    pub fn into_faults(self) -> Vec<(String, String)> {
        self.0
    }
}

impl WantedCells {
    /// The version of the map that has these cells: the first one, or the one after `current`; `None` if that has them
    /// already. Buckets stay where they are: a cell that is added is nobody's home until users are moved to it.
    ///
    /// # Errors
    /// If a cell that is not wanted any more is somebody's home, or the cells make no map.
    pub fn version(&self, current: Option<&CellMap>, first: Incarnation) -> Result<Option<CellMap>, WantedError> {
        let mut faults = WantedError::default();
        let mut draft = current.map_or_else(|| MapDraft::new(first), CellMap::next);
        let mut wanted = BTreeSet::new();
        if self.cells.is_empty() {
            faults.note("cells", "there is no cell");
        }
        for (at, cell) in self.cells.iter().enumerate() {
            if !wanted.insert(&cell.id) {
                faults.note(format!("cells[{at}].id"), format!("\"{}\" is named twice", cell.id));
                continue;
            }
            let put = match current.and_then(|map| map.cell(&cell.id)) {
                None => draft.add_cell(cell.clone()).map(drop),
                Some(_) => draft.set_cell(cell.clone()).map(drop),
            };
            faults.take(format!("cells[{at}]"), put);
        }
        if !wanted.contains(&self.global_cell) {
            let names: Vec<&str> = wanted.iter().map(|id| id.as_str()).collect();
            faults.note("global_cell", format!("\"{}\" is not one of {}", self.global_cell, names.join(", ")));
        }
        draft.set_global_cell(&self.global_cell);
        for (at, (a, b, rtt)) in self.distances.iter().enumerate() {
            faults.take(format!("distances[{at}]"), draft.set_distance(a, b, *rtt).map(drop));
        }
        let Some(current) = current else {
            faults.take("cells", draft.spread_buckets().map(drop));
            faults.finish(())?;
            return draft.build().map(Some).map_err(|why| WantedError::of("cells", why));
        };
        for gone in current.cells().iter().filter(|cell| !wanted.contains(&cell.id)) {
            faults.take("cells", draft.remove_cell(&gone.id).map(drop));
        }
        faults.finish(())?;
        let next = draft.build().map_err(|why| WantedError::of("cells", why))?;
        Ok((!diff(current, &next).is_empty()).then_some(next))
    }
}

/// What changed from one version to another, for people; `None`: there was no map before. Buckets and pins are not told.
#[must_use]
pub fn told_changes(before: Option<&CellMap>, after: &CellMap) -> Vec<String> {
    let Some(before) = before else {
        let first = |cell: &Cell| {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(name: &str, region: &str) -> Cell {
        Cell {
            peer_endpoints: vec![format!("{name}-router:7002")],
            front_endpoints: vec![format!("{name}-router:7000")],
            ..Cell::new(name.parse().unwrap(), region.parse().unwrap())
        }
    }

    fn two() -> WantedCells {
        WantedCells {
            global_cell: "bj-1".parse().unwrap(),
            cells: vec![cell("bj-1", "beijing"), Cell { weight: 2, ..cell("sh-1", "shanghai") }],
            distances: vec![("beijing".parse().unwrap(), "shanghai".parse().unwrap(), Duration::from_millis(30))],
        }
    }

    fn next(wanted: &WantedCells, current: Option<&CellMap>) -> Result<Option<CellMap>, WantedError> {
        wanted.version(current, Incarnation::new(5))
    }

    #[test]
    fn the_first_version_spreads_the_buckets_and_later_ones_leave_them() {
        let mut wanted = two();
        let first = next(&wanted, None).unwrap().expect("a first version");
        assert_eq!((first.epoch().get(), first.incarnation().get()), (1, 5));
        assert_eq!(next(&wanted, Some(&first)), Ok(None), "nothing changed");

        wanted.cells[1].front_endpoints = vec!["sh-door:443".to_owned()];
        wanted.cells.push(cell("sh-2", "shanghai"));
        let second = next(&wanted, Some(&first)).unwrap().expect("a next version");
        assert_eq!(second.epoch().get(), 2);
        assert_eq!(second.bucket_table_bytes(), first.bucket_table_bytes(), "nobody's home changes");
        let told = told_changes(Some(&first), &second);
        assert_eq!(told, ["cell sh-2 added; nobody is at home there yet", "cell sh-1 changed"]);

        wanted.cells.pop();
        let third = next(&wanted, Some(&second)).unwrap().expect("it is nobody's home");
        assert_eq!(third.cells().len(), 2);
        wanted.cells.pop();
        let error = next(&wanted, Some(&third)).expect_err("it is somebody's home").to_string();
        assert!(error.contains("sh-1") && error.contains("home of buckets"), "{error}");
    }

    #[test]
    fn every_fault_is_told_with_its_field() {
        let mut wanted = two();
        wanted.global_cell = "sh-9".parse().unwrap();
        wanted.cells[1].peer_endpoints = vec!["nowhere".to_owned()];
        wanted.cells.push(cell("bj-1", "beijing"));
        wanted.distances.push(("beijing".parse().unwrap(), "beijing".parse().unwrap(), Duration::ZERO));
        let faults = next(&wanted, None).expect_err("it is wrong").into_faults();
        let fields: Vec<&str> = faults.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["cells[1]", "cells[2].id", "global_cell", "distances[1]"], "{faults:?}");
        let error = next(&WantedCells { cells: Vec::new(), ..two() }, None).expect_err("no cell").to_string();
        assert!(error.contains("there is no cell"), "{error}");
    }
}
