//! Line 4, the other way round: the checker must see planted bugs. A small driver places orders with trade's own
//! transaction in an honest way and in three dishonest ones, dying here and there.

use lab::checker::{Verdict, check};
use std::path::{Path, PathBuf};

mod driver;

use driver::{Bug, Driver};

async fn verdict_of(bug: Option<Bug>) -> anyhow::Result<Verdict> {
    let dir = tempfile::tempdir()?;
    let driver = Driver::start(dir.path()).await?;
    let history = driver.place_orders(bug).await?;
    let databases = driver.close().await;
    let paths: Vec<&Path> = databases.iter().map(|p: &PathBuf| &**p).collect();
    check(&paths, &history).await
}

#[tokio::test]
async fn the_honest_driver_passes() -> anyhow::Result<()> {
    let verdict = verdict_of(None).await?;
    assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    assert!(verdict.counts.orders > 0);
    Ok(())
}

#[tokio::test]
async fn each_planted_bug_is_caught() -> anyhow::Result<()> {
    for (bug, told) in [
        (Bug::NoFence, "not at home"),
        (Bug::NoIdempotency, "doubled"),
        (Bug::OutboxOutside, "without exactly one event"),
    ] {
        let verdict = verdict_of(Some(bug)).await?;
        let caught = verdict.violations.iter().filter(|v| v.contains(told)).count();
        assert!(caught > 0, "{bug:?} went unseen: {:#?}", verdict.violations);
        println!("figure: planted bug {bug:?} caught N={caught} times");
    }
    Ok(())
}
