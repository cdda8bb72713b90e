//! Line 4: `kill -9` of a cell's processes under load, clients repeating until they know; then the checker reads the databases.
//!
//! A kill counts as «between BEGIN and reply» only if the process held SQLite's write lock when it died: it is stopped, the
//! kernel's list of locks is read, and only then is it killed. (Kills after COMMIT and before the reply happen too and are
//! not counted.)

use crate::mesh::{Mesh, PLACE_ORDER, order_of, products, register, scale, top_up};
use lab::checker::{History, check};
use shop_proto::trade_v1 as trade;
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use testkit::call::{Answer, Caller};
use tokio::task::JoinSet;
use tonic::Code;

/// Byte of the `-shm` file that SQLite's WAL writers lock (`WAL_WRITE_LOCK`, walformat: the first of the lock bytes at 120).
const WAL_WRITE_LOCK: u64 = 120;

/// Whether the process holds the write lock of the database.
fn is_writing(pid: u32, db: &Path) -> bool {
    let Ok(shm) = fs::metadata(db.with_extension("db-shm")) else { return false };
    let inode = shm.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    locks.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "POSIX", _, "WRITE", holder, file, from, to] = fields[..] else { return false };
        let covers = |from: &str, to: &str| {
            let to = to.parse().unwrap_or(u64::MAX);
            from.parse::<u64>().is_ok_and(|from| from <= WAL_WRITE_LOCK && WAL_WRITE_LOCK <= to)
        };
        holder.parse() == Ok(pid) && file.rsplit(':').next() == Some(&*inode) && covers(from, to)
    })
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status()?.success(),
        "kill -{name} {pid}"
    );
    Ok(())
}

/// Stops the process in the middle of a transaction if it is met in one within a second. It stays stopped only then.
async fn stop_in_transaction(pid: u32, db: &Path) -> anyhow::Result<bool> {
    for _ in 0..150 {
        signal(pid, "STOP")?;
        if is_writing(pid, db) {
            return Ok(true);
        }
        signal(pid, "CONT")?;
        tokio::time::sleep(Duration::from_micros(3500)).await;
    }
    Ok(false)
}

/// A client's connection to a door, made anew when it broke.
struct Door {
    addr: SocketAddr,
    caller: Option<Caller>,
}

impl Door {
    /// Repeats a call until its outcome is known.
    async fn until_known<M: prost::Message>(&mut self, path: &str, message: &M, calls: &AtomicU64) -> Answer {
        loop {
            calls.fetch_add(1, Ordering::Relaxed);
            if self.caller.is_none() {
                self.caller = Caller::connect(self.addr).await.ok();
            }
            if let Some(caller) = &mut self.caller {
                let call = caller.message(path, message, &[("grpc-timeout", "3S")]);
                match tokio::time::timeout(Duration::from_secs(5), call).await {
                    Ok(Ok(answer)) if answer.code() == Some(Code::Ok) => return answer,
                    Ok(Ok(answer)) => {
                        // Only the transaction's own refusals are outcomes; all else may or may not have happened.
                        let reason = answer.error_info().map(|info| info.reason).unwrap_or_default();
                        if ["SOLD_OUT_HERE", "INSUFFICIENT_FUNDS"].contains(&&*reason) {
                            return answer;
                        }
                        let known =
                            [Code::Unavailable, Code::Aborted, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown];
                        let expected = answer.code().is_some_and(|code| known.contains(&code));
                        assert!(
                            expected || reason == "INTERNAL",
                            "a kill must not look like this: {:?}",
                            answer.status()
                        );
                    }
                    Ok(Err(_)) | Err(_) => self.caller = None,
                }
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_by_kills_under_load() -> anyhow::Result<()> {
    let kills = scale(30, 200);
    let mut mesh = Mesh::start().await?;
    let doors = [mesh.bj().front, mesh.sh().front];
    let skus: Arc<Vec<String>> = Arc::new(products(doors[0]).await?.into_iter().take(5).map(|p| p.sku).collect());
    let history = Arc::new(Mutex::new(History::default()));
    let mut users = Vec::new();
    for n in 0..16 {
        let user = register(doors[n % 2]).await?;
        let answer = top_up(&mut Caller::connect(doors[n % 2]).await?, &user, "start", 50_000_000).await?;
        assert_eq!(answer.code(), Some(Code::Ok), "{answer:?}");
        history.lock().expect("no panic").topped_up.insert(user.clone(), 50_000_000);
        users.push(user);
    }

    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for task in 0..12usize {
        let (users, skus, history, stop, calls) =
            (users.clone(), skus.clone(), history.clone(), stop.clone(), calls.clone());
        clients.spawn(async move {
            let mut at = doors.map(|addr| Door { addr, caller: None });
            let mut n = 0usize;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let user = &users[(task * 7 + n) % users.len()];
                let request = format!("r-{task}-{n}");
                let door = &mut at[(n / 3) % 2];
                if n % 10 == 9 {
                    let amount = Some(trade::Money { currency_code: "CNY".to_owned(), minor_units: 100 });
                    let message = trade::TopUpRequest { user_id: user.clone(), request_id: request, amount };
                    door.until_known(crate::mesh::TOP_UP, &message, &calls).await.message::<trade::TopUpResponse>()?;
                    *history.lock().expect("no panic").topped_up.entry(user.clone()).or_default() += 100;
                    continue;
                }
                let order = order_of(user, &request, &skus[n % skus.len()]);
                let answer = door.until_known(PLACE_ORDER, &order, &calls).await;
                if answer.code() == Some(Code::Ok) {
                    let order = answer.message::<trade::PlaceOrderResponse>()?.order.expect("an order");
                    history.lock().expect("no panic").placed.insert((user.clone(), request), order.order_id);
                }
            }
            anyhow::Ok(())
        });
    }

    let mut in_transaction = 0;
    for n in 0..kills {
        tokio::time::sleep(Duration::from_millis(u64::from(n * 37 % 120))).await;
        let cell = &mut mesh.cells[n as usize % 2];
        // Two in three: the services, in the middle of a transaction. Else the router, or both at any moment.
        match n % 6 {
            4 => cell.kill9_router().await?,
            5 => {
                cell.kill9_services().await?;
                cell.kill9_router().await?;
                cell.start_services().await?;
            }
            _ => {
                let pid = cell.services_pid().expect("runs");
                if stop_in_transaction(pid, &cell.db_path).await? {
                    in_transaction += 1;
                }
                cell.kill9_services().await?;
                cell.start_services().await?;
                continue;
            }
        }
        cell.start_router().await?;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = clients.join_next().await {
        done??;
    }
    // Events are delivered after their orders.
    tokio::time::sleep(Duration::from_secs(2)).await;
    mesh.shutdown().await?;

    let history = history.lock().expect("no panic").clone();
    let databases: Vec<_> = mesh.cells.iter().map(|cell| cell.db_path.clone()).collect();
    let paths: Vec<&Path> = databases.iter().map(|p| &**p).collect();
    let verdict = check(&paths, &history).await?;
    println!(
        "figure: kills N={kills}, {in_transaction} of them between BEGIN and reply; {} calls, {} orders acknowledged, {:?}",
        calls.load(Ordering::Relaxed),
        history.placed.len(),
        verdict.counts
    );
    assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    assert!(in_transaction * 10 >= kills * 3, "only {in_transaction} of {kills} kills met a transaction");
    assert!(history.placed.len() as u32 > kills * 5, "the load was real");
    Ok(())
}
