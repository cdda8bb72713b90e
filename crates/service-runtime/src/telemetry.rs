//! Logs and traces of a process.
//!
//! Logs are one line per event, written by a thread of their own: a full queue drops lines and counts them, it never
//! holds up a call. Traces go to an OTLP collector, if one is configured; else every span is disabled where it would
//! be made, and costs a branch.

mod lines;
mod traces;

pub use lines::LogLevel;

use crate::config::TelemetryConfig;
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use std::io::Write;
use tracing::Dispatch;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{Registry, layer::SubscriberExt};

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `telemetry.log` is no filter.
    #[error("key \"telemetry.log\": \"{value}\" is not a log filter: {error}")]
    Filter {
        /// The value.
        value: String,
        /// Why it is none.
        error: tracing_subscriber::filter::ParseError,
    },
    /// `telemetry.otlp` is no collector's URL.
    #[error("key \"telemetry.otlp\": \"{value}\": {error}")]
    Otlp {
        /// The value.
        value: String,
        /// Why the exporter refuses it.
        error: String,
    },
    /// `telemetry.sample_ratio` is out of range.
    #[error("key \"telemetry.sample_ratio\": {0} is not between 0.0 and 1.0")]
    Ratio(f64),
    /// Another subscriber is installed already.
    #[error("telemetry is started already in this process")]
    Twice,
}

/// Running telemetry. [`Telemetry::finish`] writes out what is still queued; so does dropping it, for logs only.
#[derive(Debug)]
pub struct Telemetry {
    level: LogLevel,
    dropped: ErrorCounter,
    provider: Option<SdkTracerProvider>,
    _writer: WorkerGuard,
}

impl Telemetry {
    /// The log filter, to be changed at run time.
    #[must_use]
    pub fn level(&self) -> LogLevel {
        self.level.clone()
    }

    /// Counts log lines lost to a full queue.
    #[must_use]
    pub fn dropped_lines(&self) -> ErrorCounter {
        self.dropped.clone()
    }

    /// Sends the spans that are still queued, then stops. Blocks for at most some seconds; not on a runtime's thread.
    pub fn finish(self) {
        if let Some(provider) = &self.provider
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// Starts telemetry for the whole process. Call it inside of a tokio runtime, which then carries the exporter's
/// connection, and once: logs go to standard output, panics into the log.
///
/// # Errors
/// If the configuration is bad or telemetry runs already.
pub fn init(config: &TelemetryConfig, service: &str, cell: &str) -> Result<Telemetry, TelemetryError> {
    let provider = traces::provider(config, service, cell)?;
    let (dispatch, telemetry) = build(config, provider, std::io::stdout())?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| TelemetryError::Twice)?;
    if let Some(provider) = &telemetry.provider {
        // For spans that are made without `tracing`, on the router's data path.
        opentelemetry::global::set_tracer_provider(provider.clone());
    }
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(panic = panic.payload_as_str().unwrap_or("?"), location, "panicked");
    }));
    Ok(telemetry)
}

/// Telemetry around a tracer provider and writer of the caller's choice, not installed: for tests and embedding. The
/// W3C propagator is installed for the whole process.
///
/// # Errors
/// If the configuration is bad.
pub fn build(
    config: &TelemetryConfig,
    provider: Option<SdkTracerProvider>,
    writer: impl Write + Send + 'static,
) -> Result<(Dispatch, Telemetry), TelemetryError> {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let lines = NonBlockingBuilder::default().buffered_lines_limit(config.log_queue).lossy(true).thread_name("log");
    let (writer, guard) = lines.finish(writer);
    let dropped = writer.error_counter();
    let (lines, level) = lines::layer(config, writer)?;
    let subscriber = Registry::default().with(lines);
    // Two subscribers, not one with an optional layer: only without the layer does the registry know that nobody wants
    // spans, and then none is made.
    let dispatch = match &provider {
        None => Dispatch::new(subscriber),
        Some(provider) => Dispatch::new(subscriber.with(traces::layer(provider))),
    };
    Ok((dispatch, Telemetry { level, dropped, provider, _writer: guard }))
}
