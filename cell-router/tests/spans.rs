//! Spans of batches that are split. A process of its own: the tracer provider is the process's.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "it/support.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod support;

use http::Response;
use mesh_layers::{MeshError, Reason};
use opentelemetry::{
    Value, global,
    trace::{SpanKind, Status},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use std::time::{Duration, Instant};
use support::*;
use tonic::Code;

fn code(span: &SpanData) -> Option<i64> {
    let code = span.attributes.iter().find(|attribute| attribute.key.as_str() == "rpc.grpc.status_code")?;
    match code.value {
        Value::I64(code) => Some(code),
        _ => None,
    }
}

/// A batch of one user of each of these cells.
fn batch(cells: &[&str]) -> Vec<u8> {
    cells.iter().flat_map(|cell| text(1, &text_account(cell, 0))).collect()
}

#[tokio::test]
async fn every_attempt_of_a_split_batch_has_a_span_with_its_status() {
    let exporter = InMemorySpanExporter::default();
    global::set_tracer_provider(SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build());
    let good = |asked: Asked| async move { asked.messages(&[field_bytes(1, &text(2, "good"))]) };
    let here = Upstream::start(good).await;
    let failing = |asked: Asked| async move { asked.fail(MeshError::new(Reason::NotFound, "nobody"), false) };
    let failing = Upstream::start(failing).await;
    // The first answer breaks off, the second never comes.
    let bad = Upstream::start(|mut asked| async move {
        if asked.number > 0 {
            std::future::pending::<()>().await;
        }
        let mut stream = asked.respond.send_response(Response::new(()), false).unwrap();
        let _ = stream.send_data(mesh_layers::frame::encode(&text(1, "first")), false);
        // Not before what was sent has gone.
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.send_reset(h2::Reason::INTERNAL_ERROR);
    });
    let bad = bad.await;
    let ways = [("b", failing.address), ("c", bad.address)];
    let mut config = config("a", &[here.address], &ways);
    config.telemetry.otlp = "in memory".into();
    let router = start_with(config, map()).await;
    router.reaches(&["a", "b", "c"]).await;
    let mut caller = router.caller().await;
    let answer = call(&mut caller, "BatchGet", &batch(&["a", "b", "c"]), &[]).await;
    assert_eq!(answer.code(), Some(Code::Ok), "{:?}", answer.status());
    let answer = call(&mut caller, "BatchGet", &batch(&["a", "c"]), &[("grpc-timeout", "300m")]).await;
    assert_eq!(answer.code(), Some(Code::DeadlineExceeded));

    let began = Instant::now();
    let spans = loop {
        let spans = exporter.get_finished_spans().unwrap();
        if spans.len() >= 7 {
            break spans;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "only {} spans ended", spans.len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let of = |kind: SpanKind| spans.iter().filter(move |span| span.span_kind == kind);
    let mut passes: Vec<_> = of(SpanKind::Server).map(code).collect();
    passes.sort_unstable();
    assert_eq!(passes, [Some(0), Some(4)], "each pass has its status");
    let mut attempts: Vec<_> = of(SpanKind::Client).map(code).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [None, None, Some(0), Some(0), Some(5)], "each attempt has that of its answer");
    for span in of(SpanKind::Client) {
        let failed = code(span) != Some(0);
        assert_eq!(matches!(span.status, Status::Error { .. }), failed, "{:?} with code {:?}", span.status, code(span));
        assert!(of(SpanKind::Server).any(|pass| pass.span_context.span_id() == span.parent_span_id));
    }
}
