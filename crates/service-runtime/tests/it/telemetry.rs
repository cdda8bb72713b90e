//! Log lines, and what happens without a collector. One thread each, so that the subscriber is the test's own.

use crate::{
    buffer::Buffer,
    notes::{MISBEHAVE, MisbehaveRequest},
    world::{World, http1},
};
use service_runtime::{config::TelemetryConfig, telemetry};
use std::sync::LazyLock;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Only one of these tests at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A second subscriber. While there is but one, `tracing` asks the default of whichever thread comes first to a span
/// whether anybody wants it, and keeps the answer; the threads of other tests have none and would say no.
static SECOND: LazyLock<tracing::Dispatch> =
    LazyLock::new(|| tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new()));

async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    LazyLock::force(&SECOND);
    ALONE.lock().await
}

#[tokio::test]
async fn without_otlp_there_are_no_spans_and_the_trace_passes_untouched() {
    let _alone = alone().await;
    let buffer = Buffer::default();
    let (dispatch, telemetry) = telemetry::build(&TelemetryConfig::default(), None, buffer.clone()).unwrap();
    let default = tracing::dispatcher::set_default(&dispatch);
    assert!(tracing::info_span!(target: "cellmesh::span", "x").is_disabled());

    let world = World::start().await;
    let mut caller = world.front().await;
    let parent = format!("00-{TRACE}-b7ad6b7169203331-00");
    let message = MisbehaveRequest { how: "panic".into(), user_id: String::new() };
    caller.message(MISBEHAVE, &message, &[("traceparent", &parent)]).await.unwrap();
    world.end().await;
    drop((default, dispatch));
    telemetry.finish();
    let lines = buffer.lines();
    let panic = lines.iter().find(|line| line["message"] == "call ended by a panic").expect("a panic is logged");
    assert_eq!(panic["trace_id"], TRACE, "log lines bear the caller's trace: {panic}");
}

#[tokio::test]
async fn the_log_filter_changes_at_run_time() {
    let _alone = alone().await;
    let buffer = Buffer::default();
    let config = TelemetryConfig { log: "warn".into(), ..TelemetryConfig::default() };
    let (dispatch, telemetry) = telemetry::build(&config, None, buffer.clone()).unwrap();
    let default = tracing::dispatcher::set_default(&dispatch);
    let admin = service_runtime::admin::Admin {
        readiness: service_runtime::Readiness::default(),
        metrics: service_runtime::Metrics::new(&crate::world::cell("bj-1")),
        level: Some(telemetry.level()),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = service_runtime::CancellationToken::new();
    let serving = tokio::spawn(service_runtime::admin::serve(listener, admin.routes(), stop.clone()));

    tracing::info!("before");
    assert_eq!(http1(address, "GET /loglevel", "").await.unwrap(), (200, "warn\n".into()));
    assert_eq!(http1(address, "PUT /loglevel", "info").await.unwrap().0, 200);
    tracing::info!(answer = 42, text = "a\nb", "after");
    for bad in ["", "=loud=", "info,x=loud"] {
        assert_eq!(http1(address, "PUT /loglevel", bad).await.unwrap().0, 400, "{bad:?}");
    }
    assert_eq!(http1(address, "GET /loglevel", "").await.unwrap().1, "info\n", "a bad filter changes nothing");
    stop.cancel();
    serving.await.unwrap().unwrap();
    drop((default, dispatch));
    telemetry.finish();
    let lines = buffer.lines();
    assert!(!lines.iter().any(|line| line["message"] == "before"));
    let after = lines.iter().find(|line| line["message"] == "after").expect("info is on now");
    assert_eq!((after["fields"]["answer"].as_i64(), after["fields"]["text"].as_str()), (Some(42), Some("a\nb")));
}
