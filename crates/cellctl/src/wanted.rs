//! The cells that an operator wants, as a file says them.

use anyhow::Context as _;
use cell_map::{Incarnation, WantedCells, WantedError};
use map_store::{Applied, FileStore};
use mesh_proto::control_v1 as pb;
use serde::Deserialize;
use std::{fs, path::Path};

/// All cells of a mesh, as a file in TOML or JSON says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Name of the cell that writes global data.
    pub global: String,
    /// The cells.
    pub cells: Vec<WantedCell>,
    /// How far regions are apart; what is not said stays as it is, at first unknown.
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

    /// The same, checked.
    ///
    /// # Errors
    /// If a name is none.
    pub fn cells(&self) -> Result<WantedCells, WantedError> {
        WantedCells::try_from(&pb::WantedCells::from(self))
    }

    /// Publishes the version with these cells in a file, or with `dry_run` only makes it.
    ///
    /// # Errors
    /// If the cells make no next version of the map, or the file is damaged or cannot be written.
    pub fn apply(&self, path: &Path, first: Incarnation, dry_run: bool) -> anyhow::Result<Applied> {
        let applied = FileStore::open(path).apply(&self.cells()?, Some(first), None, dry_run);
        applied.with_context(|| format!("applying the cells to {}", path.display()))
    }
}

impl From<&Wanted> for pb::WantedCells {
    fn from(wanted: &Wanted) -> Self {
        let cell = |cell: &WantedCell| pb::WantedCell {
            id: cell.id.clone(),
            region: cell.region.clone(),
            weight: Some(cell.weight),
            draining: cell.draining,
            peer_endpoints: cell.peer_endpoints.clone(),
            front_endpoints: cell.front_endpoints.clone(),
        };
        let distance = |Distance { between: [from, to], rtt_ms }: &Distance| pb::WantedDistance {
            from: from.clone(),
            to: to.clone(),
            rtt_ms: *rtt_ms,
        };
        Self {
            global_cell: wanted.global.clone(),
            cells: wanted.cells.iter().map(cell).collect(),
            distances: wanted.distances.iter().map(distance).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_in_toml_and_json_and_mistakes_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let cell = r#"{"id": "a", "region": "r", "peer_endpoints": [], "front_endpoints": []}"#;
        let json = Wanted::read(&file("cells.json", &format!(r#"{{"global": "a", "cells": [{cell}]}}"#)));
        let toml = "global = \"a\"\n[[cells]]\nid = \"a\"\nregion = \"r\"\npeer_endpoints = []\nfront_endpoints = []";
        assert_eq!(json.expect("cells"), Wanted::read(&file("cells.toml", toml)).expect("cells"));
        let error = |text: &str| {
            let path = file("wrong.json", text);
            let map = folder.path().join("map.pb");
            let applied = Wanted::read(&path).and_then(|wanted| wanted.apply(&map, Incarnation::new(1), true));
            format!("{:#}", applied.expect_err("it is wrong"))
        };
        for (text, why) in [
            (r#"{"global": "a", "cells": []}"#.to_owned(), "there is no cell"),
            (r#"{"global": "a", "cels": []}"#.to_owned(), "unknown field `cels`"),
            (format!(r#"{{"global": "b", "cells": [{cell}]}}"#), "\"b\" is not one of a"),
            (format!(r#"{{"global": "a", "cells": [{cell}, {cell}]}}"#), "named twice"),
            (format!(r#"{{"global": "a", "cells": [{}]}}"#, cell.replace("[]", "[\"nowhere\"]")), "nowhere"),
            (format!(r#"{{"global": "a", "cells": [{}]}}"#, cell.replace("\"r\"", "\"R!\"")), "cells[0].region"),
        ] {
            assert!(error(&text).contains(why), "{text}: {}", error(&text));
        }
    }
}
