//! A TCP byte proxy that makes the way between two cells long: what enters at one end leaves at the other one delay later,
//! in order, and nothing else about it changes. Whatever protocol the cells speak crosses it without knowing.

mod pump;

use anyhow::Context as _;
use pump::{Reset, pump};
use socket2::SockRef;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Connections carried at once; more wait in the listener's backlog. With [`pump::CAPACITY`] this bounds the memory.
const MAX_CONNECTIONS: usize = 1024;
/// Longest wait for the target to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Where one end of the link listens, and what is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address to connect to.
    pub target: SocketAddr,
}

/// A link with its listeners bound; it carries nothing before [`Link::run`].
#[derive(Debug)]
pub struct Link {
    ends: Vec<(TcpListener, Route)>,
    one_way: Duration,
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (listen, target) = text
            .split_once('=')
            .ok_or_else(|| format!("route '{text}' is not LISTEN=TARGET, like 127.0.0.1:7016=127.0.0.1:7012"))?;
        let address = |part: &str| part.parse().map_err(|_| format!("'{part}' in route '{text}' is not IP:PORT"));
        Ok(Self { listen: address(listen)?, target: address(target)? })
    }
}

impl Link {
    /// Binds all listening addresses. `rtt` is the round trip: half of it is added each way.
    ///
    /// # Errors
    /// If an address cannot be bound; the error names it.
    pub async fn bind(routes: &[Route], rtt: Duration) -> anyhow::Result<Self> {
        let mut ends = Vec::with_capacity(routes.len());
        for route in routes {
            let listener = TcpListener::bind(route.listen)
                .await
                .with_context(|| format!("the link cannot listen on {}", route.listen))?;
            let listen = listener.local_addr()?;
            ends.push((listener, Route { listen, target: route.target }));
        }
        Ok(Self { ends, one_way: rtt / 2 })
    }

    /// The routes with the addresses that were bound.
    pub fn routes(&self) -> Vec<Route> {
        self.ends.iter().map(|(_, route)| *route).collect()
    }

    /// Carries connections until `shutdown`, which cuts them.
    pub async fn run(self, shutdown: CancellationToken) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut ends = JoinSet::new();
        for (listener, route) in self.ends {
            ends.spawn(serve(listener, route.target, self.one_way, Arc::clone(&room)));
        }
        shutdown.cancelled().await;
        ends.shutdown().await;
    }
}

/// Accepts for ever; dropping the future cuts all its connections.
async fn serve(listener: TcpListener, target: SocketAddr, one_way: Duration, room: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((near, _)) => {
                connections.spawn(async move {
                    carry(near, target, one_way).await;
                    drop(permit);
                });
            }
            // Out of file descriptors, or the caller left already: neither is a reason to give up the others.
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Carries one connection to its end. Its handshake takes the way's time, too: the far side sees it after one delay, and
/// what the near side wrote before two delays had passed travels as if written then.
async fn carry(mut near: TcpStream, target: SocketAddr, one_way: Duration) {
    let opened = Instant::now();
    let established = opened + 2 * one_way;
    sleep_until(opened + one_way).await;
    let Ok(Ok(mut far)) = timeout(CONNECT_LIMIT, TcpStream::connect(target)).await else {
        sleep_until(established).await;
        reset(&near);
        return;
    };
    if near.set_nodelay(true).is_err() || far.set_nodelay(true).is_err() {
        return;
    }
    let result = {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        tokio::try_join!(
            pump(near_read, far_write, one_way, established),
            pump(far_read, near_write, one_way, Instant::now())
        )
    };
    if let Err(Reset) = result {
        reset(&near);
        reset(&far);
    }
}

/// Makes the coming close send RST in place of FIN.
fn reset(stream: &TcpStream) {
    // Fails only on a socket that is gone, which needs no reset any more.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
