//! Counts the syncs of a process while something runs.

use super::installed;
use std::{fs, process::Command, time::Duration};

/// fsync and fdatasync calls of `pid` for each order that `work` places; `None` without strace.
pub async fn count(pid: u32, work: impl Future<Output = anyhow::Result<(usize, f64)>>) -> anyhow::Result<Option<f64>> {
    if !installed("strace") {
        work.await?;
        return Ok(None);
    }
    let log = tempfile::NamedTempFile::new()?;
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-o"])
        .arg(log.path())
        .args(["-p", &pid.to_string()])
        .spawn()?;
    tokio::time::sleep(Duration::from_millis(800)).await;
    let done = work.await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    // SIGINT makes strace detach; killing it would end nothing but itself either.
    Command::new("kill").args(["-INT", &strace.id().to_string()]).status()?;
    strace.wait()?;
    let (orders, _) = done?;
    let begun = fs::read_to_string(log.path())?.lines().filter(|l| l.contains("sync(")).count();
    Ok(Some(begun as f64 / orders as f64))
}
