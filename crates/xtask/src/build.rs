//! Building binaries, and becoming one of them.

use crate::workspace::{cargo, target_dir};
use anyhow::bail;
use clap::Args;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

/// The packages whose binaries make up a mesh.
const MESH: [&str; 3] = ["cell-router", "cell-services", "cellctl"];

/// Arguments for the program that is run.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Builds the mesh with the profile `release`; returns the folder of the binaries.
pub(crate) fn mesh() -> anyhow::Result<PathBuf> {
    build("release", &MESH)
}

/// `cargo demo`.
pub(crate) fn demo(passed: &Passed) -> anyhow::Result<()> {
    let bin_dir = mesh()?;
    become_program(Command::new(bin_dir.join("cellctl")).arg("demo").args(&passed.args))
}

/// `cargo lab`.
pub(crate) fn lab(passed: &Passed) -> anyhow::Result<()> {
    let bin_dir = build("dist", &[&["lab"], &MESH[..]].concat())?;
    become_program(Command::new(bin_dir.join("lab")).args(&passed.args).env("CELLMESH_BIN_DIR", &bin_dir))
}

/// Builds the mesh, and more, as static programs that run in an empty image; returns their folder.
pub(crate) fn static_mesh(profile: &str, more: &[&str]) -> anyhow::Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let packages = [&MESH[..], more].concat();
    let mut command = cargo();
    // With a target of their own the flags are not used for what runs while building.
    command.args(["build", "--locked", "--bins", "--profile", profile, "--target", &target]);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    command.env("RUSTFLAGS", "-C target-feature=+crt-static");
    if !command.status()?.success() {
        bail!("building {} failed", packages.join(", "));
    }
    Ok(target_dir()?.join(target).join(profile))
}

fn build(profile: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--locked", "--bins", "--profile", profile]);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    if !command.status()?.success() {
        bail!("building {} failed", packages.join(", "));
    }
    Ok(target_dir()?.join(profile))
}

/// Replaces this process, so that signals for it reach the program; returns only if that fails.
fn become_program(command: &mut Command) -> anyhow::Result<()> {
    let error = command.exec();
    bail!("running {}: {error}", command.get_program().to_string_lossy())
}
