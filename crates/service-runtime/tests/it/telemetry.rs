//! Spans, counters and log lines tell the same story. One thread, so that the subscriber is this test's own.

use crate::{
    notes::{MISBEHAVE, MisbehaveRequest, Notes, Taken, WRITE, WriteNoteRequest},
    world::{World, elsewhere, here, http1},
};
use opentelemetry::trace::{SpanId, SpanKind};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use service_runtime::{config::TelemetryConfig, telemetry};
use std::{
    collections::HashSet,
    io,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};
use tonic::Code;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn lines(&self) -> Vec<serde_json::Value> {
        let bytes = self.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn of_kind(spans: &[SpanData], kind: &SpanKind) -> Vec<SpanData> {
    spans.iter().filter(|span| span.span_kind == *kind).cloned().collect()
}

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
async fn spans_equal_counters_and_make_one_tree_per_call() {
    let _alone = alone().await;
    crate::world::template().await;
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let buffer = Buffer::default();
    let config = TelemetryConfig { log: "warn".into(), ..TelemetryConfig::default() };
    let (subscriber, telemetry) = telemetry::build(&config, Some(provider), buffer.clone()).unwrap();
    let _default = tracing::subscriber::set_default(subscriber);

    let taken = Arc::new(Taken::default());
    let world = World::with(Notes { taken: Arc::clone(&taken), gate: None }, |_| {}).await;
    let mut caller = world.front().await;
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let traced = [("traceparent", parent.as_str())];
    let message = WriteNoteRequest { user_id: here(), text: "x".into() };
    assert_eq!(caller.message(WRITE, &message, &traced).await.unwrap().code(), Some(Code::Ok));
    let foreign = WriteNoteRequest { user_id: elsewhere(), text: "x".into() };
    caller.message(WRITE, &foreign, &[]).await.unwrap();
    for how in ["call", "panic", "sleep"] {
        let message = MisbehaveRequest { how: how.into(), user_id: here() };
        caller.message(MISBEHAVE, &message, &[]).await.unwrap();
    }
    // A caller that goes away.
    let message = MisbehaveRequest { how: "nap".into(), user_id: String::new() };
    let gone = caller.message(MISBEHAVE, &message, &[]);
    assert!(tokio::time::timeout(Duration::from_millis(50), gone).await.is_err());
    tokio::time::sleep(Duration::from_millis(300)).await;

    let published = world.count("cellmesh_outbox_published_total", &[]).await;
    let calls = world.count("cellmesh_server_calls_total", &[]).await;
    let cancelled = world.count("cellmesh_server_calls_total", &["CANCELLED"]).await;
    let transactions = world.count("cellmesh_db_transactions_total", &[]).await;
    let in_flight = world.count("cellmesh_server_calls_in_flight", &[]).await;
    let spans = exporter.get_finished_spans().unwrap();
    let count = |kind| of_kind(&spans, &kind).len() as u64;
    assert_eq!((calls, cancelled, in_flight), (7, 1, 0), "six calls, one of which made another");
    assert_eq!(count(SpanKind::Server), calls);
    assert_eq!(count(SpanKind::Client), transactions);
    assert_eq!((count(SpanKind::Producer), published), (1, 1));

    let tree: Vec<_> = spans.iter().filter(|span| span.span_context.trace_id().to_string() == TRACE).collect();
    let kinds: Vec<_> = tree.iter().map(|span| span.span_kind.clone()).collect();
    for kind in [SpanKind::Server, SpanKind::Client, SpanKind::Producer] {
        assert!(kinds.contains(&kind), "the trace must reach from the call to its event: {kinds:?}");
    }
    let known: HashSet<SpanId> = spans.iter().map(|span| span.span_context.span_id()).collect();
    let orphans: Vec<_> = spans
        .iter()
        .filter(|span| span.parent_span_id != SpanId::INVALID && !known.contains(&span.parent_span_id))
        .filter(|span| span.parent_span_id.to_string() != "b7ad6b7169203331")
        .collect();
    assert!(orphans.is_empty(), "{orphans:?}");
    let delivered = taken.events.lock().unwrap()[0].1.clone().expect("the consumer is in the trace");
    assert!(delivered.contains(TRACE), "{delivered}");

    world.end().await;
    drop(_default);
    telemetry.finish();
    let lines = buffer.lines();
    let panic = lines.iter().find(|line| line["message"] == "call ended by a panic").expect("a panic is logged");
    assert_eq!(panic["trace_id"].as_str().map(str::len), Some(32), "{panic}");
    assert_eq!(panic["span_id"].as_str().map(str::len), Some(16), "{panic}");
}

#[tokio::test]
async fn without_otlp_there_are_no_spans_and_the_trace_passes_untouched() {
    let _alone = alone().await;
    let buffer = Buffer::default();
    let (subscriber, telemetry) = telemetry::build(&TelemetryConfig::default(), None, buffer.clone()).unwrap();
    let default = tracing::subscriber::set_default(subscriber);
    assert!(tracing::info_span!(target: "cellmesh::span", "x").is_disabled());

    let world = World::start().await;
    let mut caller = world.front().await;
    let parent = format!("00-{TRACE}-b7ad6b7169203331-00");
    let message = MisbehaveRequest { how: "panic".into(), user_id: String::new() };
    caller.message(MISBEHAVE, &message, &[("traceparent", &parent)]).await.unwrap();
    world.end().await;
    drop(default);
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
    let (subscriber, telemetry) = telemetry::build(&config, None, buffer.clone()).unwrap();
    let default = tracing::subscriber::set_default(subscriber);
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
    drop(default);
    telemetry.finish();
    let lines = buffer.lines();
    assert!(!lines.iter().any(|line| line["message"] == "before"));
    let after = lines.iter().find(|line| line["message"] == "after").expect("info is on now");
    assert_eq!((after["fields"]["answer"].as_i64(), after["fields"]["text"].as_str()), (Some(42), Some("a\nb")));
}
