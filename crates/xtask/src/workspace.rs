//! Where things are.

use anyhow::{Context as _, ensure};
use cargo_metadata::{Metadata, MetadataCommand};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root folder.
pub(crate) fn root() -> &'static Path {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).expect("this crate lies in crates/ of the workspace")
}

/// A cargo command in the workspace's root, of the toolchain that runs this.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// What cargo knows of the workspace. `dependencies`: of the registry's crates, too.
pub(crate) fn metadata(dependencies: bool) -> anyhow::Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.current_dir(root());
    if dependencies {
        // For other platforms crates may be missing here that nothing of ours needs.
        command.other_options(["--filter-platform".to_owned(), "x86_64-unknown-linux-gnu".to_owned()]);
    } else {
        command.no_deps();
    }
    command.exec().context("asking cargo for the workspace's metadata")
}

/// Cargo's target folder.
pub(crate) fn target_dir() -> anyhow::Result<PathBuf> {
    Ok(metadata(false)?.target_directory.into_std_path_buf())
}

/// What a command prints; an error with what it says if it fails.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("running {name}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "{}\n{}", text(&output.stderr).trim(), text(&output.stdout).trim());
    Ok(text(&output.stdout))
}
