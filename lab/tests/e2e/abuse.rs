//! Line 7, second half: what one connection may do before it is cut off, and what it costs.

use crate::mesh::{Mesh, get_member, metric, register};
use std::{fs, net::SocketAddr};
use testkit::abuse::{Abuse, run};
use tonic::Code;

/// Peak resident memory of a process in KiB.
fn peak_kib(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    Ok(line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0))
}

async fn attack(listener: &str, addr: SocketAddr, pid: u32) -> anyhow::Result<()> {
    let before = peak_kib(pid)?;
    let open = run(addr, Abuse::Open, 5000).await?;
    assert!(
        open.cut_off() || open.resets >= 4800,
        "{listener}: of 5,000 streams all but the limit are refused, or the connection ends: {open:?}"
    );
    let path = "/shop.member.v1.MemberService/GetMember";
    for abuse in [
        Abuse::Malformed,
        Abuse::ZeroWindowUpdate,
        Abuse::RapidReset,
        // Broken protobuf, a broken frame, text that only the service reads, a body broken off.
        Abuse::Body { path, body: &[0, 0, 0, 0, 3, 0xff, 0xff, 0xff] },
        Abuse::Body { path, body: &[7, 0, 0, 0, 0] },
        Abuse::Body { path: "/shop.catalog.v1.CatalogService/GetProduct", body: &[0, 0, 0, 0, 4, 0x0a, 2, 0xff, 0xfe] },
        Abuse::BrokenOff { path },
    ] {
        let outcome = run(addr, abuse, 20_000).await?;
        assert!(outcome.cut_off(), "{listener}: {abuse:?} is cut off: {outcome:?}");
        println!("figure: abuse {listener} {abuse:?} cut off after N={}", outcome.sent);
    }
    for abuse in [Abuse::EmptyData, Abuse::Ping, Abuse::Settings] {
        let outcome = run(addr, abuse, 20_000).await?;
        println!("figure: abuse {listener} {abuse:?} N={} cut_off={}", outcome.sent, outcome.cut_off());
    }
    let grown = peak_kib(pid)?.saturating_sub(before);
    println!("figure: abuse {listener} peak memory grew by N={grown} KiB");
    assert!(grown < 64 << 10, "{listener}: memory grew by {grown} KiB");
    Ok(())
}

#[tokio::test]
async fn an_abusive_connection_is_cut_off_and_memory_stays_bounded() -> anyhow::Result<()> {
    let mut mesh = Mesh::start().await?;
    let door = mesh.bj().front;
    let user = register(door).await?;
    let router = mesh.bj().router_pid().expect("runs");
    attack("router", door, router).await?;
    let services = mesh.bj().services_pid().expect("runs");
    attack("service", mesh.bj().services_front, services).await?;
    let answer = get_member(door, &user, &[]).await?;
    assert_eq!(answer.code(), Some(Code::Ok), "others are still served");

    // Requests without `:authority` are served, and cost nobody a connection.
    let admin = mesh.bj().admin;
    let failed = async || metric(admin, "cellmesh_router_calls_total", "UNAVAILABLE").await;
    let before = failed().await?;
    let bare = run(door, Abuse::NoAuthority, 80).await?;
    assert_eq!((bare.sent, bare.resets, bare.cut_off()), (80, 0, false), "{bare:?}");
    assert_eq!(failed().await?, before, "each was served");
    mesh.shutdown().await
}

#[tokio::test]
async fn many_connections_with_large_half_sent_messages_stay_within_the_budget() -> anyhow::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let mut mesh = Mesh::start().await?;
    let door = mesh.bj().front;
    let pid = mesh.bj().router_pid().expect("runs");
    let user = register(door).await?;
    let before = peak_kib(pid)?;
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut socket = tokio::net::TcpStream::connect(door).await?;
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        held.push(socket);
    }
    let answer = get_member(door, &user, &[]).await?;
    assert_eq!(answer.code(), Some(Code::Ok));
    let grown = peak_kib(pid)?.saturating_sub(before);
    assert!(grown < 64 << 10, "memory grew by {grown} KiB");
    drop(held);
    mesh.shutdown().await
}
