//! `cellmesh.map.v1.CellMap` ↔ [`cell_map::CellMap`].

use crate::map_v1;
use cell_map::{
    Cell, CellId, CellMap, CellState, IdError, Incarnation, KeyError, MapDraft, MapEpoch, MapError, RegionId,
    UserEpoch, UserKey,
};
use std::time::Duration;

/// Why a message is no cell map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapMessageError {
    /// A name that is none.
    #[error("{field}: {source}")]
    Name {
        /// The message's field.
        field: String,
        /// What is wrong with it.
        source: IdError,
    },
    /// A pin's key that is none.
    #[error("{field}: {source}")]
    Key {
        /// The message's field.
        field: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A cell state that is not set or not known to this version.
    #[error("{field}: {value} is no state of a cell; CELL_STATE_ACTIVE (1) and CELL_STATE_DRAINING (2) are")]
    State {
        /// The message's field.
        field: String,
        /// Its value.
        value: i32,
    },
    /// A tombstone that names a cell.
    #[error("{field}: a tombstone names no cell, this one names \"{cell}\"")]
    Tombstone {
        /// The message's field.
        field: String,
        /// The name, cut to 80 characters.
        cell: String,
    },
    /// Every part can be read, but together they are no map.
    #[error(transparent)]
    Map(#[from] MapError),
}

impl TryFrom<map_v1::CellMap> for CellMap {
    type Error = MapMessageError;

    fn try_from(message: map_v1::CellMap) -> Result<Self, MapMessageError> {
        let mut draft = MapDraft::new(Incarnation::new(message.incarnation));
        draft.set_epoch(MapEpoch::new(message.epoch));
        for (n, cell) in message.cells.into_iter().enumerate() {
            draft.add_cell(read_cell(n, cell)?)?;
        }
        draft.set_bucket_table_bytes(&message.bucket_cells)?;
        draft.set_reserved_bytes(&message.reserved_buckets)?;
        for (n, pin) in message.pins.into_iter().enumerate() {
            let key = UserKey::from_bytes(&pin.user_key)
                .map_err(|source| MapMessageError::Key { field: format!("pins[{n}].user_key"), source })?;
            draft.add_pin(key, read_pin_cell(n, &pin)?.as_ref(), UserEpoch::new(pin.user_epoch))?;
        }
        for (n, distance) in message.distances.into_iter().enumerate() {
            let region = |end, name: &str| named(|| format!("distances[{n}].{end}"), RegionId::new(name));
            let (from, to) = (region("from", &distance.from)?, region("to", &distance.to)?);
            draft.add_distance(&from, &to, Duration::from_micros(distance.rtt_us.into()))?;
        }
        if !message.global_cell.is_empty() {
            draft.set_global_cell(&named(|| "global_cell".to_owned(), CellId::new(&message.global_cell))?);
        }
        if !message.forced_reason.is_empty() {
            draft.force(&message.forced_reason);
        }
        Ok(draft.build()?)
    }
}

impl From<&CellMap> for map_v1::CellMap {
    fn from(map: &CellMap) -> Self {
        let cell_name = |index| map.cell_at(index).id.to_string();
        Self {
            incarnation: map.incarnation().get(),
            epoch: map.epoch().get(),
            cells: map.cells().iter().map(write_cell).collect(),
            bucket_cells: map.bucket_table_bytes(),
            pins: map
                .pins()
                .map(|pin| map_v1::Pin {
                    user_key: pin.key.to_vec(),
                    cell: pin.cell.map(cell_name).unwrap_or_default(),
                    user_epoch: pin.user_epoch.get(),
                    tombstone: pin.cell.is_none(),
                })
                .collect(),
            distances: map
                .distances()
                .map(|(from, to, rtt)| map_v1::RegionDistance {
                    from: from.to_string(),
                    to: to.to_string(),
                    rtt_us: u32::try_from(rtt.as_micros()).expect("maps hold distances as 32-bit microseconds"),
                })
                .collect(),
            global_cell: map.global_cell().id.to_string(),
            reserved_buckets: map.reserved_bytes(),
            forced_reason: map.forced_reason().unwrap_or_default().to_owned(),
        }
    }
}

fn named<T>(field: impl FnOnce() -> String, name: Result<T, IdError>) -> Result<T, MapMessageError> {
    name.map_err(|source| MapMessageError::Name { field: field(), source })
}

fn read_cell(n: usize, cell: map_v1::Cell) -> Result<Cell, MapMessageError> {
    let state = match map_v1::CellState::try_from(cell.state) {
        Ok(map_v1::CellState::Active) => CellState::Active,
        Ok(map_v1::CellState::Draining) => CellState::Draining,
        Ok(map_v1::CellState::Unspecified) | Err(_) => {
            return Err(MapMessageError::State { field: format!("cells[{n}].state"), value: cell.state });
        }
    };
    Ok(Cell {
        id: named(|| format!("cells[{n}].id"), CellId::new(&cell.id))?,
        region: named(|| format!("cells[{n}].region"), RegionId::new(&cell.region))?,
        weight: cell.weight,
        state,
        peer_endpoints: cell.peer_endpoints,
        front_endpoints: cell.front_endpoints,
    })
}

fn write_cell(cell: &Cell) -> map_v1::Cell {
    let state = match cell.state {
        CellState::Active => map_v1::CellState::Active,
        CellState::Draining => map_v1::CellState::Draining,
    };
    map_v1::Cell {
        id: cell.id.to_string(),
        region: cell.region.to_string(),
        weight: cell.weight,
        state: state.into(),
        peer_endpoints: cell.peer_endpoints.clone(),
        front_endpoints: cell.front_endpoints.clone(),
    }
}

/// `None` for a tombstone.
fn read_pin_cell(n: usize, pin: &map_v1::Pin) -> Result<Option<CellId>, MapMessageError> {
    match (pin.tombstone, &*pin.cell) {
        (true, "") => Ok(None),
        (true, cell) => {
            let cell = cell.chars().take(80).collect();
            Err(MapMessageError::Tombstone { field: format!("pins[{n}].cell"), cell })
        }
        (false, cell) => named(|| format!("pins[{n}].cell"), CellId::new(cell)).map(Some),
    }
}
