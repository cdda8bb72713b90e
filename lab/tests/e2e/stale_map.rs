//! Line 5: an old map costs one learnt redirect, and a service refuses whoever is not at home with it.

use crate::mesh::{Mesh, get_member, metric, register};
use anyhow::Context as _;
use std::{fs, net::SocketAddr, path::Path, time::Duration};
use testkit::call::Caller;
use tonic::Code;

/// A second router of `bj-1` that believes an old map and does not watch.
pub struct StaleRouter {
    pub child: tokio::process::Child,
    pub front: SocketAddr,
    pub admin: SocketAddr,
}

pub async fn stale_router(mesh: &Mesh, dir: &Path) -> anyhow::Result<StaleRouter> {
    // In the old map every bucket was bj-1's.
    let map = dir.join("old-map.pb");
    lab::peers::map::write_with_all_buckets_at(mesh.map_path(), &map, "bj-1")?;
    let ready = dir.join("stale.json");
    let log = fs::File::create(dir.join("stale.log"))?;
    let mut command = crate::mesh::product(&cellctl::cluster::bin_dir()?.join("cell-router"));
    command.arg("--config").arg(mesh.bj().router_config_path()).arg("--ready-file").arg(&ready);
    for set in [
        format!("map.file={}", map.display()),
        "map.watch=false".to_owned(),
        "listen.front=127.0.0.1:0".to_owned(),
        "listen.peer=127.0.0.1:0".to_owned(),
        "listen.admin=127.0.0.1:0".to_owned(),
    ] {
        command.args(["--set", &set]);
    }
    let child = command.stdout(log.try_clone()?).stderr(log).kill_on_drop(true).spawn()?;
    for _ in 0..200 {
        if let Ok(text) = fs::read_to_string(&ready) {
            let told: serde_json::Value = serde_json::from_str(&text)?;
            let addr = |name: &str| anyhow::Ok(told[name].as_str().context("an address")?.parse()?);
            return Ok(StaleRouter { child, front: addr("front")?, admin: addr("admin")? });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("not ready: {}", fs::read_to_string(dir.join("stale.log"))?)
}

#[tokio::test]
async fn an_old_map_costs_one_learnt_redirect() -> anyhow::Result<()> {
    let mut mesh = Mesh::start().await?;
    let dir = tempfile::tempdir()?;
    let user = register(mesh.sh().front).await?;
    let mut stale = stale_router(&mesh, dir.path()).await?;

    let redirects = |admin| async move { metric(admin, "cellmesh_router_redirects_learnt_total", "").await };
    let first = get_member(stale.front, &user, &[]).await?;
    assert_eq!(first.code(), Some(Code::Ok), "{first:?}");
    assert_eq!(first.header("cellmesh-cell"), Some("sh-1"));
    assert_eq!(first.header("cellmesh-hops"), Some("1"));
    assert_eq!(redirects(stale.admin).await?, 1.0, "one redirect was followed");
    for _ in 0..10 {
        let again = get_member(stale.front, &user, &[]).await?;
        assert_eq!(again.header("cellmesh-cell"), Some("sh-1"));
    }
    assert_eq!(redirects(stale.admin).await?, 1.0, "and learnt");

    // Writes are redirected as well, and happen once.
    let mut caller = Caller::connect(stale.front).await?;
    let paid = crate::mesh::top_up(&mut caller, &user, "through-the-old-map", 500).await?;
    assert_eq!(paid.code(), Some(Code::Ok), "{paid:?}");
    let mut caller = Caller::connect(mesh.sh().front).await?;
    assert_eq!(crate::mesh::balance(&mut caller, &user).await?, 500);
    stale.child.kill().await?;
    mesh.shutdown().await
}

#[tokio::test]
async fn a_service_refuses_who_is_not_at_home_and_names_the_owner() -> anyhow::Result<()> {
    let mut mesh = Mesh::start().await?;
    let user = register(mesh.sh().front).await?;
    let answer = get_member(mesh.bj().services_front, &user, &[]).await?;
    assert_eq!(answer.code(), Some(Code::FailedPrecondition));
    let info = answer.error_info().expect("ErrorInfo");
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("cellmesh", "WRONG_CELL"));
    assert_eq!(info.metadata["owner"], "sh-1");
    assert!(info.metadata["user_epoch"].parse::<u64>().is_ok(), "{info:?}");
    assert!(info.metadata["bucket_epoch"].parse::<u64>().is_ok(), "{info:?}");
    assert_eq!(answer.header("cellmesh-unprocessed"), Some("1"));

    let body = format!("{{\"user_id\": \"{user}\"}}");
    let told =
        crate::grpcurl::run(&["-d", &body], mesh.bj().services_front, &["shop.member.v1.MemberService/GetMember"])
            .await
            .expect_err("refused");
    assert!(format!("{told}").contains("WRONG_CELL"), "grpcurl shows it: {told}");
    mesh.shutdown().await
}
