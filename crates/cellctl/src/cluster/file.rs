//! Everything a cluster keeps on disk.

use super::{ClusterConfig, Place, config, map};
use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Where things lie, and the secrets. All files can be read by their owner only.
#[derive(Debug)]
pub(super) struct Files {
    pub data: PathBuf,
    pub map: PathBuf,
    pub descriptor_set: PathBuf,
    pub peer_token_file: PathBuf,
    pub peer_token: String,
    pub seal_secret: String,
    /// Held as long as the cluster lives: a folder belongs to one cluster at a time.
    _lock: File,
}

impl Files {
    /// Writes what the processes read. Secrets, map and databases of an earlier cluster in the same folder are kept.
    pub fn write(config: &ClusterConfig, places: &[Place]) -> anyhow::Result<Self> {
        make_folder(&config.data)?;
        let data = fs::canonicalize(&config.data).with_context(|| format!("resolving {}", config.data.display()))?;
        if data.to_str().is_none() {
            bail!("the data folder {} has a name that is not UTF-8", data.display());
        }
        let lock = lock(&data)?;
        let secrets = data.join("secrets");
        make_folder(&secrets)?;
        let peer_token_file = secrets.join("peer-token");
        let files = Self {
            map: data.join("map.pb"),
            descriptor_set: data.join("shop.binpb"),
            peer_token: secret(&peer_token_file)?,
            peer_token_file,
            seal_secret: secret(&secrets.join("seal-key"))?,
            data,
            _lock: lock,
        };
        write(&files.descriptor_set, shop_proto::FILE_DESCRIPTOR_SET)?;
        map::publish(&files.map, places, config.rtt)?;
        for (index, place) in places.iter().enumerate() {
            let folder = files.cell(&place.id);
            make_folder(&folder)?;
            write(&folder.join("router.toml"), config::router(config, place, places, &files).as_bytes())?;
            let services = config::services(config, place, &folder, &files, index == 0);
            write(&folder.join("services.toml"), services.as_bytes())?;
        }
        Ok(files)
    }

    /// The folder of a cell.
    pub fn cell(&self, id: &str) -> PathBuf {
        self.data.join(id)
    }
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("making the folder {}", path.display()))
}

fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("lock");
    let file = private(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another cluster runs on the data folder {}: end it, or choose another with --data", data.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

/// A secret of 32 random bytes in base64: that of the file, or a new one.
fn secret(path: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Ok(secret) => {
            let bytes = STANDARD.decode(secret.trim()).with_context(|| format!("reading {}", path.display()))?;
            if bytes.len() != 32 {
                bail!("{} holds {} bytes, not 32: remove it for a new secret", path.display(), bytes.len());
            }
            Ok(secret.trim().to_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = STANDARD.encode(rand::random::<[u8; 32]>());
            write(path, secret.as_bytes())?;
            Ok(secret)
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Replaces a file as a whole.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let written = private(&new).and_then(|mut file| {
        file.set_len(0)?;
        file.write_all(bytes)?;
        Ok(fs::rename(&new, path)?)
    });
    written.with_context(|| format!("writing {}", path.display()))
}

fn private(path: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    opened.with_context(|| format!("opening {}", path.display()))
}
