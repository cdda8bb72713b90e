//! The lab: figures measured on the real components, before and after or side by side, in one run.

use clap::{Parser, Subcommand};
use lab::{peers, place_order};
use std::net::SocketAddr;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures cellmesh and its peers.
#[derive(Parser)]
#[command(name = "lab", version)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CPU cost of a call through the router, Envoy, HAProxy and the plainest hyper proxy.
    Peers(peers::Args),
    /// PlaceOrder beside the same statements in a bare sqlx loop.
    PlaceOrder(place_order::Args),
    /// (part of `peers`) The echo behind the proxies.
    #[command(hide = true)]
    Backend { listen: SocketAddr },
    /// (part of `peers`) The plainest hyper proxy.
    #[command(hide = true)]
    Plain { listen: SocketAddr, upstream: SocketAddr },
    /// (part of `peers`) The load.
    #[command(hide = true)]
    Load(peers::load::Load),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match Args::parse().what {
        What::Peers(args) => peers::run(&args).await,
        What::PlaceOrder(args) => place_order::run(&args).await,
        What::Backend { listen } => peers::backend::run(listen).await,
        What::Plain { listen, upstream } => peers::plain::run(listen, upstream).await,
        What::Load(load) => {
            println!("{}", serde_json::to_string(&peers::load::run(load).await?)?);
            Ok(())
        }
    }
}
