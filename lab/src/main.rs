//! The lab: figures measured on the real components, before and after or side by side, in one run.

use clap::{Parser, Subcommand};
use lab::{guide, peers, place_order, rows, sdk, shoppers};
use std::{fs, net::SocketAddr, path::PathBuf};

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
    /// Shoppers who call through the client SDK while something else happens to the mesh; what failed, and the longest pause.
    Shoppers(shoppers::Args),
    /// (part of `cargo xtask kube-test`) A map of the same history in which every bucket is one cell's.
    #[command(hide = true)]
    OldMap { map: PathBuf, out: PathBuf, cell: String },
    /// (part of `cargo xtask kube-test`) A certificate for a name, its own authority, and its key.
    #[command(hide = true)]
    Certificate { name: String, cert: PathBuf, key: PathBuf },
    /// What the client SDK costs and spares.
    Sdk(sdk::Args),
    /// Lists the guide's rows that can be measured; `cargo lab ROW` measures one.
    Rows,
    /// Prints docs/GUIDE.md as the stored results would have it.
    Guide {
        /// Writes it instead.
        #[arg(long)]
        write: bool,
    },
    /// A row of the guide by its number, like `2.6 --rounds 5`.
    #[command(external_subcommand)]
    Row(Vec<String>),
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
        What::Sdk(args) => sdk::run(&args).await,
        What::Rows => {
            rows::list();
            Ok(())
        }
        What::Guide { write } => guide::run(write),
        What::Row(words) => rows::run(&words).await,
        What::Shoppers(args) => shoppers::run(args).await,
        What::OldMap { map, out, cell } => peers::map::write_with_all_buckets_at(&map, &out, &cell),
        What::Certificate { name, cert, key } => {
            let made = rcgen::generate_simple_self_signed([name])?;
            fs::write(cert, made.cert.pem())?;
            Ok(fs::write(key, made.signing_key.serialize_pem())?)
        }
        What::Backend { listen } => peers::backend::run(listen).await,
        What::Plain { listen, upstream } => peers::plain::run(listen, upstream).await,
        What::Load(load) => {
            println!("{}", serde_json::to_string(&peers::load::run(load).await?)?);
            Ok(())
        }
    }
}
