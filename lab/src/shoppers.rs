//! Shoppers who call through the client SDK while something else happens to the mesh: pods are deleted, images change, a cell
//! is gone. Says what failed and how long the longest call took, and whether the wallets hold what was paid in.

use anyhow::{Context as _, ensure};
use client_sdk::{Error, Mesh};
use serde_json::json;
use shop_client::{catalog::CatalogServiceClient, member::MemberServiceClient, trade::TradeServiceClient};
use shop_proto::{catalog_v1 as catalog, member_v1 as member, trade_v1 as trade};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::{sleep, timeout},
};

/// What a buyer begins with, in minor units: enough for any run.
const PURSE: i64 = 100_000_000;
/// One payment of a saver.
const PAYMENT: i64 = 7;

/// Options.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Front doors of routers, `HOST:PORT`; behind each stands a client of its own.
    #[arg(long, required = true, value_delimiter = ',')]
    doors: Vec<String>,
    /// At least so many calls in all.
    #[arg(long, default_value_t = 10_000)]
    calls: usize,
    /// Shoppers of each door; each makes one call at a time.
    #[arg(long, default_value_t = 8)]
    shoppers: usize,
    /// Pause of a shopper between two calls, in milliseconds.
    #[arg(long, default_value_t = 20)]
    pace_ms: u64,
    /// Go on until SIGTERM, too: whoever starts them says when all has happened.
    #[arg(long)]
    until_told: bool,
    /// Deadline of each call, in milliseconds.
    #[arg(long, default_value_t = 15_000)]
    deadline_ms: u64,
}

struct Door {
    mesh: Mesh,
    deadline: Duration,
}

/// Somebody with two wallets: he saves in one and spends of the other.
struct Shopper {
    door: Arc<Door>,
    saver: String,
    buyer: String,
    saved: AtomicI64,
}

#[derive(Default)]
struct Tally {
    begun: AtomicUsize,
    /// They may end.
    told: AtomicBool,
    took: Mutex<Vec<Duration>>,
    failed: Mutex<BTreeMap<String, usize>>,
}

/// Runs it and prints a line of JSON.
///
/// # Errors
/// If the shoppers cannot begin, a call failed, or a wallet does not hold what was paid in.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut shoppers = Vec::new();
    let mut product = None;
    for address in &args.doors {
        let mesh = Mesh::builder().seeds([address.clone()]).build()?;
        timeout(Duration::from_secs(30), mesh.ready()).await.with_context(|| format!("{address} is not ready"))??;
        let door = Arc::new(Door { mesh, deadline: Duration::from_millis(args.deadline_ms) });
        if product.is_none() {
            product = Some(door.product().await?);
        }
        for _ in 0..args.shoppers {
            let (saver, buyer) = (door.register().await?, door.register().await?);
            door.top_up(&buyer, "purse", PURSE).await?;
            shoppers.push(Arc::new(Shopper { door: Arc::clone(&door), saver, buyer, saved: AtomicI64::new(0) }));
        }
    }
    let product: Arc<str> = product.context("there is no door")?.into();
    eprintln!("{} shoppers begin", shoppers.len());
    let tally = Arc::new(Tally { told: AtomicBool::new(!args.until_told), ..Tally::default() });
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let listening = tokio::spawn({
        let tally = Arc::clone(&tally);
        async move {
            terminate.recv().await;
            tally.told.store(true, Relaxed);
        }
    });
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for shopper in &shoppers {
        tasks.spawn(shop(Arc::clone(shopper), Arc::clone(&product), Arc::clone(&tally), args.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    listening.abort();
    let seconds = started.elapsed().as_secs_f64();
    let mut wrong = 0;
    for shopper in &shoppers {
        wrong += usize::from(shopper.door.balance(&shopper.saver).await? != shopper.saved.load(Relaxed));
    }
    let mut took = std::mem::take(&mut *tally.took.lock().unwrap_or_else(PoisonError::into_inner));
    took.sort_unstable();
    let at = |part: f64| took.get((took.len() as f64 * part) as usize).or(took.last()).map_or(0.0, ms);
    let failed = tally.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let failures: usize = failed.values().sum();
    println!(
        "{}",
        json!({
            "calls": took.len(), "failed": failures, "why": failed, "seconds": seconds, "p50_ms": at(0.5), "p99_ms": at(0.99),
            "longest_ms": took.last().map_or(0.0, ms), "wrong_wallets": wrong,
        })
    );
    ensure!(failures == 0 && wrong == 0, "{failures} calls failed, {wrong} wallets are wrong");
    Ok(())
}

fn ms(duration: &Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

async fn shop(shopper: Arc<Shopper>, product: Arc<str>, tally: Arc<Tally>, args: Args) {
    loop {
        let number = tally.begun.fetch_add(1, Relaxed);
        if number >= args.calls && tally.told.load(Relaxed) {
            return;
        }
        let started = Instant::now();
        let done = shopper.call(number, &product).await;
        tally.took.lock().unwrap_or_else(PoisonError::into_inner).push(started.elapsed());
        if let Err(error) = done {
            let mut failed = tally.failed.lock().unwrap_or_else(PoisonError::into_inner);
            *failed.entry(error.to_string().chars().take(160).collect()).or_default() += 1;
        }
        sleep(Duration::from_millis(args.pace_ms)).await;
    }
}

impl Shopper {
    async fn call(&self, number: usize, product: &str) -> Result<(), Error> {
        let id = format!("call-{number}");
        match number % 5 {
            0 => self.door.get(&self.saver).await,
            1 => {
                self.door.top_up(&self.saver, &id, PAYMENT).await?;
                self.saved.fetch_add(PAYMENT, Relaxed);
                Ok(())
            }
            2 => self.door.balance(&self.buyer).await.map(drop),
            3 => self.door.order(&self.buyer, &id, product).await,
            _ => self.door.register().await.map(drop),
        }
    }
}

impl Door {
    async fn product(&self) -> anyhow::Result<String> {
        let list = catalog::ListProductsRequest { page_size: 100, page_token: String::new() };
        let products = CatalogServiceClient::new(&self.mesh).list_products(list).await?.value.products;
        Ok(products.first().context("there are no products")?.sku.clone())
    }

    async fn register(&self) -> Result<String, Error> {
        let request = member::RegisterRequest { request_id: String::new(), display_name: "shopper".to_owned() };
        let members = MemberServiceClient::new(&self.mesh);
        Ok(members.register(request).deadline(self.deadline).await?.value.user_id)
    }

    async fn get(&self, user_id: &str) -> Result<(), Error> {
        let request = member::GetMemberRequest { user_id: user_id.to_owned() };
        MemberServiceClient::new(&self.mesh).get_member(request).deadline(self.deadline).await.map(drop)
    }

    async fn top_up(&self, user_id: &str, request_id: &str, minor_units: i64) -> Result<(), Error> {
        let amount = Some(trade::Money { currency_code: "CNY".to_owned(), minor_units });
        let request = trade::TopUpRequest { user_id: user_id.to_owned(), request_id: request_id.to_owned(), amount };
        TradeServiceClient::new(&self.mesh).top_up(request).deadline(self.deadline).await.map(drop)
    }

    async fn balance(&self, user_id: &str) -> Result<i64, Error> {
        let request = trade::GetWalletRequest { user_id: user_id.to_owned() };
        let reply = TradeServiceClient::new(&self.mesh).get_wallet(request).deadline(self.deadline).await?;
        Ok(reply.value.wallet.and_then(|wallet| wallet.balance).map_or(0, |balance| balance.minor_units))
    }

    async fn order(&self, user_id: &str, request_id: &str, sku: &str) -> Result<(), Error> {
        let request = trade::PlaceOrderRequest {
            user_id: user_id.to_owned(),
            request_id: request_id.to_owned(),
            lines: vec![trade::OrderLine { sku: sku.to_owned(), quantity: 1 }],
            preview_token: String::new(),
            coupon_code: String::new(),
        };
        TradeServiceClient::new(&self.mesh).place_order(request).deadline(self.deadline).await.map(drop)
    }
}
