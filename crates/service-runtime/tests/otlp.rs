//! The exporter loses no span of a burst, nor the last ones of a process. A process of its own: it owns the log.

use service_runtime::{config::TelemetryConfig, telemetry};
use testkit::collector::Collector;

/// About the spans of 1,000 orders, several times over, faster than any service makes them.
const SPANS: usize = 30_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_spans_is_exported_whole_at_the_end() -> Result<(), Box<dyn std::error::Error>> {
    let collector = Collector::start().await?;
    let config = TelemetryConfig { otlp: collector.url(), log: "warn".into(), ..TelemetryConfig::default() };
    let telemetry = telemetry::init(&config, "test", "bj-1")?;
    for n in 0..SPANS {
        let _span = tracing::info_span!(target: mesh_layers::trace::TARGET, "one", n).entered();
        tracing::debug_span!("not the mesh's").in_scope(|| tracing::info!("no span"));
    }
    service_runtime::host::finish(telemetry).await;
    println!("figure: spans exported N={}", collector.len());
    assert_eq!(collector.len(), SPANS);
    Ok(())
}
