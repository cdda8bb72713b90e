//! Waiting until processes are ready.

use super::LOOK;
use super::process::{Process, Ready};
use anyhow::Context as _;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Waits until all are ready. An error names the first one that ended, or after `limit` one that is not ready and why.
pub(super) async fn wait<'a>(
    processes: impl IntoIterator<Item = &'a mut Process>,
    limit: Duration,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut waiting: Vec<&mut Process> = processes.into_iter().collect();
    loop {
        let mut unready = Vec::new();
        let mut reason = String::new();
        for process in waiting {
            process.check()?;
            match look(process.ready()).await {
                Ok(()) => {}
                Err(error) => {
                    if unready.is_empty() {
                        reason = format!("{error:#}");
                    }
                    unready.push(process);
                }
            }
        }
        let Some(first) = unready.first() else { return Ok(()) };
        if started.elapsed() > limit {
            let what = format!("is not ready after {} ms: {reason}", limit.as_millis());
            return Err(first.failure(&what));
        }
        waiting = unready;
        sleep(LOOK).await;
    }
}

async fn look(ready: Ready) -> anyhow::Result<()> {
    match ready {
        Ready::Accepts(address) => {
            TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
            Ok(())
        }
        Ready::Admin(address) => {
            let (status, body) = timeout(ANSWER_LIMIT, get(address, "/readyz"))
                .await
                .with_context(|| format!("no answer from http://{address}/readyz"))??;
            if status != StatusCode::OK {
                anyhow::bail!("http://{address}/readyz answers {status}: {}", body.trim());
            }
            Ok(())
        }
    }
}

/// One HTTP/1.1 request.
async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let socket = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    let (mut sender, connection) = handshake(TokioIo::new(socket)).await?;
    let request = Request::get(path).header(header::HOST, address.to_string()).body(Empty::<bytes::Bytes>::new())?;
    // Dropping the sender at the end of the exchange closes the connection.
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let (result, _) = tokio::join!(exchange, async {
        // The exchange reports what becomes of the connection.
        let _ = connection.await;
    });
    result
}
