//! An image as one file: an OCI layout, which containerd and podman load, that is a docker archive as well. The same input
//! gives the same bytes. Formats: <https://github.com/opencontainers/image-spec>, and `docker save`.

use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Nothing in an image is of any other time.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// A file of the image.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// Where, without a leading slash.
    pub path: String,
    pub bytes: Vec<u8>,
    pub mode: u32,
}

/// An image of one layer.
#[derive(Debug)]
pub(super) struct Archive {
    /// Full name with registry and tag.
    pub name: String,
    pub entrypoint: String,
    pub user: &'static str,
    pub labels: Vec<(&'static str, String)>,
    pub files: Vec<File>,
}

impl Archive {
    /// The archive.
    ///
    /// # Errors
    /// If a path does not fit into a tar header.
    pub fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        let layer = Blob::new("application/vnd.oci.image.layer.v1.tar", tar(&self.files)?);
        let labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": CREATED,
            "config": {"User": self.user, "Entrypoint": [self.entrypoint], "WorkingDir": "/", "Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest()]},
            "history": [{"created": CREATED, "created_by": "cargo xtask image"}],
        });
        let config = Blob::json("application/vnd.oci.image.config.v1+json", &config);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        });
        let manifest = Blob::json("application/vnd.oci.image.manifest.v1+json", &manifest);
        let mut described = manifest.descriptor();
        described["platform"] = json!({"architecture": architecture(), "os": "linux"});
        described["annotations"] =
            json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": self.name});
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [described],
        });
        let docker = json!([{"Config": config.path(), "RepoTags": [self.name], "Layers": [layer.path()]}]);
        let mut files = vec![
            text("oci-layout", &json!({"imageLayoutVersion": "1.0.0"})),
            text("index.json", &index),
            text("manifest.json", &docker),
        ];
        files.extend([layer, config, manifest].map(Blob::into_file));
        tar(&files)
    }
}

/// As OCI and Go name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn text(path: &str, value: &Value) -> File {
    File { path: path.to_owned(), bytes: value.to_string().into_bytes(), mode: 0o644 }
}

/// A part of the image, found by its digest.
struct Blob {
    media_type: &'static str,
    bytes: Vec<u8>,
    hash: String,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        let hash = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { media_type, bytes, hash }
    }

    fn json(media_type: &'static str, value: &Value) -> Self {
        Self::new(media_type, value.to_string().into_bytes())
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.hash)
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.hash)
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest(), "size": self.bytes.len()})
    }

    fn into_file(self) -> File {
        File { path: self.path(), bytes: self.bytes, mode: 0o644 }
    }
}

/// The files with the folders that they lie in, in the order of their names, of user 0 and time 0.
fn tar(files: &[File]) -> anyhow::Result<Vec<u8>> {
    let mut entries: BTreeMap<&str, &File> = BTreeMap::new();
    let mut folders: BTreeSet<&str> = BTreeSet::new();
    for file in files {
        entries.insert(&file.path, file);
        folders.extend(file.path.match_indices('/').map(|(at, _)| &file.path[..=at]));
    }
    let mut tar = tar::Builder::new(Vec::new());
    let mut append = |path: &str, kind: tar::EntryType, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, path, bytes).with_context(|| format!("adding {path}"))
    };
    for folder in folders {
        append(folder, tar::EntryType::Directory, 0o755, &[])?;
    }
    for (path, file) in entries {
        append(path, tar::EntryType::Regular, file.mode, &file.bytes)?;
    }
    tar.into_inner().context("ending the archive")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn archive() -> Archive {
        let file = |path: &str, mode| File { path: path.to_owned(), bytes: path.as_bytes().to_vec(), mode };
        Archive {
            name: "localhost/cellmesh/x:1".to_owned(),
            entrypoint: "/usr/bin/x".to_owned(),
            user: "65532:65532",
            labels: vec![("b", "2".to_owned()), ("a", "1".to_owned())],
            files: vec![file("usr/share/y", 0o644), file("usr/bin/x", 0o755)],
        }
    }

    fn entries(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().expect("a tar").map(|entry| {
            let mut entry = entry.expect("an entry");
            assert_eq!((entry.header().mtime().expect("a time"), entry.header().uid().expect("a user")), (0, 0));
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("its bytes");
            (entry.path().expect("a path").to_string_lossy().into_owned(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn an_archive_holds_what_its_index_says_and_is_the_same_each_time() {
        let bytes = archive().bytes().expect("an archive");
        assert_eq!(bytes, archive().bytes().expect("an archive"));
        let files = entries(&bytes);
        let read = |path: &str| -> Value { serde_json::from_slice(&files[path]).expect("JSON") };
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().expect("a digest");
            let bytes = &files[&format!("blobs/{}", digest.replace(':', "/"))];
            assert_eq!(descriptor["size"], bytes.len());
            assert_eq!(digest, Blob::new("", bytes.clone()).digest());
            bytes.clone()
        };
        let index = read("index.json");
        let described = &index["manifests"][0];
        assert_eq!(described["annotations"]["io.containerd.image.name"], "localhost/cellmesh/x:1");
        let manifest: Value = serde_json::from_slice(&blob(described)).expect("JSON");
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).expect("JSON");
        assert_eq!(config["config"]["User"], "65532:65532");
        let layer = blob(&manifest["layers"][0]);
        assert_eq!(config["rootfs"]["diff_ids"][0], Blob::new("", layer.clone()).digest());
        let files: Vec<String> = entries(&layer).into_keys().collect();
        assert_eq!(files, ["usr/", "usr/bin/", "usr/bin/x", "usr/share/", "usr/share/y"]);
        assert_eq!(read("manifest.json")[0]["RepoTags"][0], "localhost/cellmesh/x:1");
    }
}
