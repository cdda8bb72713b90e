//! `cargo xtask image`: container images of static binaries, without a daemon.

mod archive;

use crate::{
    build,
    workspace::{root, target_dir},
};
use anyhow::{Context as _, bail};
use archive::{Archive, File};
use clap::Args;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where images come from, as their names say. There is no registry yet; podman and containerd call local images so.
const REGISTRY: &str = "localhost/cellmesh";
/// The user that the programs run as: no name is needed for it, and nobody is it by chance.
const USER: &str = "65532:65532";
/// Where the router's image has the shop's protos.
const DESCRIPTOR_SET: &str = "usr/share/cellmesh/shop.binpb";

/// Options.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// How to build: `dist` (fat LTO) or `release` (faster to build)
    #[arg(long, default_value = "dist", value_parser = ["dist", "release"])]
    profile: String,
    /// Folder for the archives [default: `images` in the target folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Tag of the images
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
}

/// An image, named as its program is.
struct Image {
    program: &'static str,
    title: &'static str,
    /// Whether it holds the shop's protos.
    protos: bool,
}

const IMAGES: [Image; 3] = [
    Image { program: "cell-router", title: "Routes gRPC calls to the home cells of their users", protos: true },
    Image { program: "cell-services", title: "The services of a cell", protos: false },
    Image { program: "cellctl", title: "The operator's command line", protos: false },
];

/// `cargo xtask image`.
pub(crate) fn run(args: &ImageArgs) -> anyhow::Result<()> {
    let out = args.out.clone().map_or_else(|| Ok::<_, anyhow::Error>(target_dir()?.join("images")), Ok)?;
    let bin_dir = build::static_mesh(&args.profile, &[])?;
    for file in write(&bin_dir, &out, &args.tag)? {
        println!("{}", file.display());
    }
    println!("load them by `ctr -n k8s.io images import FILE`, `podman load -i FILE` or `docker load -i FILE`");
    Ok(())
}

/// Writes the archive of each image; returns the files.
pub(crate) fn write(bin_dir: &Path, out: &Path, tag: &str) -> anyhow::Result<Vec<PathBuf>> {
    let protos = protos(bin_dir)?;
    IMAGES
        .iter()
        .map(|image| {
            let mut files = vec![program(bin_dir, image.program)?];
            if image.protos {
                files.push(File { path: DESCRIPTOR_SET.to_owned(), bytes: protos.clone(), mode: 0o644 });
            }
            write_one(image.program, image.title, files, out, tag)
        })
        .collect()
}

/// The image of a static program that lies elsewhere.
pub(crate) fn write_program(path: &Path, title: &str, out: &Path, tag: &str) -> anyhow::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().context("the program lies in no folder")?;
    write_one(&name, title, vec![program(folder, &name)?], out, tag)
}

fn write_one(name: &str, title: &str, files: Vec<File>, out: &Path, tag: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let archive = Archive {
        name: format!("{REGISTRY}/{name}:{tag}"),
        entrypoint: format!("/usr/bin/{name}"),
        user: USER,
        labels: labels(name, title, tag),
        files,
    };
    let file = out.join(format!("{name}.tar"));
    let new = out.join(format!("{name}.tar.new"));
    fs::write(&new, archive.bytes()?).with_context(|| format!("writing {}", new.display()))?;
    fs::rename(&new, &file).with_context(|| format!("moving {}", file.display()))?;
    Ok(file)
}

fn labels(name: &str, title: &str, tag: &str) -> Vec<(&'static str, String)> {
    let mut labels = vec![
        ("org.opencontainers.image.title", name.to_owned()),
        ("org.opencontainers.image.description", title.to_owned()),
        ("org.opencontainers.image.version", tag.to_owned()),
        ("org.opencontainers.image.licenses", "Apache-2.0".to_owned()),
    ];
    if let Some(revision) = revision() {
        labels.push(("org.opencontainers.image.revision", revision));
    }
    labels
}

/// The commit that is built, where git knows it.
fn revision() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn program(bin_dir: &Path, name: &str) -> anyhow::Result<File> {
    let path = bin_dir.join(name);
    let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(File { path: format!("usr/bin/{name}"), bytes, mode: 0o755 })
}

/// What the services themselves say that their protos are.
fn protos(bin_dir: &Path) -> anyhow::Result<Vec<u8>> {
    let file = bin_dir.join("shop.binpb");
    let mut services = Command::new(bin_dir.join("cell-services"));
    let status = services.arg("--write-descriptor-set").arg(&file).status().context("running cell-services")?;
    if !status.success() {
        bail!("cell-services --write-descriptor-set ended with {status}");
    }
    fs::read(&file).with_context(|| format!("reading {}", file.display()))
}
