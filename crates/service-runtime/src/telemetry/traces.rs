//! The OTLP exporter.

use super::TelemetryError;
use crate::config::TelemetryConfig;
use mesh_layers::trace::TARGET;
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use std::time::Duration;
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

/// Spans sent at once: small enough for a collector's 4 MiB message limit.
const BATCH: usize = 2048;

/// The provider that the configuration asks for; `None` when OTLP is off.
pub(super) fn provider(
    config: &TelemetryConfig,
    service: &str,
    cell: &str,
) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    if !(0.0..=1.0).contains(&config.sample_ratio) {
        return Err(TelemetryError::Ratio(config.sample_ratio));
    }
    if config.otlp.is_empty() {
        return Ok(None);
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&config.otlp)
        .build()
        .map_err(|error| TelemetryError::Otlp { value: config.otlp.clone(), error: error.to_string() })?;
    let batch = BatchConfigBuilder::default()
        .with_max_queue_size(config.span_queue.max(BATCH))
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(Duration::from_millis(500))
        .build();
    let service = if config.service_name.is_empty() { service } else { &config.service_name };
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .with_attribute(KeyValue::new("cell.id", cell.to_owned()))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio))))
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batch).build())
        .build();
    Ok(Some(provider))
}

/// The layer that gives the mesh's spans to a provider; no events, and nobody else's spans.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("cellmesh"));
    let layer = layer.with_location(false).with_threads(false).with_tracked_inactivity(false);
    let layer = layer.with_target(false).with_level(false).with_context_activation(false);
    layer.with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET))
}
