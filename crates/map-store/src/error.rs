//! What can go wrong with a stored map.

use cell_map::{AdmitError, GuardError, MapEpoch};
use std::{io, path::PathBuf, time::Duration};

/// Why a store did not give or take a map.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No map was ever published here.
    #[error("there is no cell map at \"{}\"", path.display())]
    NotFound {
        /// Where.
        path: PathBuf,
    },
    /// The map is gone, but a last good copy shows that there was one.
    #[error("the cell map at \"{}\" is gone, but its last good copy is there: restore it", path.display())]
    Gone {
        /// Where.
        path: PathBuf,
    },
    /// The file is no cell map.
    #[error("\"{}\" is not a cell map: {error}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        error: FormatError,
    },
    /// The operating system said no. Retry later.
    #[error("cannot {action} \"{}\": {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it said.
        #[source]
        error: io::Error,
    },
    /// Another publisher is at work. Retry later.
    #[error("another publisher held the lock \"{}\" for {waited:?}", path.display())]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Another publisher was faster: load the map, make the change again, publish that.
    #[error("the store has {}, not {}", said(*found), said(*expected))]
    Unexpected {
        /// What the publisher built upon; `None`: no map.
        expected: Option<MapEpoch>,
        /// What is there.
        found: Option<MapEpoch>,
    },
    /// Consumers would refuse the map.
    #[error("the map would not be admitted: {0}")]
    Inadmissible(#[from] AdmitError),
    /// The content is there already under this epoch.
    #[error("map epoch {0} is published already")]
    Published(MapEpoch),
    /// The publisher's guard stops the map.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The reading task was stopped with its runtime.
    #[error("the runtime is shutting down")]
    ShuttingDown,
}

/// Why bytes are no stored map.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Too large to be one.
    #[error("it has {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Its bytes, or as many as were looked at.
        bytes: u64,
        /// Most bytes.
        max: u64,
    },
    /// Not written by this program.
    #[error("it does not begin like one")]
    Magic,
    /// Written by a later version of this program.
    #[error("its format is {found}, this program reads {known}")]
    Version {
        /// Its format.
        found: u32,
        /// What is understood.
        known: u32,
    },
    /// Cut off, or something was appended.
    #[error("it has {bytes} bytes, its header says {want}")]
    Length {
        /// Its bytes.
        bytes: u64,
        /// What the header says.
        want: u64,
    },
    /// Changed since it was written.
    #[error("its checksum is wrong")]
    Checksum,
    /// Not protobuf.
    #[error("its protobuf is wrong: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// Well-formed, but wrong as a map.
    #[error("{0}")]
    Map(#[from] mesh_proto::convert::MapMessageError),
}

fn said(epoch: Option<MapEpoch>) -> String {
    epoch.map_or_else(|| "no map".to_owned(), |epoch| format!("map epoch {epoch}"))
}
