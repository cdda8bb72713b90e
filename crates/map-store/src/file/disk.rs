//! What the file store asks of the disk.

use crate::{FormatError, Stamp, StoreError, format};
use cell_map::CellMap;
use std::{
    fs::{File, Metadata, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

/// How often a held lock is tried.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// A file is settled when its last change is older than the coarsest clock of a file system that is likely here.
const SETTLE: Duration = Duration::from_secs(2);

/// Reads a map.
pub(super) fn read(path: &Path) -> Result<CellMap, StoreError> {
    format::decode(&read_bytes(path)?).map_err(|error| StoreError::Damaged { path: path.to_owned(), error })
}

/// Reads a file, never more than a map may have.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, StoreError> {
    let damaged = |error| StoreError::Damaged { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| failed("open", path, error))?;
    let length = metadata(&file, path)?.len();
    if length > format::MAX_BYTES {
        return Err(damaged(FormatError::TooLarge { bytes: length, max: format::MAX_BYTES }));
    }
    // It may grow while it is read.
    let read = file.take(format::MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| failed("read", path, error))?;
    Ok(bytes)
}

/// Replaces a file's content so that a reader, and the disk after a power cut, has the old content or the new.
pub(super) fn replace(path: &Path, temporary: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| failed("write", temporary, error))?;
    std::fs::rename(temporary, path).map_err(|error| failed("replace", path, error))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed("sync", folder, error))
}

/// Takes the publishers' lock. It ends with the returned file, also when the process dies; the lock's file stays, as
/// removing it would let two publishers lock two files of one name.
pub(super) fn lock(path: &Path, timeout: Duration) -> Result<File, StoreError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|error| failed("open the lock", path, error))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed("lock", path, error)),
            Err(TryLockError::WouldBlock) if start.elapsed() >= timeout => {
                return Err(StoreError::Locked { path: path.to_owned(), waited: timeout });
            }
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_RETRY),
        }
    }
}

pub(super) fn stamp(path: &Path) -> Result<Stamp, StoreError> {
    let found = std::fs::metadata(path).map_err(|error| failed("look at", path, error))?;
    let modified = found.modified().map_err(|error| failed("look at", path, error))?;
    let since_epoch = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let identity = [inode(&found), found.len(), since_epoch.as_secs(), since_epoch.subsec_nanos().into()];
    // A change time in the future never settles: such a file is read at every look.
    let settled = SystemTime::now().duration_since(modified).is_ok_and(|age| age >= SETTLE);
    Ok(Stamp { identity, settled })
}

/// A folder or a pipe is no map, and reading one might never end.
fn metadata(file: &File, path: &Path) -> Result<Metadata, StoreError> {
    let found = file.metadata().map_err(|error| failed("look at", path, error))?;
    if found.is_file() {
        Ok(found)
    } else {
        Err(failed("read", path, io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")))
    }
}

#[cfg(unix)]
fn inode(found: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(found)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

fn failed(action: &'static str, path: &Path, error: io::Error) -> StoreError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound if action == "open" || action == "look at" => StoreError::NotFound { path },
        _ => StoreError::Io { action, path, error },
    }
}
