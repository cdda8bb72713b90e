//! What enters the link at one end leaves at the other one delay later, and nothing else about it changes.

use cellctl::link::{Link, Route};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

const RTT: Duration = Duration::from_millis(30);
/// What a busy machine may add to a round trip.
const SLACK: Duration = Duration::from_millis(60);
/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(20);

/// A link to a listener of the test's own; it is cut when the guard is dropped.
async fn link() -> (SocketAddr, TcpListener, DropGuard) {
    let far = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (near, guard) = link_to(far.local_addr().expect("bound")).await;
    (near, far, guard)
}

async fn link_to(target: SocketAddr) -> (SocketAddr, DropGuard) {
    let route = Route { listen: "127.0.0.1:0".parse().expect("an address"), target };
    let link = Link::bind(&[route], RTT).await.expect("a port");
    let near = link.routes()[0].listen;
    let shutdown = CancellationToken::new();
    tokio::spawn(link.run(shutdown.clone()));
    (near, shutdown.drop_guard())
}

/// Both ends of one connection, after its handshake.
async fn connection(near: SocketAddr, far: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(near).await.expect("the link listens");
    let (server, _) = timeout(LIMIT, far.accept()).await.expect("the link connects").expect("a connection");
    client.set_nodelay(true).expect("an open socket");
    server.set_nodelay(true).expect("an open socket");
    sleep(RTT).await;
    (client, server)
}

#[tokio::test]
async fn a_round_trip_takes_the_links_time_and_hardly_more() {
    let (near, far, _guard) = link().await;
    let (mut client, mut server) = connection(near, &far).await;
    tokio::spawn(async move {
        let mut byte = [0];
        while server.read_exact(&mut byte).await.is_ok() {
            server.write_all(&byte).await.expect("the client reads");
        }
    });
    let mut fastest = Duration::MAX;
    for turn in 0..20 {
        let started = Instant::now();
        client.write_all(&[turn]).await.expect("the link carries");
        let mut echoed = [0];
        timeout(LIMIT, client.read_exact(&mut echoed)).await.expect("in time").expect("an echo");
        assert_eq!(echoed, [turn]);
        let took = started.elapsed();
        assert!(took >= RTT, "no echo can be back after {took:?}");
        fastest = fastest.min(took);
    }
    assert!(fastest < RTT + SLACK, "the fastest of 20 round trips took {fastest:?}");
}

#[tokio::test]
async fn a_first_call_pays_for_the_handshake_too() {
    let (near, far, _guard) = link().await;
    let started = Instant::now();
    let mut client = TcpStream::connect(near).await.expect("the link listens");
    client.write_all(b"?").await.expect("the link carries");
    let (mut server, _) = far.accept().await.expect("a connection");
    let accepted = started.elapsed();
    assert!(accepted >= RTT / 2, "the far side saw the connection after {accepted:?}");
    server.read_exact(&mut [0]).await.expect("a byte");
    let took = started.elapsed();
    assert!(took >= RTT + RTT / 2, "handshake and one way took only {took:?}");
}

#[tokio::test]
async fn delay_does_not_limit_how_much_is_under_way() {
    const BYTES: usize = 64 << 20;
    let (near, far, _guard) = link().await;
    let (mut client, mut server) = connection(near, &far).await;
    let started = Instant::now();
    let writer = tokio::spawn(async move {
        let block: Vec<u8> = (0..1 << 16).map(|i| (i % 251) as u8).collect();
        for _ in 0..BYTES / block.len() {
            client.write_all(&block).await.expect("the link carries");
        }
        client
    });
    let mut seen = vec![0; BYTES];
    timeout(LIMIT, server.read_exact(&mut seen)).await.expect("in time").expect("all bytes");
    let expected = seen.iter().enumerate().all(|(i, byte)| *byte == ((i % (1 << 16)) % 251) as u8);
    assert!(expected, "bytes changed or changed places");
    // Waiting for an answer after each 64 KiB would take 30 s.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?} for {BYTES} bytes", started.elapsed());
    drop(writer.await.expect("no panic"));
}

#[tokio::test]
async fn a_closed_half_leaves_the_other_half_open() {
    let (near, far, _guard) = link().await;
    let (mut client, mut server) = connection(near, &far).await;
    client.write_all(b"question").await.expect("the link carries");
    client.shutdown().await.expect("an open socket");
    let mut question = String::new();
    timeout(LIMIT, server.read_to_string(&mut question)).await.expect("the end arrives").expect("text");
    assert_eq!(question, "question");
    server.write_all(b"answer").await.expect("this half is open");
    drop(server);
    let mut answer = String::new();
    timeout(LIMIT, client.read_to_string(&mut answer)).await.expect("the end arrives").expect("text");
    assert_eq!(answer, "answer");
}

#[tokio::test]
async fn a_reset_travels_through() {
    let (near, far, _guard) = link().await;
    let (mut client, server) = connection(near, &far).await;
    socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).expect("an open socket");
    drop(server);
    let error = timeout(LIMIT, client.read(&mut [0])).await.expect("in time").expect_err("a reset is no end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_connection_to_nobody_is_reset() {
    let free = TcpListener::bind("127.0.0.1:0").await.and_then(|socket| socket.local_addr()).expect("a port");
    let (near, _guard) = link_to(free).await;
    let mut client = TcpStream::connect(near).await.expect("the link listens");
    let error = timeout(LIMIT, client.read(&mut [0])).await.expect("in time").expect_err("a reset is no end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn many_connections_do_not_mix_or_wait_for_each_other() {
    const CONNECTIONS: usize = 200;
    let (near, far, _guard) = link().await;
    tokio::spawn(async move {
        while let Ok((mut server, _)) = far.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = server.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    let started = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|n| {
            tokio::spawn(async move {
                let mut client = TcpStream::connect(near).await.expect("the link listens");
                let said = format!("connection {n} ").repeat(1000);
                client.write_all(said.as_bytes()).await.expect("the link carries");
                client.shutdown().await.expect("an open socket");
                let mut heard = String::new();
                client.read_to_string(&mut heard).await.expect("an echo");
                assert!(heard == said, "connection {n} heard something else");
            })
        })
        .collect();
    for client in clients {
        timeout(LIMIT, client).await.expect("in time").expect("its own echo");
    }
    let one_after_the_other = RTT * u32::try_from(2 * CONNECTIONS).expect("a small number");
    assert!(started.elapsed() < one_after_the_other / 2, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_writer() {
    let (near, far, _guard) = link().await;
    let (mut client, _server) = connection(near, &far).await;
    let block = vec![0; 1 << 20];
    let mut written = 0;
    // 4 MiB in the link and what the kernel keeps at both ends; unbounded memory would take all 256 MiB.
    while written < 256 << 20 {
        match timeout(Duration::from_millis(500), client.write(&block)).await {
            Ok(length) => written += length.expect("the link is up"),
            Err(_) => break,
        }
    }
    assert!(written < 128 << 20, "{written} bytes were taken though nobody reads");
}

#[tokio::test]
async fn the_end_of_the_link_cuts_its_connections() {
    let (near, far, guard) = link().await;
    let (mut client, _server) = connection(near, &far).await;
    drop(guard);
    let read = timeout(LIMIT, client.read(&mut [0])).await.expect("the connection ends");
    assert!(matches!(read, Ok(0) | Err(_)));
    timeout(LIMIT, async {
        while TcpStream::connect(near).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the listener is closed");
}
