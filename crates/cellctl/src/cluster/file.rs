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
    pub operator_token_file: PathBuf,
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
        let operator_token_file = secrets.join("operator-token");
        secret(&operator_token_file)?;
        let files = Self {
            map: data.join("map.pb"),
            descriptor_set: data.join("shop.binpb"),
            peer_token: secret(&peer_token_file)?,
            peer_token_file,
            operator_token_file,
            seal_secret: secret(&secrets.join("seal-key"))?,
            data,
            _lock: lock,
        };
        write(&files.descriptor_set, shop_proto::FILE_DESCRIPTOR_SET)?;
        map::publish(&files.map, places, config.rtt)?;
        let hosted = config::Hosted::of(config, places)?;
        for (index, place) in places.iter().enumerate() {
            let folder = files.cell(&place.id);
            make_folder(&folder)?;
            write(&folder.join("router.toml"), config::router(config, place, places, &files, &hosted).as_bytes())?;
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

#[cfg(test)]
mod tests {
    use super::super::place;
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    fn config(folder: &Path) -> ClusterConfig {
        ClusterConfig::new(folder.join("data"), "/nowhere")
    }

    #[test]
    fn what_is_written_can_be_read_by_its_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::write(&config(folder.path()), &place::lay_out(7000, 2)).expect("files");
        let mode = |path: &Path| fs::metadata(path).expect("a file").mode() & 0o777;
        assert_eq!(mode(&files.data), 0o700);
        let services = files.cell("sh-1").join("services.toml");
        for path in [&files.peer_token_file, &files.data.join("secrets/seal-key"), &services] {
            assert_eq!(mode(path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn secrets_are_made_once_and_differ() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = || Files::write(&config(folder.path()), &place::lay_out(7000, 1)).expect("files");
        let first = write();
        let (token, seal) = (first.peer_token.clone(), first.seal_secret.clone());
        drop(first);
        assert_ne!(token, seal);
        let again = write();
        assert_eq!((&again.peer_token, &again.seal_secret), (&token, &seal));
    }

    #[test]
    fn a_folder_belongs_to_one_cluster_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let _first = Files::write(&config(folder.path()), &place::lay_out(7000, 1)).expect("files");
        let error =
            Files::write(&config(folder.path()), &place::lay_out(7000, 1)).expect_err("it is taken").to_string();
        assert!(error.contains("another cluster") && error.contains("--data"), "{error}");
    }

    #[test]
    fn routers_reach_the_other_region_through_the_link_and_their_own_directly() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::write(&config(folder.path()), &place::lay_out(7000, 3)).expect("files");
        let router = fs::read_to_string(files.cell("bj-1").join("router.toml")).expect("a file");
        let router: toml::Table = router.parse().expect("TOML");
        let overrides = router["peers"]["overrides"].as_table().expect("a table");
        assert_eq!(overrides.keys().collect::<Vec<_>>(), ["sh-1"]);
        assert_eq!(overrides["sh-1"].as_str(), Some("127.0.0.1:7016"));
    }
}
