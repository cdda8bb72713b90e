//! A store in a file.

mod apply;
mod disk;

pub use apply::{Applied, ApplyError};

use crate::{FormatError, MapSource, Stamp, StoreError, format, format::Kind, publish};
use cell_map::{Admission, CellMap, Guard, Incarnation, MapEpoch, Moved, admit};
use prost::Message;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a publisher waits for another.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// A map in a file, shared by every process of the machine.
///
/// Publishers exclude each other by a lock on `<path>.lock`; a new version is written to `<path>.tmp`, synced and
/// renamed, so a reader sees the old version or the new one, whenever a publisher dies. `<path>.last-good` is a copy
/// to start with should the file be damaged.
///
/// Calls block on the disk; call them off the async threads.
#[derive(Clone, Debug)]
pub struct FileStore {
    path: PathBuf,
    lock_timeout: Duration,
}

impl FileStore {
    /// The store at a path. Nothing is read or written yet; the folder must exist when a map is published.
    #[must_use]
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), lock_timeout: LOCK_TIMEOUT }
    }

    /// The same with another limit of waiting for other publishers (5 s).
    #[must_use]
    pub fn with_lock_timeout(self, lock_timeout: Duration) -> Self {
        Self { lock_timeout, ..self }
    }

    /// The map's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The map, whole and checked.
    ///
    /// # Errors
    /// If there is none, it is damaged, or it cannot be read.
    pub fn load(&self) -> Result<CellMap, StoreError> {
        match disk::read(&self.path) {
            Err(StoreError::NotFound { path }) if self.last_good_path().exists() => Err(StoreError::Gone { path }),
            result => result,
        }
    }

    /// Publishes the next version. `expected` is the epoch that `new` was built upon, `None` for the first map.
    ///
    /// # Errors
    /// If another publisher was faster, consumers would refuse the map, the guard stops it, the present map is damaged
    /// ([`Self::restore`] it first), or the disk fails; then the present map stays.
    pub fn publish(&self, new: &CellMap, expected: Option<MapEpoch>, guard: Guard) -> Result<Moved, StoreError> {
        self.replace(new, expected, guard, None)
    }

    /// Publishes the first version of a new history, which consumers refuse until they adopt it too.
    ///
    /// # Errors
    /// Like [`Self::publish`], or if the incarnation is not higher.
    pub fn adopt(&self, new: &CellMap, expected: MapEpoch, guard: Guard) -> Result<Moved, StoreError> {
        self.replace(new, Some(expected), guard, Some(new.incarnation()))
    }

    /// Takes over what another store published, so that this one is a copy of it: newer versions of one history, or a first
    /// map. No guard stops it, for the publisher's has let it pass.
    ///
    /// # Errors
    /// If the present map is damaged ([`Self::restore`] it first), or the disk fails; then the present map stays.
    pub fn copy(&self, map: &CellMap) -> Result<Admission, StoreError> {
        let _lock = disk::lock(&self.beside("lock"), self.lock_timeout)?;
        let admission = match self.load() {
            Ok(current) => admit(&current, map),
            Err(StoreError::NotFound { .. }) => Admission::Newer,
            Err(error) => return Err(error),
        };
        if admission == Admission::Newer {
            self.write(&self.path, map)?;
            self.write(&self.last_good_path(), map)?;
        }
        Ok(admission)
    }

    /// Puts the last good copy in the place of a map that is damaged or gone; leaves a sound map alone. Returns the map
    /// that is there now.
    ///
    /// # Errors
    /// If the copy is no better, or the disk fails.
    pub fn restore(&self) -> Result<CellMap, StoreError> {
        let _lock = disk::lock(&self.beside("lock"), self.lock_timeout)?;
        match self.load() {
            Err(StoreError::Damaged { .. } | StoreError::Gone { .. }) => {
                let copy = disk::read(&self.last_good_path())?;
                self.write(&self.path, &copy)?;
                Ok(copy)
            }
            result => result,
        }
    }

    fn replace(
        &self,
        new: &CellMap,
        expected: Option<MapEpoch>,
        guard: Guard,
        adopt: Option<Incarnation>,
    ) -> Result<Moved, StoreError> {
        let _lock = disk::lock(&self.beside("lock"), self.lock_timeout)?;
        let current = match self.load() {
            Ok(map) => Some(map),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let moved = publish::check(current.as_ref(), new, expected, guard, adopt)?;
        self.write(&self.path, new)?;
        if let Err(error) = self.write(&self.last_good_path(), new) {
            // The map itself is published: saying no now would make the publisher try again in vain.
            tracing::warn!(%error, "the last good copy of the cell map could not be written");
        }
        tracing::info!(
            map.epoch = new.epoch().get(),
            map.incarnation = new.incarnation().get(),
            map.hash = %new.content_hash(),
            forced = new.forced_reason(),
            "cell map published"
        );
        Ok(moved)
    }

    /// Under the lock only: the name of the temporary file is fixed, so what a dead publisher left is overwritten.
    fn write(&self, path: &Path, map: &CellMap) -> Result<(), StoreError> {
        let damaged = |error| StoreError::Damaged { path: path.to_owned(), error };
        disk::replace(path, &self.beside("tmp"), &format::encode(map).map_err(damaged)?)
    }

    fn last_good_path(&self) -> PathBuf {
        self.beside("last-good")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        beside(&self.path, suffix)
    }
}

impl MapSource for FileStore {
    fn stamp(&self) -> Result<Stamp, StoreError> {
        disk::stamp(&self.path)
    }

    fn load(&self) -> Result<CellMap, StoreError> {
        Self::load(self)
    }

    fn last_good(&self) -> Option<CellMap> {
        disk::read(&self.last_good_path()).ok()
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

/// A process's own copy of the map it trusts.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot(PathBuf);

impl Snapshot {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn read(&self) -> Result<CellMap, StoreError> {
        disk::read(&self.0)
    }

    pub(crate) fn write(&self, map: &CellMap) -> Result<(), StoreError> {
        put(&self.0, format::encode(map))
    }
}

/// A file of a process's own that holds one message: as safe as a map's, for what is not a map alone.
///
/// Calls block on the disk; call them off the async threads.
#[derive(Clone, Debug)]
pub struct Kept {
    path: PathBuf,
    kind: Kind,
}

impl Kept {
    /// The file at a path, of this kind. Nothing is read or written yet.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>, kind: Kind) -> Self {
        Self { path: path.into(), kind }
    }

    /// The message, whole and checked.
    ///
    /// # Errors
    /// If there is none, it is damaged, or it cannot be read.
    pub fn read<M: Message + Default>(&self) -> Result<M, StoreError> {
        let bytes = disk::read_bytes(&self.path)?;
        format::open(self.kind, &bytes).map_err(|error| StoreError::Damaged { path: self.path.clone(), error })
    }

    /// Replaces the message: a reader, and the disk after a power cut, has the old one or the new. One writer at a time.
    ///
    /// # Errors
    /// If it is too large, or the disk fails; then the old one stays.
    pub fn write(&self, message: &impl Message) -> Result<(), StoreError> {
        put(&self.path, format::seal(self.kind, message))
    }
}

fn put(path: &Path, bytes: Result<Vec<u8>, FormatError>) -> Result<(), StoreError> {
    let bytes = bytes.map_err(|error| StoreError::Damaged { path: path.to_owned(), error })?;
    disk::replace(path, &beside(path, "tmp"), &bytes)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
