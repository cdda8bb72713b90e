//! A worker thread: a runtime of its own, its listeners, its connections.

use crate::{
    relay::Relay,
    tls::Tls,
    worker::{Common, Worker},
};
use mesh_layers::Listener;
use std::{
    io,
    net::TcpListener as StdListener,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Wait after the process ran out of descriptors, so that accepting does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a worker starts with.
pub(super) struct Start<R> {
    pub(super) number: usize,
    pub(super) common: Arc<Common>,
    pub(super) relay: R,
    pub(super) front: StdListener,
    pub(super) peer: StdListener,
    /// The front door with TLS.
    pub(super) door: Option<(StdListener, Arc<Tls>)>,
    pub(super) worlds: watch::Receiver<u64>,
    pub(super) drain: CancellationToken,
    pub(super) stop: CancellationToken,
}

/// A running worker.
#[derive(Debug)]
pub(super) struct Thread {
    ended: Option<oneshot::Receiver<()>>,
}

impl Thread {
    /// Waits until it has ended. Cancel-safe.
    pub(super) async fn ended(&mut self) {
        if let Some(ended) = &mut self.ended {
            // The sender is dropped at the thread's end, however it came.
            let _ = ended.await;
            self.ended = None;
        }
    }
}

/// Starts a thread.
pub(super) fn spawn<R: Relay>(start: Start<R>) -> io::Result<Thread> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (alive, ended) = oneshot::channel::<()>();
    thread::Builder::new().name(format!("worker-{}", start.number)).spawn(move || {
        let stop = start.stop.clone();
        runtime.block_on(stop.run_until_cancelled(run(start)));
        // What is left are connections that did not end in time, and ways to instances. Their tasks are dropped here.
        runtime.shutdown_timeout(Duration::from_millis(100));
        drop(alive);
    })?;
    Ok(Thread { ended: Some(ended) })
}

async fn run<R: Relay>(start: Start<R>) {
    let Start { common, relay, front, peer, door, mut worlds, drain, number, .. } = start;
    let worker = Arc::new(Worker::new(common, rand::random::<u64>() ^ number as u64));
    let connections = TaskTracker::new();
    let door = door.map(|(socket, tls)| (socket, Listener::Front, Some(tls)));
    let sockets = [(front, Listener::Front, None), (peer, Listener::Peer, None)].into_iter().chain(door);
    let accepting: Vec<_> = sockets
        .map(|(socket, listener, tls)| {
            let (worker, relay, drain) = (Arc::clone(&worker), relay.clone(), drain.clone());
            let connections = connections.clone();
            tokio::spawn(async move {
                match TcpListener::from_std(socket) {
                    Ok(socket) => accept(&worker, &relay, &socket, listener, tls, &drain, &connections).await,
                    Err(error) => tracing::error!(%error, listener = listener.as_str(), "cannot accept connections"),
                }
            })
        })
        .collect();
    let following = async {
        loop {
            worker.follow(worker.brain().worlds.load().as_deref());
            if worlds.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let ended = async {
        for task in accepting {
            // It ends when draining begins.
            let _ = task.await;
        }
        connections.close();
        connections.wait().await;
    };
    tokio::select! {
        () = following => {}
        () = ended => {}
    }
}

async fn accept<R: Relay>(
    worker: &Arc<Worker>,
    relay: &R,
    socket: &TcpListener,
    listener: Listener,
    tls: Option<Arc<Tls>>,
    drain: &CancellationToken,
    connections: &TaskTracker,
) {
    let events = &worker.brain().events;
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, listener = listener.as_str(), "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Each listener has its own count: a crowd at the front must not shut the other cells out.
        let open = &events.connections[listener as usize];
        if open.fetch_add(1, Relaxed) >= worker.common.limits.connections {
            open.fetch_sub(1, Relaxed);
            events.connections_refused.fetch_add(1, Relaxed);
            continue;
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the caller left at once");
        }
        let (worker, relay, drain, tls) = (Arc::clone(worker), relay.clone(), drain.clone(), tls.clone());
        connections.spawn(async move {
            let _open = Open(&worker, listener);
            match tls {
                None => relay.serve(Arc::clone(&worker), stream, listener, drain).await,
                Some(tls) => match shake_hands(&worker, &tls, stream).await {
                    Ok(stream) => relay.serve(Arc::clone(&worker), stream, listener, drain).await,
                    Err(error) => {
                        worker.brain().events.handshakes_failed.fetch_add(1, Relaxed);
                        tracing::debug!(%error, "a TLS handshake failed");
                    }
                },
            }
        });
    }
}

async fn shake_hands(worker: &Worker, tls: &Tls, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let limit = Duration::from_millis(worker.common.limits.handshake_ms);
    timeout(limit, tls.accept(stream)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Counts a connection until dropped.
struct Open<'w>(&'w Worker, Listener);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.brain().events.connections[self.1 as usize].fetch_sub(1, Relaxed);
    }
}
