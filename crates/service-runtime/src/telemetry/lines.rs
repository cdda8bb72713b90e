//! Log lines, with the ids of the trace that they belong to.

use super::TelemetryError;
use crate::config::{LogFormat, TelemetryConfig};
use mesh_layers::CallContext;
use opentelemetry::trace::TraceContextExt;
use serde_json::{Map, Value};
use std::{
    fmt::{self, Write as _},
    io::Write,
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};
use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    dispatcher::WeakDispatch,
    field::{Field, Visit},
    subscriber::Interest,
};
use tracing_appender::non_blocking::NonBlocking;
use tracing_opentelemetry::get_otel_context;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, ParseError, filter_fn},
    layer::Context,
    reload,
};

/// Changes the log filter of a running process. Cheap to clone.
#[derive(Clone)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogLevel({})", self.get())
    }
}

impl LogLevel {
    /// The filter in force.
    #[must_use]
    pub fn get(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Puts a filter like `debug` or `info,storage=trace` into force; returns whether there is still a log to filter.
    ///
    /// # Errors
    /// If it is no filter; the old one stays.
    pub fn set(&self, filter: &str) -> Result<bool, ParseError> {
        Ok(self.0.reload(EnvFilter::builder().parse(filter)?).is_ok())
    }
}

/// The layer that writes lines, and what changes its filter.
pub(super) fn layer(
    config: &TelemetryConfig,
    writer: NonBlocking,
) -> Result<(impl Layer<Registry> + use<>, LogLevel), TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(&config.log)
        .map_err(|error| TelemetryError::Filter { value: config.log.clone(), error })?;
    let (filter, handle) = reload::Layer::<_, Registry>::new(filter);
    // Lines need no spans: with traces off nobody asks for any, and none is made.
    let events = filter_fn(|metadata| metadata.is_event());
    let lines = Lines { format: config.log_format, writer, dispatch: OnceLock::default() };
    Ok((lines.with_filter(filter.and(events)), LogLevel(handle)))
}

struct Lines {
    format: LogFormat,
    writer: NonBlocking,
    dispatch: OnceLock<WeakDispatch>,
}

impl Lines {
    /// Trace and span id of the span that the event is in, else of the trace that came with the call.
    fn ids(&self) -> (Option<String>, Option<String>) {
        // Asked of the dispatcher: this layer's own view is filtered to events.
        let span = self.dispatch.get().and_then(WeakDispatch::upgrade).and_then(|dispatch: Dispatch| {
            let current = dispatch.current_span();
            get_otel_context(current.id()?, &dispatch)
        });
        let span = span.map(|context| context.span().span_context().clone()).filter(|span| span.is_valid());
        match span {
            Some(span) => (Some(span.trace_id().to_string()), Some(span.span_id().to_string())),
            None => {
                let came = CallContext::with_current(|call| Some(call.trace()?.trace_id()?.to_owned()));
                (came.flatten(), None)
            }
        }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        let _ = self.dispatch.set(dispatch.downgrade());
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_event() { Interest::always() } else { Interest::never() }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (trace_id, span_id) = self.ids();
        let line = Line { at: now(), metadata: event.metadata(), fields, trace_id, span_id };
        let text = match self.format {
            LogFormat::Json => line.json(),
            LogFormat::Text => line.text(),
        };
        // A full queue is counted by the writer.
        let _ = self.writer.clone().write_all(text.as_bytes());
    }
}

/// One event, ready to be written.
struct Line<'a> {
    at: String,
    metadata: &'a Metadata<'a>,
    fields: Fields,
    trace_id: Option<String>,
    span_id: Option<String>,
}

impl Line<'_> {
    fn json(self) -> String {
        let mut object = Map::new();
        object.insert("timestamp".into(), self.at.into());
        object.insert("level".into(), self.metadata.level().as_str().into());
        object.insert("target".into(), self.metadata.target().into());
        object.insert("message".into(), self.fields.message.into());
        for (name, id) in [("trace_id", self.trace_id), ("span_id", self.span_id)] {
            if let Some(id) = id {
                object.insert(name.into(), id.into());
            }
        }
        // Fields stand apart, so that none can pass for one of the above.
        if !self.fields.others.is_empty() {
            object.insert("fields".into(), Value::Object(self.fields.others));
        }
        let mut text = Value::Object(object).to_string();
        text.push('\n');
        text
    }

    fn text(self) -> String {
        let level = self.metadata.level();
        let mut text = format!("{} {level:>5} {}: ", self.at, self.metadata.target());
        escape(&self.fields.message, &mut text);
        for (name, value) in &self.fields.others {
            let _ = write!(text, " {name}={value}");
        }
        if let Some(id) = self.trace_id {
            let _ = write!(text, " trace_id={id}");
        }
        text.push('\n');
        text
    }
}

/// Control characters escaped: whatever a caller sends, it cannot begin a new line or colour it.
fn escape(message: &str, text: &mut String) {
    for c in message.chars() {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.others.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

/// RFC 3339 in UTC with milliseconds.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    timestamp(since.as_secs(), since.subsec_millis())
}

fn timestamp(seconds: u64, millis: u32) -> String {
    // Days since 1970 to a civil date, counted from 1 March of year 0 so that leap days end a year
    // (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_civil_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(timestamp(seconds, 7), expected);
        }
    }

    #[test]
    fn a_message_cannot_begin_a_line() {
        let mut text = String::new();
        escape("a\r\n\u{1b}[31mb", &mut text);
        assert_eq!(text, "a\\r\\n\\u{1b}[31mb");
    }
}
