//! Spans, counters and log lines tell the same story.
//!
//! A process of its own: a span whose last reference falls on another thread (SQLite's, for one) is closed by the
//! process's subscriber, not by one that a test has set for its thread.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

#[path = "it/buffer.rs"]
mod buffer;
#[path = "it/notes.rs"]
mod notes;
#[path = "it/world.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod world;

use buffer::Buffer;
use notes::{MISBEHAVE, MisbehaveRequest, Notes, Taken, WRITE, WriteNoteRequest};
use opentelemetry::trace::{SpanId, SpanKind};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use service_runtime::{config::TelemetryConfig, telemetry};
use std::{collections::HashSet, sync::Arc};
use tonic::Code;
use world::{World, elsewhere, eventually, here};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn of_kind(spans: &[SpanData], kind: &SpanKind) -> Vec<SpanData> {
    spans.iter().filter(|span| span.span_kind == *kind).cloned().collect()
}

#[tokio::test]
async fn spans_equal_counters_and_make_one_tree_per_call() {
    world::template().await;
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let buffer = Buffer::default();
    let config = TelemetryConfig { log: "warn".into(), ..TelemetryConfig::default() };
    let (dispatch, telemetry) = telemetry::build(&config, Some(provider), buffer.clone()).unwrap();
    tracing::dispatcher::set_global_default(dispatch).unwrap();

    let taken = Arc::new(Taken::default());
    let world = World::with(Notes { taken: Arc::clone(&taken), ..Notes::default() }, |_| {}).await;
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
    let message = MisbehaveRequest { how: "wait".into(), user_id: String::new() };
    tokio::select! {
        answer = caller.message(MISBEHAVE, &message, &[("grpc-timeout", "30S")]) => panic!("{answer:?}"),
        () = world.in_flight(1) => {}
    }
    world.in_flight(0).await;
    // The event is taken and marked so, in a transaction of its own.
    let events = world.running.context().db.outbox(storage::Stream::Events);
    eventually(async || world.count("cellmesh_outbox_published_total", &[]).await == 1).await;
    eventually(async || events.backlog().await.unwrap().0 == 0).await;
    // Spans end on other threads, after what they tell of.
    eventually(async || {
        let transactions = world.count("cellmesh_db_transactions_total", &[]).await;
        let spans = exporter.get_finished_spans().unwrap();
        let count = |kind| of_kind(&spans, &kind).len() as u64;
        (count(SpanKind::Server), count(SpanKind::Client)) == (7, transactions)
    })
    .await;

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
    telemetry.finish();
    let lines = buffer.lines();
    let panic = lines.iter().find(|line| line["message"] == "call ended by a panic").expect("a panic is logged");
    assert_eq!(panic["trace_id"].as_str().map(str::len), Some(32), "{panic}");
    assert_eq!(panic["span_id"].as_str().map(str::len), Some(16), "{panic}");
}
