//! What can be seen of running processes from outside: their processor time and their metrics.

use anyhow::Context as _;
use std::{fs, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// User and system time of a process, all threads that still run, in nanoseconds.
///
/// # Errors
/// If there is no such process.
pub fn cpu_ns(pid: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let line = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        sum += line.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// A metric's value at an admin listener, summed over its label sets that contain `labels`.
///
/// # Errors
/// If nobody answers there.
pub async fn metric(admin: SocketAddr, name: &str, labels: &str) -> anyhow::Result<f64> {
    metric_where(admin, name, |line| line.contains(labels)).await
}

/// A metric's value at an admin listener, summed over the lines of its label sets that are chosen.
///
/// # Errors
/// If nobody answers there.
pub async fn metric_where(admin: SocketAddr, name: &str, chosen: impl Fn(&str) -> bool) -> anyhow::Result<f64> {
    let text = http_get(admin, "/metrics").await?.1;
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let matching = text.lines().filter(of_name).filter(|line| chosen(line));
    Ok(matching.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// A plain HTTP/1.1 GET: status and text.
///
/// # Errors
/// If nobody answers there.
pub async fn http_get(addr: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let mut socket = TcpStream::connect(addr).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    socket.read_to_string(&mut text).await?;
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no HTTP status")?;
    Ok((status, text))
}
