//! The span of each attempt.
//!
//! A process of its own: what other tests do at the same time without a subscriber would switch spans off.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

#[path = "it/depot.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod depot;
#[path = "it/server.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod server;
#[path = "it/world.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod world;

use opentelemetry::trace::{SpanKind, TracerProvider};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{InMemorySpanExporter, SdkTracerProvider, SpanData},
};
use server::Server;
use tracing::{Instrument, instrument::WithSubscriber};
use tracing_subscriber::layer::SubscriberExt;
use world::{Router, Told, epochs, mesh, user};

fn value(span: &SpanData, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| attribute.value.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn each_attempt_has_a_span_that_its_server_continues() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);

    let stale =
        Server::start(|asked| async move { asked.with("cellmesh-cell", "b").wrong_cell("c", epochs(0, 2), true) });
    let (stale, owner) = (stale.await, Server::named("c").await);
    let router = Router::start(Told::new(&[("b", &stale), ("c", &owner)])).await;
    let (_mesh, depot) = mesh(&router).await;
    let work = async {
        let parent = tracing::info_span!("work");
        depot.put(&user("b", 0)).into_future().instrument(parent).await.unwrap();
    };
    work.with_subscriber(subscriber).await;

    provider.force_flush().unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    let parent = spans.iter().find(|span| span.name == "work").unwrap();
    let mut attempts: Vec<&SpanData> = spans.iter().filter(|span| span.name == "depot.v1.Depot/Put").collect();
    attempts.sort_by_key(|span| value(span, "cell.attempt"));
    assert_eq!(attempts.len(), 2);
    for (span, (home, code)) in attempts.iter().zip([("b", "9"), ("c", "0")]) {
        assert_eq!((span.parent_span_id, &span.span_kind), (parent.span_context.span_id(), &SpanKind::Client));
        assert_eq!((value(span, "cell.home"), value(span, "rpc.grpc.status_code")), (home.to_owned(), code.to_owned()));
        assert_eq!((value(span, "rpc.method"), value(span, "cell.way")), ("Put".to_owned(), "direct".to_owned()));
    }
    let seen = owner.seen();
    let traceparent = seen[0].header("traceparent").unwrap();
    assert!(traceparent.contains(&attempts[1].span_context.span_id().to_string()), "{traceparent}");
}
