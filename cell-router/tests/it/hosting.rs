//! Instances that host some services, and not all.

use crate::support::*;
use cell_router::config::Instance;
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

const DESK: &str = "warehouse.v1.Desk";

fn hosting(at: &Upstream, services: &[&str]) -> Instance {
    let services = services.iter().map(ToString::to_string).collect();
    Instance { services: Some(services), ..Instance::new(at.address.to_string()) }
}

/// A router of cell `a` with these instances, connected to all of them and to these cells.
async fn router(instances: &[Instance], peers: &[(&str, &Upstream)]) -> Started {
    let ways: Vec<_> = peers.iter().map(|(cell, upstream)| (*cell, upstream.address)).collect();
    let mut config = config("a", &[], &ways);
    config.router.instances = instances.to_vec();
    let router = start_with(config, map()).await;
    router.reaches(&ways.iter().map(|(cell, _)| *cell).collect::<Vec<_>>()).await;
    router.router.ready().await;
    router
}

async fn healthy(router: &Started, service: &str) -> bool {
    let channel = Channel::from_shared(format!("http://{}", router.front())).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: service.into() };
    HealthClient::new(channel).check(request).await.unwrap().into_inner().status == 1
}

#[tokio::test]
async fn a_call_goes_only_to_instances_that_host_its_service() {
    let (shelf, all) = (Upstream::named("shelf").await, Upstream::named("all").await);
    let router = router(&[hosting(&shelf, &[&SHELF[1..]]), Instance::new(all.address.to_string())], &[]).await;
    let mut caller = router.caller().await;
    let key = get(&text_account("a", 0));
    for _ in 0..200 {
        assert_eq!(echoed(&caller.unary(&format!("/{DESK}/Ask"), &key, &[]).await.unwrap()), "all");
    }
    while shelf.seen().is_empty() {
        call(&mut caller, "Get", &key, &[]).await;
    }
}

#[tokio::test]
async fn a_service_without_an_instance_here_is_unimplemented_or_asked_for_elsewhere() {
    let (shelf, near) = (Upstream::named("shelf").await, Upstream::named("b").await);
    let router = router(&[hosting(&shelf, &[&SHELF[1..]])], &[("b", &near)]).await;
    let mut caller = router.caller().await;
    let ask = async |caller: &mut testkit::call::Caller, method: &str, message: &[u8]| {
        caller.unary(&format!("/{DESK}/{method}"), message, &[]).await.unwrap()
    };
    let answer = ask(&mut caller, "Ask", &get(&text_account("a", 0))).await;
    assert_eq!(refused(&answer), (Code::Unimplemented, "METHOD_UNKNOWN".into()));
    assert_eq!(answer.error_info().unwrap().metadata["service"], DESK);
    assert_eq!(answer.status().unwrap().message(), format!("no instance of cell \"a\" hosts service \"{DESK}\""));
    assert_eq!(echoed(&ask(&mut caller, "Ask", &get(&text_account("b", 0))).await), "b", "users at home elsewhere");
    assert_eq!(echoed(&ask(&mut caller, "Ring", &[]).await), "b", "a call that may run anywhere");
    assert_eq!(echoed(&call(&mut caller, "Count", &[], &[]).await), "shelf");
    assert!(router.router.is_ready());
    assert!(healthy(&router, &SHELF[1..]).await && healthy(&router, "").await);
    assert!(!healthy(&router, DESK).await, "this cell does not serve it");
}

#[tokio::test]
async fn a_lost_instance_takes_its_own_services_along_only() {
    let (shelf, desk) = (Upstream::named("shelf").await, Upstream::named("desk").await);
    let instances = [hosting(&shelf, &[&SHELF[1..]]), hosting(&desk, &[DESK])];
    let router = router(&instances, &[]).await;
    assert!(healthy(&router, DESK).await && healthy(&router, &SHELF[1..]).await && healthy(&router, "").await);
    let address = desk.kill().await;
    while healthy(&router, DESK).await {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(router.router.is_ready() && healthy(&router, &SHELF[1..]).await && healthy(&router, "").await);
    let key = get(&text_account("a", 0));
    let mut caller = router.caller().await;
    assert_eq!(echoed(&call(&mut caller, "Get", &key, &[]).await), "shelf");
    let answer = caller.unary(&format!("/{DESK}/Ask"), &key, &[]).await.unwrap();
    assert_eq!(refused(&answer), (Code::Unavailable, "CELL_UNREACHABLE".into()));
    assert!(answer.status().unwrap().message().contains(DESK), "{:?}", answer.status());
    let _again = Upstream::start_at(address, |asked| async move { asked.echo(&["again"]) }).await;
    while !healthy(&router, DESK).await {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(echoed(&caller.unary(&format!("/{DESK}/Ask"), &key, &[]).await.unwrap()), "again");
}

#[tokio::test]
async fn a_router_is_not_ready_before_all_its_services_are() {
    let shelf = Upstream::named("shelf").await;
    let absent = Upstream::named("desk").await.kill().await;
    let mut config = config("a", &[], &[]);
    let desk = Instance { services: Some(vec![DESK.into()]), ..Instance::new(absent.to_string()) };
    config.router.instances = vec![hosting(&shelf, &[&SHELF[1..]]), desk];
    let router = start_with(config, map()).await;
    router.reaches(&["a"]).await;
    while !healthy(&router, &SHELF[1..]).await {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!router.router.is_ready() && !healthy(&router, "").await && !healthy(&router, DESK).await);
    let _desk = Upstream::start_at(absent, |asked| async move { asked.echo(&["desk"]) }).await;
    router.router.ready().await;
}
