//! The cells that an operator wants, and the map that has them.

use anyhow::{Context as _, bail, ensure};
use cell_map::{Cell, CellId, CellMap, CellState, Guard, Incarnation, MapDraft, RegionId, diff};
use map_store::{FileStore, StoreError};
use serde::Deserialize;
use std::{collections::BTreeSet, fs, path::Path, time::Duration};

/// All cells of a mesh, as a file in TOML or JSON says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Name of the cell that writes global data.
    pub global: String,
    /// The cells.
    pub cells: Vec<WantedCell>,
    /// How far regions are apart; what is not said is unknown.
    #[serde(default)]
    pub distances: Vec<Distance>,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedCell {
    /// Name, like `bj-1`.
    pub id: String,
    /// Region, like `beijing`.
    pub region: String,
    /// Share of new users relative to the other cells of its region; 0: none.
    #[serde(default = "one")]
    pub weight: u32,
    /// Whether it takes no new users.
    #[serde(default)]
    pub draining: bool,
    /// Peer listeners of its routers, `host:port`.
    pub peer_endpoints: Vec<String>,
    /// Front doors of its routers, `host:port`.
    pub front_endpoints: Vec<String>,
}

/// How far two regions are apart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distance {
    /// The regions.
    pub between: [String; 2],
    /// Round trip in milliseconds.
    pub rtt_ms: u64,
}

const fn one() -> u32 {
    1
}

impl Wanted {
    /// Reads a file: JSON if its name ends so, else TOML.
    ///
    /// # Errors
    /// If it cannot be read or says something else.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let wanted: Self = if path.extension().is_some_and(|extension| extension == "json") {
            serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?
        } else {
            toml::from_str(&text).with_context(|| format!("in {}", path.display()))?
        };
        Ok(wanted)
    }

    /// The version of the map that has these cells: the first one, or the one after `current`; `None` if that has them
    /// already. Buckets stay where they are: a cell that is added is nobody's home until users are moved to it.
    ///
    /// # Errors
    /// If a name or endpoint is none, a cell that is not wanted any more is somebody's home, or the cells make no map.
    pub fn version(&self, current: Option<&CellMap>, first: Incarnation) -> anyhow::Result<Option<CellMap>> {
        ensure!(!self.cells.is_empty(), "there is no cell");
        let mut draft = current.map_or_else(|| MapDraft::new(first), CellMap::next);
        let wanted: BTreeSet<&str> = self.cells.iter().map(|cell| cell.id.as_str()).collect();
        ensure!(wanted.len() == self.cells.len(), "a cell is named twice: {}", self.names());
        for cell in self.cells.iter().map(WantedCell::cell) {
            let cell = cell?;
            match current.and_then(|map| map.cell(&cell.id)) {
                None => draft.add_cell(cell)?,
                Some(_) => draft.set_cell(cell)?,
            };
        }
        let global = CellId::new(&self.global).with_context(|| format!("the global cell '{}'", self.global))?;
        if !wanted.contains(self.global.as_str()) {
            bail!("the global cell '{}' is not one of {}", self.global, self.names());
        }
        draft.set_global_cell(&global);
        for Distance { between: [a, b], rtt_ms } in &self.distances {
            let region = |name: &str| RegionId::new(name).with_context(|| format!("the region '{name}'"));
            draft.set_distance(&region(a)?, &region(b)?, Duration::from_millis(*rtt_ms))?;
        }
        let Some(current) = current else {
            draft.spread_buckets()?;
            return Ok(Some(draft.build()?));
        };
        for gone in current.cells().iter().filter(|cell| !wanted.contains(cell.id.as_str())) {
            draft.remove_cell(&gone.id)?;
        }
        let next = draft.build()?;
        Ok((!diff(current, &next).is_empty()).then_some(next))
    }

    /// Publishes that version in a file, or with `dry_run` only makes it. Returns what the file held, and that version.
    ///
    /// # Errors
    /// As [`Self::version`], or if the file is damaged or cannot be written.
    pub fn apply(&self, path: &Path, first: Incarnation, dry_run: bool) -> anyhow::Result<(Option<CellMap>, CellMap)> {
        let store = FileStore::open(path);
        let current = match store.load() {
            Ok(map) => Some(map),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error).context("reading the present map"),
        };
        let Some(next) = self.version(current.as_ref(), first)? else {
            let map = current.context("the first version always differs")?;
            return Ok((Some(map.clone()), map));
        };
        if dry_run {
            return Ok((current, next));
        }
        let expected = current.as_ref().map(CellMap::epoch);
        store.publish(&next, expected, Guard::default()).with_context(|| format!("publishing {}", path.display()))?;
        Ok((current, next))
    }

    fn names(&self) -> String {
        self.cells.iter().map(|cell| cell.id.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl WantedCell {
    fn cell(&self) -> anyhow::Result<Cell> {
        let id = CellId::new(&self.id).with_context(|| format!("the cell '{}'", self.id))?;
        let region =
            RegionId::new(&self.region).with_context(|| format!("the region '{}' of {}", self.region, self.id))?;
        Ok(Cell {
            weight: self.weight,
            state: if self.draining { CellState::Draining } else { CellState::Active },
            peer_endpoints: self.peer_endpoints.clone(),
            front_endpoints: self.front_endpoints.clone(),
            ..Cell::new(id, region)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
        global = "bj-1"
        [[cells]]
        id = "bj-1"
        region = "beijing"
        peer_endpoints = ["bj-router:7002"]
        front_endpoints = ["bj-router:7000"]
        [[cells]]
        id = "sh-1"
        region = "shanghai"
        weight = 2
        peer_endpoints = ["sh-router:7002"]
        front_endpoints = ["sh-router:7000"]
        [[distances]]
        between = ["beijing", "shanghai"]
        rtt_ms = 30
    "#;

    fn wanted() -> Wanted {
        toml::from_str(TWO).expect("two cells")
    }

    fn apply(wanted: &Wanted, path: &Path) -> anyhow::Result<CellMap> {
        Ok(wanted.apply(path, Incarnation::new(5), false)?.1)
    }

    #[test]
    fn the_first_version_spreads_the_buckets_and_later_ones_leave_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("map.pb");
        let mut wanted = wanted();
        let first = apply(&wanted, &path).expect("a map");
        assert_eq!((first.epoch().get(), first.incarnation().get()), (1, 5));
        assert_eq!(apply(&wanted, &path).expect("the same").epoch(), first.epoch(), "nothing changed");

        wanted.cells[1].front_endpoints = vec!["sh-door:443".to_owned()];
        let (peer_endpoints, front_endpoints) = (vec!["sh-2:7002".to_owned()], vec!["sh-2:7000".to_owned()]);
        wanted.cells.push(WantedCell {
            id: "sh-2".to_owned(),
            peer_endpoints,
            front_endpoints,
            ..wanted.cells[1].clone()
        });
        let second = apply(&wanted, &path).expect("a next version");
        assert_eq!(second.epoch().get(), 2);
        assert_eq!(second.bucket_table_bytes(), first.bucket_table_bytes(), "nobody's home changes");
        assert_eq!(second.cells()[1].front_endpoints, ["sh-door:443"]);

        wanted.cells.pop();
        assert_eq!(apply(&wanted, &path).expect("it is nobody's home").cells().len(), 2);
        wanted.cells.pop();
        let error = format!("{:#}", apply(&wanted, &path).expect_err("it is somebody's home"));
        assert!(error.contains("sh-1") && error.contains("home of buckets"), "{error}");
    }

    #[test]
    fn the_same_in_json_and_mistakes_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("cells.json");
        let cell = r#"{"id": "a", "region": "r", "peer_endpoints": [], "front_endpoints": []}"#;
        let error = |text: &str| {
            fs::write(&file, text).expect("written");
            let read = Wanted::read(&file).and_then(|wanted| wanted.version(None, Incarnation::new(1)));
            format!("{:#}", read.expect_err("it is wrong"))
        };
        for (text, why) in [
            (r#"{"global": "a", "cells": []}"#.to_owned(), "there is no cell"),
            (r#"{"global": "a", "cels": []}"#.to_owned(), "unknown field `cels`"),
            (format!(r#"{{"global": "b", "cells": [{cell}]}}"#), "'b' is not one of a"),
            (format!(r#"{{"global": "a", "cells": [{cell}, {cell}]}}"#), "named twice"),
            (format!(r#"{{"global": "a", "cells": [{}]}}"#, cell.replace("[]", "[\"nowhere\"]")), "nowhere"),
            (format!(r#"{{"global": "a", "cells": [{}]}}"#, cell.replace("\"r\"", "\"R!\"")), "the region 'R!' of a"),
        ] {
            assert!(error(&text).contains(why), "{text}: {}", error(&text));
        }
    }
}
