//! A gRPC load in which every call has its own user, trace and deadline, as real callers' have: one header set repeated, as
//! common load tools send it, flatters header compression.

use anyhow::Context as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Instant};

/// Where the user's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Key {
    /// In the metadata `cellmesh-user`.
    Metadata,
    /// In field 1 of the message.
    Message,
}

/// What to send.
#[derive(Clone, Debug, clap::Args)]
pub struct Load {
    /// Whom to call.
    pub target: SocketAddr,
    /// Calls in all.
    #[arg(long, default_value_t = 200_000)]
    pub calls: usize,
    /// Connections.
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
    /// Calls at once on each connection.
    #[arg(long, default_value_t = 32)]
    pub streams: usize,
    /// Message size in bytes.
    #[arg(long, default_value_t = 100)]
    pub bytes: usize,
    /// Where the user's key is.
    #[arg(long, value_enum, default_value_t = Key::Metadata)]
    pub key: Key,
}

/// What came of it.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// Calls answered with status 0 and the whole echo.
    pub answered: usize,
    /// Calls that were not.
    pub failed: usize,
    /// Seconds from the first call to the last answer.
    pub seconds: f64,
}

/// One draw of xorshift64: cheap, and the same calls in every run.
fn draw(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A framed `Message{string user = 1; bytes padding = 2}` of `size` bytes.
fn message(user: &str, size: usize) -> Bytes {
    let padding = size.saturating_sub(user.len() + 4).min(16_000);
    let mut body = BytesMut::with_capacity(size + 8);
    body.put_u8(0x0a);
    body.put_u8(u8::try_from(user.len()).unwrap_or(u8::MAX));
    body.put_slice(user.as_bytes());
    body.put_u8(0x12);
    if padding < 128 {
        body.put_u8(padding as u8);
    } else {
        body.put_u8((padding & 0x7f) as u8 | 0x80);
        body.put_u8((padding >> 7) as u8);
    }
    body.put_bytes(b'x', padding);
    let mut framed = BytesMut::with_capacity(body.len() + 5);
    framed.put_u8(0);
    framed.put_u32(body.len() as u32);
    framed.put_slice(&body);
    framed.freeze()
}

/// One call; `None` unless the echo came back whole with status 0.
async fn call(sender: &mut h2::client::SendRequest<Bytes>, rng: &mut u64, load: &Load) -> Option<()> {
    let x = draw(rng);
    let user = format!("{}", (x >> 30) + 1);
    let path = match load.key {
        Key::Metadata => "/mesh.echo.v1.EchoService/Unary",
        Key::Message => "/mesh.echo.v1.EchoService/Keyed",
    };
    let mut request = http::Request::post(format!("http://127.0.0.1{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "cellmesh-lab/1")
        .header("grpc-timeout", "900m")
        .header("traceparent", format!("00-{x:016x}{:016x}-{:016x}-00", !x, x ^ 7));
    if load.key == Key::Metadata {
        request = request.header("cellmesh-user", &user);
    }
    let body = message(&user, load.bytes);
    let size = body.len();
    *sender = sender.clone().ready().await.ok()?;
    let (response, mut stream) = sender.send_request(request.body(()).ok()?, false).ok()?;
    stream.send_data(body, true).ok()?;
    let mut reply = response.await.ok()?.into_body();
    let mut got = 0;
    while let Some(data) = reply.data().await {
        let data = data.ok()?;
        got += data.len();
        reply.flow_control().release_capacity(data.len()).ok()?;
    }
    let trailers = reply.trailers().await.ok()??;
    (got == size && trailers.get("grpc-status")? == "0").then_some(())
}

/// Sends the load.
///
/// # Errors
/// If a connection cannot be made.
pub async fn run(load: Load) -> anyhow::Result<Report> {
    let left = Rc::new(Cell::new(load.calls));
    let failed = Rc::new(Cell::new(0));
    let local = tokio::task::LocalSet::new();
    let start = Instant::now();
    let mut callers = Vec::new();
    for connection in 0..load.connections {
        let socket = tokio::net::TcpStream::connect(load.target).await.with_context(|| format!("{}", load.target))?;
        socket.set_nodelay(true)?;
        let (sender, driver) = h2::client::Builder::new()
            .initial_max_send_streams(load.streams)
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 24)
            .handshake::<_, Bytes>(socket)
            .await?;
        local.spawn_local(driver);
        for stream in 0..load.streams {
            let (mut sender, left, failed, load) = (sender.clone(), left.clone(), failed.clone(), load.clone());
            callers.push(local.spawn_local(async move {
                let mut rng = (connection * 1000 + stream) as u64 * 0x9E37_79B9_7F4A_7C15 + 1;
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    if call(&mut sender, &mut rng, &load).await.is_none() {
                        failed.set(failed.get() + 1);
                    }
                }
            }));
        }
    }
    local
        .run_until(async {
            for caller in callers {
                // A caller that panicked is seen as calls that are missing.
                let _ = caller.await;
            }
        })
        .await;
    Ok(Report { answered: load.calls - failed.get(), failed: failed.get(), seconds: start.elapsed().as_secs_f64() })
}
