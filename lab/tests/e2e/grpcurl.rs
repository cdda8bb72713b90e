//! The plain `grpcurl` that a newcomer uses.

use anyhow::Context as _;
use std::{net::SocketAddr, path::PathBuf};
use tokio::process::Command;

fn binary() -> PathBuf {
    let cached = std::env::var("HOME").map(|home| PathBuf::from(home).join(".cache/cellmesh/bin/grpcurl"));
    cached.ok().filter(|path| path.exists()).unwrap_or_else(|| "grpcurl".into())
}

/// Output of `grpcurl -plaintext ARGS`; an error holds its standard error.
pub async fn run(before: &[&str], addr: SocketAddr, after: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(binary())
        .arg("-plaintext")
        .args(before)
        .arg(addr.to_string())
        .args(after)
        .output()
        .await
        .context("grpcurl is not installed: `cargo xtask test` installs it")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
